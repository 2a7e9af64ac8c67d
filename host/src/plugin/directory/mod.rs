//! The plugins directory: `<name>.wasm`, and `<name>.json` beside it where a plugin is configured.
//!
//! [`Directory`] reads and writes it, [`Watcher`] tells what changes. The default plugin is there without a
//! file: its component is part of the binary, until a file takes its place. Names that begin with a dot are
//! nobody's: editors, mounted volumes and unfinished uploads have them.
//!
//! Not for what runs after a restart, which the store's records say. Invariant: what is read or written
//! lies in the directory, or is a regular file that a link in it points to.

mod files;
mod own;
mod tracker;
mod upload;
mod watcher;

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

pub use upload::{Received, Upload};
pub use watcher::{Change, Watcher};

use self::files::{Files, Place, Snapshot};
use self::own::Own;
use super::Stage;
use super::candidate::{Candidate, canonical, is_name};
use super::catalog;
use super::loader::{MAX_CONFIGURATION_BYTES, too_large};
use super::refusal::{Cause, Refusal};
use crate::config;

/// The directory with what is to run.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    /// The largest component, in bytes.
    max_bytes: usize,
    /// What the default plugin is told where no file says otherwise.
    default_configuration: String,
    /// What was written here or removed; shared by clones.
    own: Own,
}

