//! Compiled components on disk, so that a second start compiles nothing.
//!
//! To load such a file is to run it as native code. The directory therefore belongs to this user alone,
//! and a file's name holds three digests: of the component, of the engine that may load it, and of the
//! file's own bytes. Anything that does not fit (damaged, cut, a link, another owner or mode) is removed
//! and compiled again.
//!
//! Invariant: a file that is handed out was written by this user, with exactly the bytes its name says.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Seek};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW};
use tempfile::NamedTempFile;

use crate::digest;

/// What the name of a compiled component ends with.
const EXTENSION: &str = ".cwasm";
/// What the name of an unfinished file begins with.
const UNFINISHED: &str = ".unfinished-";
/// An unfinished file that old is nobody's any more.
const ABANDONED_SECONDS: u64 = 24 * 3_600;

/// How much the directory may hold; the files used last are kept.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    files: usize,
    bytes: u64,
}

const BOUNDS: Bounds = Bounds { files: 32, bytes: 1 << 30 };

/// A private directory of compiled components.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    bounds: Bounds,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheError {
    #[error("{0} cannot be used: {1}")]
    Io(PathBuf, #[source] io::Error),
    #[error("{0} is no directory")]
    NoDirectory(PathBuf),
    #[error("{0} belongs to another user")]
    Owner(PathBuf),
    #[error("{0} can be written by other users: chmod 700 {0}")]
    Mode(PathBuf),
}

impl Cache {
    /// Makes the directory where it is missing, and looks that it is nobody else's.
    pub(super) fn open(dir: &Path) -> Result<Self, CacheError> {
        let named = || dir.to_owned();
        let failed = |error| CacheError::Io(named(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let metadata = fs::metadata(dir).map_err(failed)?;
        if !metadata.is_dir() {
            return Err(CacheError::NoDirectory(named()));
        }
        if !is_own(&metadata) {
            return Err(CacheError::Owner(named()));
        }
        match metadata.mode() & 0o077 {
            0 => {}
            // Others may have put something there.
            others if others & 0o022 != 0 => return Err(CacheError::Mode(named())),
            // They could only read; from now on they cannot.
            _ => fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(failed)?,
        }
        let cache = Self { dir: dir.to_owned(), bounds: BOUNDS };
        // Where nothing can be written, it is better known now than after the first compilation.
        cache.begin().map_err(failed)?;
        Ok(cache)
    }

    /// Gives the compiled form of a component for an engine, if it is there and beyond doubt.
    pub(super) fn get(&self, component: &str, engine: u64) -> Option<File> {
        let prefix = prefix(component, engine);
        for (name, path) in self.files().ok()? {
            let Some(content) = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(EXTENSION))
            else {
                continue;
            };
            match verified(&path, content) {
                Ok(file) => return Some(file),
                Err(doubt) => {
                    tracing::warn!(file = %path.display(), %doubt, "Compiled plugin in doubt, compiling it again");
                    drop(fs::remove_file(&path));
                }
            }
        }
        None
    }

    /// Begins a file, unseen until it is kept.
    pub(super) fn begin(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.dir)
    }

    /// Keeps a file that is complete, and removes what has not been used for longest.
    pub(super) fn keep(&self, mut file: NamedTempFile, component: &str, engine: u64) -> io::Result<File> {
        let content = digest::of_reader(file.as_file_mut())?;
        file.as_file_mut().rewind()?;
        let path = self.dir.join(format!("{}{content}{EXTENSION}", prefix(component, engine)));
        let kept = file.persist(path).map_err(|error| error.error)?;
        self.prune()?;
        Ok(kept)
    }

    /// Removes a file that could not be loaded.
    pub(super) fn forget(&self, component: &str, engine: u64) {
        let prefix = prefix(component, engine);
        for (name, path) in self.files().unwrap_or_default() {
            if name.starts_with(&prefix) {
                drop(fs::remove_file(path));
            }
        }
    }

    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for (name, path) in self.files()? {
            // Another process may prune, too.
            if let Ok(metadata) = fs::symlink_metadata(&path) {
                files.push((metadata.modified()?, metadata.len(), name, path));
            }
        }
        files.sort_unstable_by(|a, b| b.cmp(a));
        let newest = files.first().map_or(SystemTime::UNIX_EPOCH, |file| file.0);
        let (mut kept, mut bytes) = (0, 0);
        for (used, size, name, path) in files {
            let goes = if name.starts_with(UNFINISHED) {
                newest.duration_since(used).is_ok_and(|age| age.as_secs() > ABANDONED_SECONDS)
            } else if name.ends_with(EXTENSION) {
                kept += 1;
                bytes += size;
                kept > 1 && (kept > self.bounds.files || bytes > self.bounds.bytes)
            } else {
                false
            };
            if goes {
                drop(fs::remove_file(path));
            }
        }
        Ok(())
    }

    fn files(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                files.push((name, entry.path()));
            }
        }
        Ok(files)
    }
}

