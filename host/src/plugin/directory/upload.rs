//! Putting plugins into the directory: a component piece by piece, a configuration, and taking both away.
//!
//! Not for judging them: whoever publishes an upload has had it loaded before. Invariant: a file gets its
//! name when it is complete and on the disk; one that is not published leaves nothing behind.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use super::super::Stage;
use super::super::candidate::{Candidate, canonical, identity, is_name};
use super::super::loader::{check_configuration, too_large};
use super::super::refusal::{Cause, Refusal};
use super::files::{Files, Snapshot};
use super::own::Deed;
use super::{Directory, misnamed};
use crate::digest::{self, Growing};

/// What the name of an unfinished upload begins with.
const UNFINISHED: &str = ".upload-";
/// An unfinished upload that old is nobody's any more.
const ABANDONED: Duration = Duration::from_secs(24 * 3_600);

/// A component on its way into the directory.
#[derive(Debug)]
pub struct Upload {
    directory: Directory,
    name: String,
    file: NamedTempFile,
    digest: Growing,
    bytes: usize,
}

/// A component that is complete but has no name yet.
#[derive(Debug)]
pub struct Received {
    directory: Directory,
    file: NamedTempFile,
    candidate: Candidate,
}

impl Directory {
    /// Begins to take a component; makes the directory where there is none.
    ///
    /// # Errors
    /// When the name is none, or nothing can be written there.
    pub fn upload(&self, name: &str) -> Result<Upload, Refusal> {
        self.named(name)?;
        let file = self.begin().map_err(|error| unwritable(name, self.path(), &error))?;
        self.sweep(&file);
        let (directory, name) = (self.clone(), name.to_owned());
        Ok(Upload { directory, name, file, digest: Growing::default(), bytes: 0 })
    }

    /// Writes the configuration of a plugin.
    ///
    /// # Errors
    /// When it is no JSON object, or cannot be written.
    pub fn configure(&self, name: &str, json: &str) -> Result<(), Refusal> {
        let files = self.named(name)?;
        check_configuration(json)
            .map_err(|words| Refusal::new(name, Stage::Configure, Cause::Configuration, words))?;
        let target = self.target(name, &files, "json");
        if let Ok(Some(candidate)) = self.candidate(name) {
            self.own.note(&canonical(name), Deed::Wrote(identity(&candidate.digest, json)));
        }
        let written = self.begin().and_then(|mut file| {
            file.write_all(json.as_bytes())?;
            self.publish(file, &target)
        });
        written.map_err(|error| unwritable(name, &target, &error))
    }

    /// Takes a plugin's files away; says whether there were any.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn remove(&self, name: &str) -> Result<bool, Refusal> {
        let files = self.named(name)?;
        if files.wasm.is_some() {
            self.own.note(&canonical(name), Deed::Removed);
        }
        // Without its component a configuration is nothing, so that one goes first.
        let places: Vec<PathBuf> = files.wasm.into_iter().chain(files.json).map(|place| place.path).collect();
        for path in &places {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(unwritable(name, path, &error));
                }
                _ => {}
            }
        }
        Ok(!places.is_empty())
    }

    /// The candidate that a plugin's files are; none where it has no component.
    ///
    /// # Errors
    /// When they cannot be one.
    pub fn candidate(&self, name: &str) -> Result<Option<Candidate>, Refusal> {
        let files = self.named(name)?;
        if files.wasm.is_none() && !super::is_default(name) {
            return Ok(None);
        }
        self.read(&canonical(name), &files).map(Some)
    }

    /// Whether a plugin has files, be they a candidate or not.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn has_files(&self, name: &str) -> Result<bool, Refusal> {
        Ok(self.named(name)? != Files::default())
    }

    /// The files of a plugin whose name is one.
    fn named(&self, name: &str) -> Result<Files, Refusal> {
        if !is_name(name) {
            return Err(misnamed(name));
        }
        let found = Snapshot::take(self.path()).map_err(|error| self.unreadable(&error))?;
        Ok(found.and_then(|mut found| found.plugins.remove(&canonical(name))).unwrap_or_default())
    }

    /// Where a plugin's file belongs: in the place of the one that is there, whichever way it is spelled.
    fn target(&self, name: &str, files: &Files, extension: &str) -> PathBuf {
        let (same, beside) =
            if extension == "wasm" { (&files.wasm, &files.json) } else { (&files.json, &files.wasm) };
        match (same, beside) {
            (Some(place), _) => place.path.clone(),
            (None, Some(place)) => place.path.with_extension(extension),
            (None, None) => self.path().join(format!("{name}.{extension}")),
        }
    }

    /// Begins a file, unseen until it is published.
    fn begin(&self) -> io::Result<NamedTempFile> {
        fs::create_dir_all(self.path())?;
        tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(self.path())
    }

    /// Gives a complete file its name.
    fn publish(&self, file: NamedTempFile, target: &Path) -> io::Result<()> {
        // As readable as a file that somebody copies there.
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(target).map_err(|error| error.error)?;
        File::open(self.path())?.sync_all()
    }

    /// Removes what uploads left that were killed long before this one.
    fn sweep(&self, new: &NamedTempFile) {
        let modified = |path: &Path| fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
        let now = modified(new.path()).unwrap_or(SystemTime::UNIX_EPOCH);
        for entry in fs::read_dir(self.path()).into_iter().flatten().flatten() {
            let unfinished = entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED));
            let age = modified(&entry.path()).ok().and_then(|then| now.duration_since(then).ok());
            if unfinished && age.is_some_and(|age| age > ABANDONED) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }
}

