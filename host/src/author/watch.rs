//! `aggregator plugin watch`: builds whenever a source file changes, and hands the component on.
//!
//! A running host or demo that watches the directory swaps it in, with the state carried over. Invariant: a
//! component gets its name in the directory when it is complete, never before.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use notify::{RecursiveMode, Watcher};
use serde::Serialize;

use super::failure::Failure;
use super::manifest::Manifest;
use super::{building, workbench};
use crate::config::{self, Config};
use crate::plugin::directory::Directory;

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
        let dir = self.into.as_ref().unwrap_or(&config.plugins.dir).clone();
        let into = Directory::new(&config::Plugins { dir, ..config.plugins.clone() });
        // One mark is enough: a build looks at everything that has changed.
        let (changed, changes) = crossbeam_channel::bounded(1);
        let _watching = self.watcher(changed)?;
        let mut built = 0;
        loop {
            let step = match self.step(config, &into) {
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

    /// What a build depends on, as events name it: by absolute paths.
    fn sources(&self) -> Result<Vec<PathBuf>, Failure> {
        let named = Manifest::read(&self.directory)?.map(|manifest| manifest.sources);
        let sources = named.unwrap_or_else(|| ["src", "Cargo.toml"].map(PathBuf::from).to_vec());
        let absolute = |source| std::path::absolute(self.directory.join(source)).map_err(Failure::internal);
        sources.iter().map(absolute).collect()
    }

    /// What marks a change of a source, for as long as it lives.
    fn watcher(&self, changed: Sender<()>) -> Result<impl Watcher, Failure> {
        let sources = self.sources()?;
        let own = sources.clone();
        let is_source = move |path: &PathBuf| own.iter().any(|source| path.starts_with(source));
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let touched =
                event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(&is_source));
            if touched {
                // A full channel has the mark already.
                changed.try_send(()).ok();
            }
        })
        .map_err(Failure::internal)?;
        for path in &sources {
            // A file is watched through its folder: editors put a new one in its place.
            let (watched, mode) = match path.parent() {
                Some(folder) if path.is_file() => (folder, RecursiveMode::NonRecursive),
                _ => (path.as_path(), RecursiveMode::Recursive),
            };
            watcher
                .watch(watched, mode)
                .map_err(|error| Failure::Unusable(format!("cannot watch {}: {error}", path.display())))?;
        }
        Ok(watcher)
    }

    /// Builds, loads and puts the component where it is looked for.
    fn step(&self, config: &Config, into: &Directory) -> Result<Step, Failure> {
        let built = building::build(&self.directory)?;
        let loaded = workbench::load(config, &built.file, None)?;
        let mut upload = into.upload(loaded.running.name())?;
        upload.add(&workbench::read(&built.file)?)?;
        let file = upload.finish(None)?.publish()?;
        Ok(Step { file: Some(file), digest: Some(loaded.running.digest.to_string()), problem: None })
    }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_file_is_watched_however_often_another_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("metric.js"), "1").unwrap();
        fs::write(
            folder.path().join("plugin.json"),
            r#"{"build":[],"component":"a.wasm","contract":"0.1.0","sources":["metric.js"]}"#,
        )
        .unwrap();
        let watch = Watch { directory: folder.path().to_owned(), into: None, builds: None };
        let (changed, changes) = crossbeam_channel::bounded(1);
        let _watching = watch.watcher(changed).unwrap();
        for text in ["2", "3", "4"] {
            fs::write(folder.path().join("aside"), text).unwrap();
            // What is no source is no change.
            assert!(changes.recv_timeout(SETTLED).is_err(), "{text}");
            fs::rename(folder.path().join("aside"), folder.path().join("metric.js")).unwrap();
            changes.recv_timeout(LIMIT).unwrap();
            while changes.recv_timeout(SETTLED).is_ok() {}
        }
    }
}
