//! A plugins directory of a host under test, and components that differ in their bytes only.
//!
//! The invariant: a file appears whole, under its final name, as a careful operator would have it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hostile::manifest::Manifest;
use tempfile::TempDir;

use crate::paths;

/// A directory with plugins.
pub struct PluginsDir {
    dir: TempDir,
}

impl PluginsDir {
    /// Makes an empty one.
    ///
    /// # Errors
    /// Fails where it cannot be made.
    pub fn new() -> Result<Self> {
        Ok(Self { dir: tempfile::Builder::new().prefix("aggregator-plugins-").tempdir()? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Puts a file there, in the place of another one if there is one.
    ///
    /// # Errors
    /// Fails where it cannot be written.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let aside = self.dir.path().join(format!(".{name}"));
        std::fs::write(&aside, bytes).with_context(|| format!("writing {}", aside.display()))?;
        std::fs::rename(&aside, self.file(name)).context("renaming a plugin")
    }

    /// Takes a file away.
    ///
    /// # Errors
    /// Fails where it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.file(name)).context("removing a plugin")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The same component with another digest: a custom section says which one it is.
pub fn variant(component: &[u8], number: u32) -> Vec<u8> {
    const NAME: &[u8] = b"variant";
    let mut bytes = component.to_vec();
    bytes.extend([0, 1 + NAME.len() as u8 + 4, NAME.len() as u8]);
    bytes.extend(NAME);
    bytes.extend(number.to_le_bytes());
    bytes
}

/// The component that misbehaves as its configuration says, in a version of its state.
///
/// # Errors
/// Fails where it has not been built, naming the command.
pub fn hostile(state_version: u32) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(paths::component("hostile")?)?;
    let manifest = Manifest { state_version, ..Manifest::default() };
    manifest.write(&mut bytes).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok(bytes)
}