impl Directory {
    /// The directory of a configuration; it need not exist.
    #[must_use]
    pub fn new(config: &config::Plugins) -> Self {
        Self {
            path: config.dir.clone(),
            max_bytes: config.upload_max,
            default_configuration: catalog::default_configuration(config),
            own: Own::default(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The largest component that is taken, in bytes.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// The default plugin as it is without any file.
    #[must_use]
    pub fn built_in(&self) -> Candidate {
        Candidate::new(catalog::DEFAULT_NAME, catalog::DEFAULT_COMPONENT, &self.default_configuration)
    }

    /// Everything that is to run, by name; the default plugin too where it has no file.
    ///
    /// # Errors
    /// When the directory is there but cannot be listed.
    pub fn read_all(&self) -> Result<Vec<Result<Candidate, Refusal>>, Refusal> {
        let mut found =
            Snapshot::take(&self.path).map_err(|error| self.unreadable(&error))?.unwrap_or_default();
        found.plugins.entry(canonical(catalog::DEFAULT_NAME)).or_default();
        let runnable = |name: &str, files: &Files| files.wasm.is_some() || is_default(name);
        let mut all: Vec<_> = found
            .plugins
            .iter()
            .filter(|(name, files)| runnable(name, files))
            .map(|(name, files)| self.read(name, files))
            .collect();
        all.extend(found.misnamed.iter().map(|file| Err(misnamed(file))));
        Ok(all)
    }

    /// Reads the files of one plugin.
    fn read(&self, name: &str, files: &Files) -> Result<Candidate, Refusal> {
        let shown = files.wasm.as_ref().map_or(name, |place| place.stem());
        if let Some(twin) = &files.twin {
            let words = format!("two files for one plugin: {shown} and {twin}");
            return Err(Refusal::new(shown, Stage::Read, Cause::Twin, words));
        }
        let configuration = match &files.json {
            Some(place) => Some(self.read_configuration(shown, place)?),
            None => None,
        };
        let configuration = configuration.as_deref().unwrap_or_else(|| self.default_of(name));
        match &files.wasm {
            Some(place) => {
                let wasm = read_file(&place.path, self.max_bytes).map_err(|error| match error {
                    ReadError::TooLarge => too_large(shown, self.max_bytes),
                    ReadError::Io(error) => unreadable(shown, &place.path, &error),
                })?;
                Ok(Candidate::new(shown, wasm, configuration))
            }
            None => Ok(Candidate::new(name, catalog::DEFAULT_COMPONENT, configuration)),
        }
    }

    fn read_configuration(&self, plugin: &str, place: &Place) -> Result<String, Refusal> {
        let bytes = read_file(&place.path, MAX_CONFIGURATION_BYTES).map_err(|error| match error {
            ReadError::TooLarge => {
                let words = format!("the configuration is longer than {MAX_CONFIGURATION_BYTES} bytes");
                Refusal::new(plugin, Stage::Configure, Cause::Configuration, words)
            }
            ReadError::Io(error) => unreadable(plugin, &place.path, &error),
        })?;
        String::from_utf8(bytes).map_err(|_| {
            let words = format!("{} is not UTF-8", place.path.display());
            Refusal::new(plugin, Stage::Configure, Cause::Configuration, words)
        })
    }

    fn default_of(&self, name: &str) -> &str {
        if is_default(name) { &self.default_configuration } else { "{}" }
    }

    fn unreadable(&self, error: &io::Error) -> Refusal {
        unreadable("directory", &self.path, error)
    }
}

/// Whether a name means the plugin that is there without a file.
fn is_default(name: &str) -> bool {
    canonical(name) == canonical(catalog::DEFAULT_NAME)
}

fn misnamed(file: &str) -> Refusal {
    let words = "a plugin is called by 1 to 64 of a-z, 0-9, _ and -".to_owned();
    Refusal::new(file, Stage::Read, Cause::FileName, words)
}

fn unreadable(plugin: &str, path: &Path, error: &io::Error) -> Refusal {
    Refusal::new(plugin, Stage::Read, Cause::Unreadable, format!("{}: {error}", path.display()))
}

enum ReadError {
    TooLarge,
    Io(io::Error),
}

/// Reads a regular file of at most so many bytes; anything else is an error, and is not waited for.
fn read_file(path: &Path, max_bytes: usize) -> Result<Vec<u8>, ReadError> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(ReadError::Io)?;
    let metadata = file.metadata().map_err(ReadError::Io)?;
    if !metadata.is_file() {
        return Err(ReadError::Io(io::Error::other("no regular file")));
    }
    let most = max_bytes as u64;
    if metadata.len() > most {
        return Err(ReadError::TooLarge);
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // It may grow while it is read.
    file.take(most + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() > max_bytes { Err(ReadError::TooLarge) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    pub(super) fn directory(path: &Path) -> Directory {
        Directory {
            path: path.to_owned(),
            max_bytes: 1_000,
            default_configuration: r#"{"d":1}"#.to_owned(),
            own: Own::default(),
        }
    }

    fn read(path: &Path) -> Vec<(String, Result<Candidate, Refusal>)> {
        let name = |read: &Result<Candidate, Refusal>| match read {
            Ok(candidate) => candidate.name.to_string(),
            Err(refusal) => refusal.plugin.clone(),
        };
        directory(path).read_all().unwrap().into_iter().map(|read| (name(&read), read)).collect()
    }

    #[test]
    fn the_default_plugin_is_there_without_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let all = read(&dir.path().join("missing"));
        let [(name, Ok(candidate))] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((name.as_str(), &*candidate.configuration), ("sliding-window", r#"{"d":1}"#));
        assert_eq!(*candidate.wasm, *catalog::DEFAULT_COMPONENT);
        // A configuration alone is one for the built-in component.
        fs::write(dir.path().join("sliding_window.json"), r#"{"d":2}"#).unwrap();
        let all = read(dir.path());
        assert_eq!(&*all[0].1.as_ref().unwrap().configuration, r#"{"d":2}"#);
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn a_component_is_read_with_the_configuration_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put("my_metric.wasm", "m");
        put("my_metric.json", r#"{"a":1}"#);
        put("bare.wasm", "b");
        put("sliding-window.wasm", "s");
        put("alone.json", "{}");
        for nobodys in [".hidden.wasm", "..data", "notes.txt", "wasm"] {
            put(nobodys, "x");
        }
        let all = read(dir.path());
        let told: Vec<(&str, &str, &[u8])> = all
            .iter()
            .map(|(name, read)| {
                let candidate = read.as_ref().unwrap();
                (name.as_str(), &*candidate.configuration, &*candidate.wasm)
            })
            .collect();
        assert_eq!(
            told,
            [
                ("bare", "{}", &b"b"[..]),
                ("my_metric", r#"{"a":1}"#, b"m"),
                ("sliding-window", r#"{"d":1}"#, b"s"),
            ]
        );
    }

    #[test]
    fn what_cannot_be_a_plugin_is_refused_by_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("large.wasm"), [0; 1_001]).unwrap();
        fs::create_dir(path("folder.wasm")).unwrap();
        fs::write(path("Upper.wasm"), "x").unwrap();
        fs::write(path("a_b.wasm"), "x").unwrap();
        fs::write(path("a-b.wasm"), "x").unwrap();
        fs::write(path("latin.wasm"), "x").unwrap();
        fs::write(path("latin.json"), b"{\"a\":\"\xff\"}").unwrap();
        symlink("/dev/zero", path("device.wasm")).unwrap();
        symlink("nowhere", path("dangling.wasm")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("pipe.wasm"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let refused: Vec<(String, Cause)> =
            read(dir.path()).into_iter().filter_map(|(name, read)| Some((name, read.err()?.cause))).collect();
        let expected = [
            ("a-b", Cause::Twin),
            ("device", Cause::Unreadable),
            ("folder", Cause::Unreadable),
            ("large", Cause::TooLarge),
            ("latin", Cause::Configuration),
            ("pipe", Cause::Unreadable),
            ("Upper.wasm", Cause::FileName),
        ];
        assert_eq!(refused, expected.map(|(name, cause)| (name.to_owned(), cause)));
    }
}