fn prefix(component: &str, engine: u64) -> String {
    format!("{component}-{engine:016x}-")
}

/// Opens a file if it is of this user alone and has the content that its name says.
fn verified(path: &Path, content: &str) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    let doubt = |words: &str| Err(io::Error::other(words.to_owned()));
    if !metadata.is_file() {
        return doubt("no regular file");
    }
    if !is_own(&metadata) || metadata.mode() & 0o077 != 0 {
        return doubt("not of this user alone");
    }
    if digest::of_reader(&mut file)? != content {
        return doubt("damaged");
    }
    file.rewind()?;
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    if let Err(error) = rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now })
    {
        // Only the order in which files are removed depends on it.
        tracing::debug!(file = %path.display(), %error, "Use of a compiled plugin not noted");
    }
    Ok(file)
}

fn is_own(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;

    use super::*;

    const COMPONENT: &str = "c0ffee";

    fn with_file(content: &[u8]) -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("of/its/own")).unwrap();
        put(&cache, COMPONENT, content);
        (dir, cache)
    }

    fn put(cache: &Cache, component: &str, content: &[u8]) {
        let mut file = cache.begin().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        cache.keep(file, component, 7).unwrap();
    }

    fn read(cache: &Cache, component: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        cache.get(component, 7)?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    fn only_file(cache: &Cache) -> PathBuf {
        let files = cache.files().unwrap();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].1.clone()
    }

    #[test]
    fn what_was_kept_is_given_back_for_the_same_component_and_engine() {
        let (_dir, cache) = with_file(b"code");
        assert_eq!(read(&cache, COMPONENT).unwrap(), b"code");
        assert!(cache.get("other", 7).is_none());
        assert!(cache.get(COMPONENT, 8).is_none());
        let mode = fs::metadata(only_file(&cache)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(fs::metadata(&cache.dir).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_doubt_is_removed() {
        let damages: [fn(&Path); 5] = [
            |path| fs::write(path, b"codf").unwrap(),
            |path| fs::write(path, b"cod").unwrap(),
            |path| fs::write(path, b"").unwrap(),
            |path| fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap(),
            |path| {
                let elsewhere = path.with_extension("moved");
                fs::rename(path, &elsewhere).unwrap();
                symlink(&elsewhere, path).unwrap();
            },
        ];
        for damage in damages {
            let (_dir, cache) = with_file(b"code");
            let path = only_file(&cache);
            damage(&path);
            assert!(cache.get(COMPONENT, 7).is_none());
            assert!(fs::symlink_metadata(&path).is_err());
            put(&cache, COMPONENT, b"code");
            assert_eq!(read(&cache, COMPONENT).unwrap(), b"code");
        }
    }

    #[test]
    fn the_files_used_last_are_kept() {
        let (_dir, mut cache) = with_file(b"first");
        cache.bounds.files = 3;
        let aged = |component: &str, seconds: u64| {
            let (_, path) =
                cache.files().unwrap().into_iter().find(|file| file.0.starts_with(component)).unwrap();
            let then = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
        };
        aged(COMPONENT, 1);
        for (component, seconds) in [("a", 2), ("b", 3)] {
            put(&cache, component, b"code");
            aged(component, seconds);
        }
        assert!(read(&cache, COMPONENT).is_some());
        put(&cache, "c", b"code");
        assert!(read(&cache, "a").is_none());
        for component in [COMPONENT, "b", "c"] {
            assert!(read(&cache, component).is_some(), "{component}");
        }
    }

    #[test]
    fn the_directory_holds_no_more_bytes_than_it_may() {
        let (_dir, mut cache) = with_file(&[0; 100]);
        cache.bounds.bytes = 150;
        put(&cache, "second", &[1; 100]);
        assert!(read(&cache, "second").is_some());
        assert!(read(&cache, COMPONENT).is_none());
        // The last one is kept whatever its size.
        put(&cache, "third", &[2; 200]);
        assert!(read(&cache, "third").is_some());
    }

    #[test]
    fn a_directory_that_others_can_write_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o770)).unwrap();
        let error = Cache::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("chmod 700"), "{error}");
        // One that they can only read is made private.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        Cache::open(dir.path()).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_place_where_nothing_can_be_written_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(Cache::open(&file).is_err());
        assert!(Cache::open(&file.join("below")).is_err());
        // No process can write there, not even root's.
        assert!(Cache::open(Path::new("/proc/self/fdinfo")).is_err());
    }
}
