//! `aggregator plugin build`: the component of a folder, by its manifest or by cargo, and what its bytes tell.
//!
//! Invariant: the file is the one that cargo or the manifest names, never one that is guessed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::failure::Failure;
use super::manifest::{self, Manifest};
use super::workbench;
use crate::digest;
use crate::plugin::{Outline, outline};

/// What plugins are built for.
pub(super) const TARGET: &str = "wasm32-wasip2";

/// Builds a plugin.
#[derive(Debug, Args)]
pub(super) struct Build {
    /// The plugin's directory.
    #[arg(default_value = ".")]
    directory: PathBuf,
}

/// A component that was built.
#[derive(Serialize)]
pub(super) struct Built {
    /// Its file.
    pub(super) file: PathBuf,
    bytes: usize,
    digest: String,
    contract: String,
    imports: Vec<String>,
}

impl Built {
    fn of(file: PathBuf) -> Result<Self, Failure> {
        let wasm = workbench::read(&file)?;
        let Outline { contract, imports } = outline(&workbench::stem(&file), &wasm)?;
        Ok(Self { bytes: wasm.len(), digest: digest::of(&wasm), file, contract, imports })
    }
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.file.display())?;
        writeln!(f, "  size      {} bytes", self.bytes)?;
        writeln!(f, "  digest    {}", self.digest)?;
        writeln!(f, "  contract  {}", self.contract)?;
        write!(f, "  imports   {}", spelled_out(&self.imports))
    }
}

/// Imports for people: those of the contract by name, and how many the standard library left unused.
pub(super) fn spelled_out(imports: &[String]) -> String {
    let (unused, used): (Vec<&String>, Vec<_>) = imports.iter().partition(|name| name.starts_with("wasi:"));
    let mut words: Vec<String> = used.into_iter().cloned().collect();
    if !unused.is_empty() {
        words.push(format!("{} of wasi, which give nothing", unused.len()));
    }
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

impl Build {
    pub(super) fn run(&self) -> Result<Built, Failure> {
        build(&self.directory)
    }
}

/// Builds the plugin in a directory. What the programs have to say goes to standard error.
pub(super) fn build(directory: &Path) -> Result<Built, Failure> {
    if let Some(manifest) = Manifest::read(directory)? {
        return Built::of(manifest.build(directory)?);
    }
    if !directory.join("Cargo.toml").exists() {
        return Err(Failure::Unusable(format!(
            "there is no Cargo.toml and no {} in {}; aggregator plugin new makes a plugin",
            manifest::FILE,
            directory.display()
        )));
    }
    build_crate(directory)
}

fn build_crate(directory: &Path) -> Result<Built, Failure> {
    let output = Command::new("cargo")
        .current_dir(directory)
        .args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| {
            Failure::Unavailable(format!("cargo does not start: {error}; aggregator plugin doctor says more"))
        })?;
    if !output.status.success() {
        return Err(Failure::Unusable(
            "the crate does not build; cargo's words stand above (where it misses the target: \
             rustup target add wasm32-wasip2)"
                .to_owned(),
        ));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let file = component(&said).ok_or_else(|| {
        Failure::Unusable(
            "the crate makes no component; its [lib] needs crate-type = [\"cdylib\"]".to_owned(),
        )
    })?;
    Built::of(file)
}

/// The component among what cargo made: the last, since the crate itself comes behind what it depends on.
fn component(said: &str) -> Option<PathBuf> {
    let messages = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let artifacts = messages.filter(|message| message["reason"] == "compiler-artifact");
    let mut files = artifacts.filter_map(|artifact| {
        let mut files = artifact["filenames"].as_array()?.iter().filter_map(Value::as_str);
        files.find(|file| file.ends_with(".wasm")).map(PathBuf::from)
    });
    files.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_the_last_one_that_cargo_names() {
        let said = concat!(
            r#"{"reason":"compiler-artifact","filenames":["/t/libserde.rlib"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","filenames":["/t/m.wasm","/t/libm.rlib"]}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n"
        );
        assert_eq!(component(said), Some(PathBuf::from("/t/m.wasm")));
        assert_eq!(component("nonsense"), None);
    }
}
