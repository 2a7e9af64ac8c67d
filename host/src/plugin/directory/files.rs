//! What lies in the directory, without reading it: enough to see that something changed.
//!
//! Invariant: a file whose bytes changed has another stamp, unless whoever changed it hid it from the
//! file system; the digest of what is read decides.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{canonical, is_name};

/// What tells one state of a file from another: device, inode, size, times of content and of the inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64, u64, u64, (i64, i64), (i64, i64));

/// A file and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
}

/// The files of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Files {
    pub(super) wasm: Option<Place>,
    pub(super) json: Option<Place>,
    /// The name of a further file that would be the same plugin's.
    pub(super) twin: Option<String>,
}

/// The directory at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Snapshot {
    /// By the name that stands for all of a plugin's.
    pub(super) plugins: BTreeMap<String, Files>,
    /// Components whose names no plugin can have.
    pub(super) misnamed: Vec<String>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Self(metadata.dev(), metadata.ino(), metadata.size(), modified, changed)
    }
}

impl Place {
    /// The file's name without its ending.
    pub(super) fn stem(&self) -> &str {
        self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }

    /// Whether the file is still in the state in which it was seen.
    pub(super) fn is_as_seen(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp)
    }
}

impl Snapshot {
    /// Looks at a directory; none where there is no such directory.
    pub(super) fn take(dir: &Path) -> io::Result<Option<Self>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        // Of two names for one plugin the same one is always the first.
        names.sort_unstable();
        let mut snapshot = Self::default();
        for name in names.iter().filter(|name| !name.starts_with('.')) {
            snapshot.add(dir, name);
        }
        snapshot.plugins.retain(|_, files| *files != Files::default());
        Ok(Some(snapshot))
    }

    fn add(&mut self, dir: &Path, name: &str) {
        let Some((stem, extension)) = name.rsplit_once('.') else {
            return;
        };
        if extension != "wasm" && extension != "json" {
            return;
        }
        if !is_name(stem) {
            if extension == "wasm" {
                self.misnamed.push(name.to_owned());
            }
            return;
        }
        let path = dir.join(name);
        // A link that points nowhere is about to be switched, or is no file.
        let Ok(metadata) = fs::metadata(&path) else {
            return;
        };
        let files = self.plugins.entry(canonical(stem)).or_default();
        let place = if extension == "wasm" { &mut files.wasm } else { &mut files.json };
        if place.is_some() {
            files.twin = Some(stem.to_owned());
        } else {
            *place = Some(Place { path, stamp: Stamp::of(&metadata) });
        }
    }
}