impl Upload {
    /// Adds the next piece.
    ///
    /// # Errors
    /// When the component becomes too large, or the disk takes no more.
    pub fn add(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        self.bytes += piece.len();
        if self.bytes > self.directory.max_bytes {
            return Err(too_large(&self.name, self.directory.max_bytes));
        }
        self.digest.add(piece);
        self.file.write_all(piece).map_err(|error| unwritable(&self.name, self.directory.path(), &error))
    }

    /// Ends the upload; compares the digest, where one was announced, before anything is done with it.
    ///
    /// # Errors
    /// When the digest is another one, or the configuration beside cannot be read.
    pub fn finish(self, announced: Option<&str>) -> Result<Received, Refusal> {
        let found = self.digest.finish();
        if let Some(announced) = announced.map(str::to_ascii_lowercase)
            && announced != found
        {
            let words = if digest::is_digest(&announced) {
                format!("SHA-256 {announced} was announced, {found} came")
            } else {
                "what was announced is no SHA-256 of 64 hexadecimal digits".to_owned()
            };
            return Err(Refusal::new(&self.name, Stage::Read, Cause::DigestMismatch, words));
        }
        let unreadable = |error| super::unreadable(&self.name, self.file.path(), &error);
        // Read where it stays: it may be large, and is never here twice.
        let mut wasm: Arc<[u8]> = std::iter::repeat_n(0, self.bytes).collect();
        let mut file = self.file.as_file();
        if let Some(wasm) = Arc::get_mut(&mut wasm) {
            file.rewind().and_then(|()| file.read_exact(wasm)).map_err(unreadable)?;
        }
        let files = self.directory.named(&self.name)?;
        let configuration = match &files.json {
            Some(place) => self.directory.read_configuration(&self.name, place)?,
            None => self.directory.default_of(&self.name).to_owned(),
        };
        let candidate = Candidate::new(&self.name, wasm, &configuration);
        Ok(Received { directory: self.directory, file: self.file, candidate })
    }
}

impl Received {
    /// What was received, with the configuration that lies in the directory.
    #[must_use]
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// Gives the component its name in the directory, in the place of the one before; says which.
    ///
    /// # Errors
    /// When it cannot be written; the one before is still there then.
    pub fn publish(self) -> Result<PathBuf, Refusal> {
        let name = &*self.candidate.name;
        let target = self.directory.target(name, &self.directory.named(name)?, "wasm");
        self.directory.own.note(&canonical(name), Deed::Wrote(self.candidate.identity()));
        match self.directory.publish(self.file, &target) {
            Ok(()) => Ok(target),
            Err(error) => Err(unwritable(name, &target, &error)),
        }
    }
}

