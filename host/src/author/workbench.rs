//! A component on the author's table: its bytes, its configuration, and the service's loader to make it run.
//!
//! Invariant: what is loaded here is loaded as the service does it, with the same limits, from the same settings.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::failure::Failure;
use crate::config::Config;
use crate::plugin::catalog::Running;
use crate::plugin::{Candidate, Loader, Outline, ResultKeys, outline};

/// A component that runs.
pub(super) struct Loaded {
    /// Its file.
    pub(super) file: PathBuf,
    /// How many bytes it has.
    pub(super) bytes: usize,
    /// What its bytes say.
    pub(super) outline: Outline,
    /// The plugin.
    pub(super) running: Running,
}

/// Reads a file whole.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(|error| Failure::Unusable(format!("cannot read {}: {error}", file.display())))
}

/// The name by which a file comes.
pub(super) fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// Loads a component with a configuration: the given one, or the `.json` beside it, or none.
pub(super) fn load(config: &Config, file: &Path, given: Option<&Path>) -> Result<Loaded, Failure> {
    let wasm: Arc<[u8]> = read(file)?.into();
    let outline = outline(&stem(file), &wasm)?;
    let loader = Loader::new(&config.plugins, None).map_err(Failure::internal)?;
    let name = loader.name(&stem(file), &wasm)?;
    let bytes = wasm.len();
    let candidate = Candidate::new(&name, wasm, &configuration(file, given)?);
    let running = loader.load(&candidate, &ResultKeys::new())?.running;
    Ok(Loaded { file: file.to_owned(), bytes, outline, running })
}

fn configuration(file: &Path, given: Option<&Path>) -> Result<String, Failure> {
    let beside = file.with_extension("json");
    let Some(path) = given.or_else(|| beside.exists().then_some(&*beside)) else {
        return Ok("{}".to_owned());
    };
    String::from_utf8(read(path)?)
        .map_err(|error| Failure::Unusable(format!("{} is no text: {error}", path.display())))
}
