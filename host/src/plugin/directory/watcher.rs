//! Watches the directory and tells what changes, in candidates.
//!
//! The system's notices of changes only say when to look; a look every other second finds what they do not
//! tell: directories that did not exist, network file systems, targets of links. What a look finds is
//! judged by [`super::tracker`]. Invariant: one thread, which ends when its [`Watcher`] does; whoever does
//! not take changes holds up nothing but this thread.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError};
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::super::candidate::{Candidate, canonical};
use super::super::component;
use super::super::refusal::Refusal;
use super::files::{Files, Place, Snapshot};
use super::own::Deed;
use super::tracker::{Due, Settled, Tracker};
use super::{Directory, misnamed};
use crate::threads::joined;

/// How often the directory is looked at without a notice.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Notices that come within this time are one.
const BURST: Duration = Duration::from_millis(10);
/// How often a change that nobody takes is looked at again.
const OFFER_EVERY: Duration = Duration::from_millis(100);
/// How many changes wait. A component may be large, and what is newer is not read before.
const WAITING: usize = 1;

/// What changed in the directory.
#[derive(Debug)]
pub enum Change {
    /// These files are to run.
    Candidate(Candidate),
    /// These files can be no candidate.
    Refused(Refusal),
    /// The component of the plugin with this name is gone.
    Gone(String),
}

/// Watches until it is dropped.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    wake: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts to watch. `known` is what runs already, identities by name: it is no change.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        directory: Directory,
        known: impl IntoIterator<Item = (String, String)>,
    ) -> io::Result<(Self, Receiver<Change>)> {
        let (changes, taken) = crossbeam_channel::bounded(WAITING);
        let (wake, woken) = crossbeam_channel::bounded(1);
        let stop = Arc::new(AtomicBool::new(false));
        let look = Look {
            directory,
            tracker: Tracker::new(known.into_iter().map(|(name, identity)| (canonical(&name), identity))),
            notices: Notices::new(wake.clone()),
            reported: BTreeSet::new(),
            trouble: None,
            changes,
            stop: Arc::clone(&stop),
        };
        let thread =
            thread::Builder::new().name("plugin-watcher".to_owned()).spawn(move || look.run(&woken))?;
        Ok((Self { stop, wake, thread: Some(thread) }, taken))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        nudge(&self.wake);
        self.thread.take().map(joined);
    }
}

/// The thread's own.
struct Look {
    directory: Directory,
    tracker: Tracker,
    notices: Notices,
    /// Misnamed files that were told.
    reported: BTreeSet<String>,
    /// Why the directory cannot be listed, as last told.
    trouble: Option<String>,
    changes: Sender<Change>,
    stop: Arc<AtomicBool>,
}

impl Look {
    fn run(mut self, woken: &Receiver<()>) {
        while !self.stop.load(Ordering::Relaxed) {
            self.notices.follow(&self.directory);
            self.look();
            let now = Instant::now();
            let due = self.tracker.next().map_or(LOOK_EVERY, |at| at.saturating_duration_since(now));
            if woken.recv_timeout(due.min(LOOK_EVERY)).is_ok() {
                thread::sleep(BURST);
            }
        }
    }

    fn look(&mut self) {
        match Snapshot::take(self.directory.path()) {
            Ok(Some(snapshot)) => {
                self.trouble = None;
                self.tell_misnamed(&snapshot.misnamed);
                self.tracker.see(Instant::now(), snapshot);
            }
            Ok(None) => self.tracker.see_nothing(),
            Err(error) => {
                let words = error.to_string();
                if self.trouble.as_ref() != Some(&words) {
                    let dir = self.directory.path().display();
                    tracing::warn!(dir = %dir, error = %words, "Plugins directory cannot be listed");
                    self.trouble = Some(words);
                }
                self.tracker.see_nothing();
            }
        }
        for (name, due) in self.tracker.due(Instant::now()) {
            match due {
                Due::Read(files, last) => self.read(&name, &files, last),
                Due::Gone => {
                    self.tracker.gone(&name);
                    if !self.directory.own.accounts_for(&name, &Deed::Removed) {
                        self.tell(Change::Gone(name));
                    }
                }
            }
        }
    }

    fn read(&mut self, name: &str, files: &Files, last: bool) {
        let read = self.directory.read(name, files);
        let now = Instant::now();
        let settled = match &read {
            _ if !is_as_seen(files) => Settled::Changed,
            Ok(candidate) if !last && component::check_version(&candidate.wasm).is_err() => {
                Settled::Unfinished
            }
            Ok(candidate) => Settled::As(candidate.identity()),
            Err(refusal) => Settled::Refused(refusal.reason.clone()),
        };
        let deed = match &settled {
            Settled::As(identity) => Some(Deed::Wrote(identity.clone())),
            _ => None,
        };
        // The same files again, after the plugin was taken away with them, are a wish.
        let is_back = deed.is_some() && self.directory.own.has_removed(name);
        if self.tracker.settle(now, name, settled) || is_back {
            if deed.is_some_and(|deed| self.directory.own.accounts_for(name, &deed)) {
                return;
            }
            self.tell(match read {
                Ok(candidate) => Change::Candidate(candidate),
                Err(refusal) => Change::Refused(refusal),
            });
        }
    }

    fn tell_misnamed(&mut self, names: &[String]) {
        self.reported.retain(|reported| names.contains(reported));
        for name in names {
            if self.reported.insert(name.clone()) {
                self.tell(Change::Refused(misnamed(name)));
            }
        }
    }