fn unwritable(plugin: &str, path: &Path, error: &io::Error) -> Refusal {
    let cause = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Cause::ReadOnly,
        _ => Cause::Unwritable,
    };
    Refusal::new(plugin, Stage::Read, cause, format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::directory;
    use super::*;

    fn received(dir: &Path, name: &str, wasm: &[u8]) -> Received {
        let mut upload = directory(dir).upload(name).unwrap();
        wasm.chunks(3).for_each(|piece| upload.add(piece).unwrap());
        upload.finish(None).unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn an_upload_gets_its_name_when_it_is_published() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made");
        let first = received(&path, "a", b"component");
        assert_eq!((&*first.candidate().wasm, &*first.candidate().configuration), (&b"component"[..], "{}"));
        assert!(names(&path).iter().all(|name| name.starts_with('.')));
        first.publish().unwrap();
        assert_eq!(names(&path), ["a.wasm"]);
        drop(received(&path, "a", b"other"));
        assert_eq!(fs::read(path.join("a.wasm")).unwrap(), b"component");
        assert_eq!(names(&path), ["a.wasm"]);
        received(&path, "a", b"other").publish().unwrap();
        assert_eq!(fs::read(path.join("a.wasm")).unwrap(), b"other");
    }

    #[test]
    fn a_file_is_replaced_whichever_way_its_name_is_spelled() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("my_metric.wasm"), b"old").unwrap();
        received(dir.path(), "my-metric", b"new").publish().unwrap();
        directory(dir.path()).configure("my-metric", r#"{"a":1}"#).unwrap();
        assert_eq!(names(dir.path()), ["my_metric.json", "my_metric.wasm"]);
        let read = directory(dir.path()).candidate("my-metric").unwrap().unwrap();
        assert_eq!((&*read.wasm, &*read.configuration), (&b"new"[..], r#"{"a":1}"#));
        assert!(directory(dir.path()).remove("my-metric").unwrap());
        assert!(!directory(dir.path()).remove("my-metric").unwrap());
        assert_eq!(names(dir.path()), Vec::<String>::new());
        assert!(directory(dir.path()).candidate("my-metric").unwrap().is_none());
    }

    #[test]
    fn no_upload_leaves_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plugins");
        for name in ["../x", "/tmp/x", "a/b", "a\0b", "..", "", ".upload-x"] {
            assert_eq!(directory(&path).upload(name).unwrap_err().cause, Cause::FileName, "{name:?}");
            assert_eq!(directory(&path).configure(name, "{}").unwrap_err().cause, Cause::FileName);
            assert_eq!(directory(&path).remove(name).unwrap_err().cause, Cause::FileName);
        }
        assert!(!path.exists());
        // A link in the directory is replaced, not followed.
        fs::create_dir(&path).unwrap();
        fs::write(dir.path().join("outside"), b"old").unwrap();
        std::os::unix::fs::symlink("../outside", path.join("a.wasm")).unwrap();
        received(&path, "a", b"new").publish().unwrap();
        assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"old");
        assert_eq!(fs::read(path.join("a.wasm")).unwrap(), b"new");
    }

    #[test]
    fn what_is_too_large_or_not_what_was_announced_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut upload = directory(dir.path()).upload("a").unwrap();
        upload.add(&[0; 1_000]).unwrap();
        assert_eq!(upload.add(b"1").unwrap_err().cause, Cause::TooLarge);
        drop(upload);
        let announced = digest::of(b"component").to_uppercase();
        for (announced, fits) in [(announced.as_str(), true), (&digest::of(b"x"), false), ("abc", false)] {
            let mut upload = directory(dir.path()).upload("a").unwrap();
            upload.add(b"component").unwrap();
            let finished = upload.finish(Some(announced)).map(drop).map_err(|refusal| refusal.cause);
            assert_eq!(finished, if fits { Ok(()) } else { Err(Cause::DigestMismatch) });
        }
        assert_eq!(names(dir.path()), Vec::<String>::new());
        assert_eq!(directory(dir.path()).configure("a", "[1]").unwrap_err().cause, Cause::Configuration);
    }

    #[test]
    fn a_directory_that_takes_nothing_is_told_with_the_remedy() {
        for kind in [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied] {
            let refusal = unwritable("a", Path::new("/plugins"), &io::Error::from(kind));
            assert_eq!(refusal.cause, Cause::ReadOnly);
            assert!(refusal.remedy().contains("PLUGINS_DIR"), "{refusal}");
        }
        let refusal = directory(Path::new("/proc/self/fdinfo")).upload("a").unwrap_err();
        assert!(matches!(refusal.cause, Cause::ReadOnly | Cause::Unwritable), "{refusal}");
    }

    #[test]
    fn what_a_killed_upload_left_goes_after_a_day() {
        let dir = tempfile::tempdir().unwrap();
        for (name, age_hours) in [(".upload-old", 48_u64), (".upload-new", 1)] {
            let file = File::create(dir.path().join(name)).unwrap();
            let now = file.metadata().unwrap().modified().unwrap();
            file.set_modified(now - Duration::from_secs(age_hours * 3_600)).unwrap();
        }
        drop(directory(dir.path()).upload("a").unwrap());
        assert_eq!(names(dir.path()), [".upload-new"]);
    }
}
