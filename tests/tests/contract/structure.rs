//! The rules of the house that no compiler keeps: where things live, and how files begin.
//!
//! Needs no server. The invariant: a rule is checked on every file, not on a list of files.

use std::fs;
use std::path::{Path, PathBuf};

use aggregator_tests::paths;

/// The folders that may stand in the root, besides hidden ones and the build's.
const FOLDERS: [&str; 5] = ["guest-sdk", "host", "plugins", "tests", "wit"];
/// No file is longer.
const MOST_LINES: usize = 500;
/// Each outside thing and the only folder of the host that names it.
const HOMES: [(&str, &str); 4] = [
    ("rdkafka", "host/src/kafka"),
    ("wasmtime", "host/src/plugin"),
    ("redis", "host/src/store"),
    ("axum", "host/src/http"),
];

/// All Rust files under a folder of the workspace.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![paths::workspace().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no file in {folder}");
    found
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether code names a crate: a path that begins with it. Comments may.
fn names_crate(text: &str, name: &str) -> bool {
    let mut code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.any(|line| {
        line.match_indices(&format!("{name}::")).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':')
        })
    })
}

#[test]
fn each_outside_crate_is_named_in_its_own_folder_only() {
    let mut wrong = Vec::new();
    for path in files("host/src") {
        let text = text(&path);
        for (name, home) in HOMES {
            let at_home = path.starts_with(paths::workspace().join(home));
            // A module of ours may share a crate's name; beside it, the name is the module's.
            let own_module = path.with_file_name(format!("{name}.rs")).exists();
            if !at_home && !own_module && names_crate(&text, name) {
                wrong.push(format!("{} names {name}, which belongs to {home}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_root_has_no_folder_but_those_of_the_map() {
    for entry in fs::read_dir(paths::workspace()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = FOLDERS.contains(&name.as_str())
            || name == "target"
            || name == "plugins.d"
            || name.starts_with('.');
        assert!(!entry.path().is_dir() || known, "{name} is a folder that nobody knows");
    }
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    for folder in FOLDERS.iter().filter(|folder| **folder != "wit") {
        for path in files(folder) {
            let lines = text(&path).lines().count();
            assert!(lines <= MOST_LINES, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn every_file_says_first_what_it_is_for() {
    for folder in FOLDERS.iter().filter(|folder| **folder != "wit") {
        for path in files(folder) {
            assert!(text(&path).starts_with("//!"), "{} does not open with //!", path.display());
        }
    }
}
