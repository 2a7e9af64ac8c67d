//! `aggregator plugin watch`: builds whenever a source file changes, and hands the component on.
//!
//! A running host or demo that watches the directory swaps it in, with the state carried over. Invariant: a
//! component gets its name in the directory when it is complete, never before.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use notify::{RecursiveMode, Watcher};
use serde::Serialize;

use super::failure::Failure;
use super::manifest::Manifest;
use super::{building, workbench};
use crate::config::Config;

/// How long nothing more must change before a build begins: an editor writes several files.
const SETTLED: Duration = Duration::from_millis(100);

/// Builds on each change.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// The plugin's directory.
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// Where components are put. Without it: PLUGINS_DIR.
    #[arg(long)]
    into: Option<PathBuf>,
    /// Ends after so many builds that worked.
    #[arg(long, hide = true)]
    builds: Option<u64>,
}

/// What came of a change.
#[derive(Serialize)]
pub(super) struct Step {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, &self.digest, &self.problem) {
            (Some(file), Some(digest), _) => write!(f, "{}: {digest}", file.display()),
            (_, _, Some(problem)) => write!(f, "{problem}"),
            _ => Ok(()),
        }
    }
}

impl Watch {
    pub(super) fn run(
        &self,
        config: &Config,
        say: impl Fn(&Step) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let into = self.into.as_ref().unwrap_or(&config.plugins.dir);
        // One mark is enough: a build looks at everything that has changed.
        let (changed, changes) = crossbeam_channel::bounded(1);
        let mut watcher = watcher(changed)?;
        for watched in self.watched()? {
            let path = self.directory.join(watched);
            watcher
                .watch(&path, RecursiveMode::Recursive)
                .map_err(|error| Failure::Unusable(format!("cannot watch {}: {error}", path.display())))?;
        }
        let mut built = 0;
        loop {
            let step = match self.step(config, into) {
                Ok(step) => step,
                Err(Failure::Unusable(words)) => Step { file: None, digest: None, problem: Some(words) },
                Err(failure) => return Err(failure),
            };
            built += u64::from(step.problem.is_none());
            say(&step)?;
            if self.builds.is_some_and(|builds| built >= builds) {
                return Ok(());
            }
            wait(&changes)?;
        }
    }

    /// What a build depends on.
    fn watched(&self) -> Result<Vec<PathBuf>, Failure> {
        let named = Manifest::read(&self.directory)?.map(|manifest| manifest.sources);
        Ok(named.unwrap_or_else(|| ["src", "Cargo.toml"].map(PathBuf::from).to_vec()))
    }

    /// Builds, loads and puts the component where it is looked for.
    fn step(&self, config: &Config, into: &Path) -> Result<Step, Failure> {
        let built = building::build(&self.directory)?;
        let loaded = workbench::load(config, &built.file, None)?;
        let file = into.join(format!("{}.wasm", loaded.running.name()));
        put(&file, &workbench::read(&built.file)?)
            .map_err(|error| Failure::Unavailable(format!("cannot write {}: {error}", file.display())))?;
        Ok(Step { file: Some(file), digest: Some(loaded.running.digest.to_string()), problem: None })
    }
}

fn watcher(changed: Sender<()>) -> Result<impl Watcher, Failure> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let touched = event.is_ok_and(|event| !event.kind.is_access());
        if touched {
            // A full channel has the mark already.
            changed.try_send(()).ok();
        }
    })
    .map_err(Failure::internal)
}

/// Waits for a change, and until nothing more changes.
fn wait(changes: &Receiver<()>) -> Result<(), Failure> {
    changes.recv().map_err(Failure::internal)?;
    loop {
        match changes.recv_timeout(SETTLED) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(error @ RecvTimeoutError::Disconnected) => return Err(Failure::internal(error)),
        }
    }
}

/// Writes a file beside its place, then gives it its name.
fn put(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut aside = tempfile::NamedTempFile::new_in(directory)?;
    aside.write_all(bytes)?;
    aside.persist(file)?;
    Ok(())
}