    /// Waits until the change is taken, or nobody will.
    fn tell(&self, change: Change) {
        let mut change = change;
        while !self.stop.load(Ordering::Relaxed) {
            match self.changes.send_timeout(change, OFFER_EVERY) {
                Err(SendTimeoutError::Timeout(back)) => change = back,
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
            }
        }
    }
}

/// Wakes the thread.
fn nudge(wake: &Sender<()>) {
    match wake.try_send(()) {
        // Full: it wakes up anyway. Disconnected: it has ended.
        Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
    }
}

/// Whether files are still in the state in which they were seen.
fn is_as_seen(files: &Files) -> bool {
    let mut places = files.wasm.iter().chain(&files.json);
    places.all(Place::is_as_seen)
}

/// The system's notices, where it gives any.
struct Notices {
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of the directory that is watched.
    watched: Option<(u64, u64)>,
}

impl Notices {
    fn new(wake: Sender<()>) -> Self {
        let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own looking at files is told, too.
            let tells = match event.map(|event| event.kind) {
                Ok(EventKind::Access(kind)) => kind == AccessKind::Close(AccessMode::Write),
                Ok(_) | Err(_) => true,
            };
            if tells {
                nudge(&wake);
            }
        });
        let watcher = match made {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, every = ?LOOK_EVERY, "No notices of changed plugins, looking regularly");
                None
            }
        };
        Self { watcher, watched: None }
    }

    /// Watches the directory that is there now, which may not be the one that was there before.
    fn follow(&mut self, directory: &Directory) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let found = fs::metadata(directory.path()).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        if found == self.watched {
            return;
        }
        if self.watched.take().is_some() {
            // The one that was watched may be gone, and the watch with it.
            drop(watcher.unwatch(directory.path()));
        }
        if found.is_some() && watcher.watch(directory.path(), RecursiveMode::NonRecursive).is_ok() {
            self.watched = found;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tests::directory;
    use super::*;
    use crate::plugin::catalog::DEFAULT_COMPONENT;
    use crate::plugin::refusal::Cause;

    const LIMIT: Duration = Duration::from_secs(20);

    fn watch(path: &Path) -> (Watcher, Receiver<Change>) {
        let directory = Directory { max_bytes: 8 << 20, ..directory(path) };
        Watcher::start(directory, []).unwrap()
    }

    fn candidate(changes: &Receiver<Change>) -> Candidate {
        match changes.recv_timeout(LIMIT) {
            Ok(Change::Candidate(candidate)) => candidate,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_copied_component_is_told_within_a_moment() {
        let dir = tempfile::tempdir().unwrap();
        let (_watcher, changes) = watch(dir.path());
        let path = dir.path().join("a.wasm");
        let began = Instant::now();
        fs::write(&path, DEFAULT_COMPONENT).unwrap();
        let told = candidate(&changes);
        assert_eq!((&*told.name, &*told.configuration), ("a", "{}"));
        assert!(began.elapsed() < LOOK_EVERY, "{:?}", began.elapsed());
        // The same bytes again are no change; other ones are.
        fs::write(&path, DEFAULT_COMPONENT).unwrap();
        fs::write(dir.path().join("a.json"), r#"{"a":2}"#).unwrap();
        assert_eq!(&*candidate(&changes).configuration, r#"{"a":2}"#);
    }

    #[test]
    fn a_component_that_is_put_back_after_its_removal_here_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let here = Directory { max_bytes: 8 << 20, ..directory(dir.path()) };
        let (_watcher, changes) = Watcher::start(here.clone(), []).unwrap();
        fs::write(dir.path().join("a.wasm"), DEFAULT_COMPONENT).unwrap();
        let first = candidate(&changes);
        assert!(here.remove("a").unwrap());
        fs::write(dir.path().join("a.wasm"), DEFAULT_COMPONENT).unwrap();
        assert_eq!(candidate(&changes).identity(), first.identity());
    }

    #[test]
    fn a_directory_that_is_made_later_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later");
        let (_watcher, changes) = watch(&path);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("a.wasm"), DEFAULT_COMPONENT).unwrap();
        assert_eq!(&*candidate(&changes).name, "a");
    }

    #[test]
    fn a_component_that_is_written_slowly_is_told_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (_watcher, changes) = watch(dir.path());
        let (head, tail) = DEFAULT_COMPONENT.split_at(DEFAULT_COMPONENT.len() / 2);
        let path = dir.path().join("a.wasm");
        fs::write(&path, head).unwrap();
        // Longer than the debounce, so that the half file is at rest.
        assert!(changes.recv_timeout(Duration::from_millis(500)).is_err());
        let mut whole = head.to_vec();
        whole.extend_from_slice(tail);
        fs::write(&path, whole).unwrap();
        assert_eq!(*candidate(&changes).wasm, *DEFAULT_COMPONENT);
    }

    #[test]
    fn a_component_that_stays_cut_is_told_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (_watcher, changes) = watch(dir.path());
        fs::write(dir.path().join("a.wasm"), &DEFAULT_COMPONENT[..1_000]).unwrap();
        assert_eq!(candidate(&changes).wasm.len(), 1_000);
        fs::write(dir.path().join("B.wasm"), b"x").unwrap();
        match changes.recv_timeout(LIMIT) {
            Ok(Change::Refused(refusal)) => assert_eq!(refusal.cause, Cause::FileName),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_watcher_whose_changes_nobody_takes_ends_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (watcher, changes) = watch(dir.path());
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join(name).with_extension("wasm"), DEFAULT_COMPONENT).unwrap();
        }
        assert!(changes.recv_timeout(LIMIT).is_ok());
        drop(watcher);
        // What waits can still be taken, and then there is nothing more.
        assert!(changes.iter().count() <= WAITING);
    }
}
