//! An author's desk: a directory of its own, the command, and what it said.
//!
//! Crates build into one directory that is kept, with the workspace's own lock file, so that what they depend on is
//! compiled once and nothing new is asked of a registry. The invariant: crates of different tests have different names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aggregator_tests::paths;
use serde_json::Value;
use tempfile::TempDir;

/// A directory to work in.
pub(crate) struct Desk {
    directory: TempDir,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its answer.
    pub(crate) out: String,
    /// Why it failed, and what cargo had to say.
    pub(crate) err: String,
}

impl Said {
    /// The answer of a command that did what was asked.
    pub(crate) fn fine(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self.out
    }

    /// The answer as JSON, whatever the exit code.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs `aggregator plugin` with these arguments in a folder of the desk.
    pub(crate) fn run(&self, folder: &str, arguments: &[&str]) -> Said {
        let mut command = Command::new(paths::aggregator().unwrap());
        said(command.arg("plugin").args(arguments).current_dir(self.path().join(folder)))
    }

    /// Runs `aggregator tap` with these arguments.
    pub(crate) fn tap(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(paths::aggregator().unwrap());
        said(command.arg("tap").args(arguments).current_dir(self.path()))
    }

    /// Runs the command where no other program is found.
    pub(crate) fn run_without_programs(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(paths::aggregator().unwrap());
        said(command.arg("plugin").args(arguments).env("PATH", self.path()).current_dir(self.path()))
    }

    /// Makes a crate that builds without a question to a registry.
    pub(crate) fn make(&self, name: &str, template: &str) -> PathBuf {
        self.run("", &["new", name, "--template", template]).fine();
        let folder = self.path().join(name);
        fs::copy(paths::workspace().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        folder
    }

    /// Replaces a text in a crate's source, which must have it.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let file = self.path().join(name).join("src/lib.rs");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "no {from:?} in {text}");
        fs::write(&file, text.replace(from, to)).unwrap();
    }

    /// Runs a crate's own tests.
    pub(crate) fn cargo_test(&self, name: &str) -> Said {
        said(Command::new("cargo").arg("test").current_dir(self.path().join(name)))
    }
}

fn said(command: &mut Command) -> Said {
    let output = command
        .env("CARGO_TARGET_DIR", paths::kept("author").unwrap())
        .env("PLUGIN_CACHE_DIR", paths::kept("plugin-cache").unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}
