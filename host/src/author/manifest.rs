//! `plugin.json`: how a plugin of another language than Rust is built, in steps that its folder names.
//!
//! This program knows no other language: a step is a program with its arguments. Invariant: nothing is run that the
//! manifest does not name, and a component that was built carries the version of the contract that its glue speaks.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::failure::Failure;
use super::workbench;
use crate::plugin;

/// The manifest's name.
pub(super) const FILE: &str = "plugin.json";

/// What a plugin's folder says of how it is built.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// What is done, in this order.
    pub(super) build: Vec<Step>,
    /// The file that comes of it.
    component: PathBuf,
    /// The version of the contract that the glue speaks.
    contract: String,
    /// Files and folders whose changes matter.
    pub(super) sources: Vec<PathBuf>,
}

/// One program to run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// The program and its arguments, without a shell; one with a slash lies in the folder.
    pub(super) run: Vec<String>,
    /// What is set in the environment besides this one.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// It is left out where this file is there: it has been done before.
    unless: Option<PathBuf>,
}

impl Manifest {
    /// Reads the manifest of a folder; none where there is none.
    pub(super) fn read(directory: &Path) -> Result<Option<Self>, Failure> {
        let file = directory.join(FILE);
        if !file.exists() {
            return Ok(None);
        }
        let unusable = |words: String| Failure::Unusable(format!("{}: {words}", file.display()));
        let manifest: Self =
            serde_json::from_slice(&workbench::read(&file)?).map_err(|error| unusable(error.to_string()))?;
        let named = manifest.sources.iter().chain([&manifest.component]);
        let named = named.chain(manifest.build.iter().filter_map(|step| step.unless.as_ref()));
        for path in named {
            if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
                return Err(unusable(format!("{} does not lie in the folder", path.display())));
            }
        }
        if manifest.build.iter().any(|step| step.run.is_empty()) {
            return Err(unusable("a step of build runs nothing".to_owned()));
        }
        Ok(Some(manifest))
    }

    /// The programs that are needed and do not lie in the folder.
    pub(super) fn programs(&self) -> Vec<&str> {
        let mut programs: Vec<&str> =
            self.build.iter().filter_map(|step| step.run.first()).map(String::as_str).collect();
        programs.retain(|program| !program.contains('/'));
        programs.dedup();
        programs
    }

    /// Does what the manifest says; gives the component's file. What the programs say goes to standard error.
    pub(super) fn build(&self, directory: &Path) -> Result<PathBuf, Failure> {
        let unavailable = |path: &Path, error: std::io::Error| {
            Failure::Unavailable(format!("cannot write {}: {error}", path.display()))
        };
        let directory = directory
            .canonicalize()
            .map_err(|error| Failure::Unusable(format!("{}: {error}", directory.display())))?;
        let file = directory.join(&self.component);
        let folder = file.parent().unwrap_or(&directory);
        fs::create_dir_all(folder).map_err(|error| unavailable(folder, error))?;
        // What stands there after this was made by it.
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(unavailable(&file, error));
            }
            _ => {}
        }
        for step in &self.build {
            if step.unless.as_ref().is_none_or(|done| !directory.join(done).exists()) {
                step.run(&directory)?;
            }
        }
        if !file.exists() {
            return Err(Failure::Unusable(format!(
                "no {} has come of it; component in {FILE} names another file than the last step writes",
                self.component.display()
            )));
        }
        self.stamp(&file)?;
        Ok(file)
    }

    /// Writes the contract's version into the component, as the Rust SDK does while it compiles.
    fn stamp(&self, file: &Path) -> Result<(), Failure> {
        let wasm = workbench::read(file)?;
        let stamped = plugin::stamp(&workbench::stem(file), wasm, &self.contract)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let write = || -> std::io::Result<()> {
            let mut aside = tempfile::NamedTempFile::new_in(folder)?;
            aside.write_all(&stamped)?;
            // As readable as what a compiler writes: it is copied to where another user reads it.
            aside.as_file().set_permissions(Permissions::from_mode(0o644))?;
            aside.persist(file)?;
            Ok(())
        };
        write().map_err(|error| Failure::Unavailable(format!("cannot write {}: {error}", file.display())))
    }
}

impl Step {
    fn run(&self, directory: &Path) -> Result<(), Failure> {
        let Some((program, arguments)) = self.run.split_first() else {
            return Ok(());
        };
        // Whether a relative program is looked for here or there is the system's choice otherwise.
        let found = if program.contains('/') { directory.join(program) } else { PathBuf::from(program) };
        let status = Command::new(&found)
            .args(arguments)
            .envs(&self.environment)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .map_err(|error| {
                Failure::Unavailable(format!(
                    "{program} does not start: {error}; aggregator plugin doctor says more"
                ))
            })?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::Unusable(format!("{} failed ({status}); its words stand above", self.run.join(" "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(manifest: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), manifest).unwrap();
        folder
    }

    fn words<T>(result: Result<T, Failure>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn a_manifest_reaches_nothing_outside_its_folder_and_has_no_unknown_words() {
        for (manifest, said) in [
            (r#"{"build":[],"component":"../a.wasm","contract":"0.1.0","sources":[]}"#, "does not lie in"),
            (r#"{"build":[],"component":"/a.wasm","contract":"0.1.0","sources":[]}"#, "does not lie in"),
            (r#"{"build":[{"run":[]}],"component":"a","contract":"0.1.0","sources":[]}"#, "runs nothing"),
            (r#"{"build":[],"component":"a","contract":"0.1.0","sources":[],"shell":1}"#, "unknown field"),
        ] {
            let folder = folder(manifest);
            assert!(words(Manifest::read(folder.path())).contains(said), "{manifest}");
        }
        assert!(Manifest::read(tempfile::tempdir().unwrap().path()).ok().unwrap().is_none());
    }

    #[test]
    fn steps_are_run_in_their_order_and_a_step_that_was_done_is_left_out() {
        let manifest = r#"{"component":"build/p.wasm","contract":"0.1.0","sources":["p"],"build":[
            {"run":["touch","done"],"unless":"done"},{"run":["cp","p","build/p.wasm"],"unless":"nothing"}]}"#;
        let folder = folder(manifest);
        fs::write(folder.path().join("p"), plugin::catalog::DEFAULT_COMPONENT).unwrap();
        let read = Manifest::read(folder.path()).ok().unwrap().unwrap();
        assert_eq!(read.programs(), ["touch", "cp"]);
        let file = read.build(folder.path()).ok().unwrap();
        assert!(folder.path().join("done").exists());
        // It has a version already, which stays.
        assert_eq!(fs::read(&file).unwrap(), plugin::catalog::DEFAULT_COMPONENT);
        fs::remove_file(folder.path().join("p")).unwrap();
        assert!(words(read.build(folder.path())).contains("cp p build/p.wasm failed"));
        assert!(!file.exists(), "the component of another build");
    }

    #[test]
    fn a_component_without_a_version_gets_the_one_that_the_manifest_names() {
        let bare = b"\0asm\x0d\0\x01\0".to_vec();
        let stamped = plugin::stamp("p", bare.clone(), "0.1.0").unwrap();
        assert!(stamped.starts_with(&bare));
        assert_eq!(plugin::stamp("p", stamped.clone(), "0.1.0").unwrap(), stamped);
        let other = plugin::stamp("p", stamped, "0.2.0").unwrap_err();
        assert!(other.reason.contains("0.1.0"), "{other}");
        assert!(plugin::stamp("p", b"text".to_vec(), "0.1.0").is_err());
    }
}
