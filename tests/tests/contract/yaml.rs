//! YAML files of the repository, as JSON values.
//!
//! The invariant: a file that cannot be read fails the test with its name.

use std::collections::BTreeSet;
use std::fs;

use aggregator_tests::paths;
use aggregator_tests::settings::Settings;
use serde_json::Value;

/// The text of a file of the repository.
pub(crate) fn text(path: &str) -> String {
    fs::read_to_string(paths::workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All documents of a file.
pub(crate) fn documents(path: &str) -> Vec<Value> {
    let read = serde_saphyr::from_multiple::<Value>(&text(path));
    let documents = read.unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(!documents.is_empty(), "{path} is empty");
    documents
}

/// The one document of a file.
pub(crate) fn document(path: &str) -> Value {
    let mut documents = documents(path);
    assert_eq!(documents.len(), 1, "documents in {path}");
    documents.remove(0)
}

/// A list; a missing one is empty.
pub(crate) fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// A text or a number, as a text.
pub(crate) fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The names of all settings, as the example file lists them.
pub(crate) fn setting_names() -> BTreeSet<String> {
    let example = text(".env.example");
    let name = |line: &str| {
        let (name, _) = line.strip_prefix('#')?.split_once('=')?;
        name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_').then(|| name.to_owned())
    };
    let names: BTreeSet<String> = example.lines().filter_map(name).collect();
    assert!(names.len() > 40, "{} settings", names.len());
    names
}

/// Fails where a variable is no setting, or where the service does not take the values.
pub(crate) fn assert_settings(place: &str, variables: &[(String, String)]) {
    let known = setting_names();
    for (name, _) in variables {
        assert!(known.contains(name), "{place} sets {name}, which is no setting");
    }
    let settings = variables.iter().fold(Settings::none(), |settings, (name, value)| {
        // Directories of an image or a machine that this one is not.
        let elsewhere = matches!(name.as_str(), "PLUGINS_DIR" | "PLUGIN_CACHE_DIR");
        if elsewhere { settings } else { settings.with(name, value) }
    });
    let program = paths::aggregator().unwrap();
    let mut check = aggregator_tests::host::Host::start_program(&program, &["check"], &settings).unwrap();
    let ended = check.wait_end(crate::rig::LIMIT).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{place}: {}", ended.output);
    assert!(!ended.output.contains("warning"), "{place}: {}", ended.output);
}
