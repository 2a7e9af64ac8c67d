//! When a change in the directory is one: a file at rest is read, a file that stays away is gone.
//!
//! Pure: it is told the time and what lies in the directory, and says what to read. Whether a file that
//! was read differs from what is known, its content decides. Invariant: nothing is given out that changed
//! within the last debounce, and nothing twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::files::{Files, Snapshot};
use super::is_default;

/// A file that has not changed for so long is read.
pub(super) const DEBOUNCE: Duration = Duration::from_millis(100);
/// A file that looks unfinished is judged only when it has not changed for so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// A component that has been away for so long is gone.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(5);

/// What to do about a plugin now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Its files are at rest: read them. The flag: whether to judge them although they look unfinished.
    Read(Files, bool),
    /// Its component is gone.
    Gone,
}

/// What becomes of files that were read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// They are a candidate with this identity.
    As(String),
    /// They can be no candidate, for this reason.
    Refused(String),
    /// They look unfinished.
    Unfinished,
    /// They changed while they were read.
    Changed,
}

/// All plugins that were seen.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    plugins: BTreeMap<String, Plugin>,
}

#[derive(Debug, Default)]
struct Plugin {
    /// None until the directory was looked at.
    seen: Option<Seen>,
    /// What was given out last; none where nothing was, or it is gone.
    known: Option<String>,
    /// Why it was refused last, if it was.
    refused: Option<String>,
}

/// The files of a plugin as they are.
#[derive(Debug)]
struct Seen {
    files: Files,
    /// Since when they are.
    since: Instant,
    /// Since when there is no component.
    away_since: Option<Instant>,
    /// How long they must rest.
    rest: Duration,
    /// Whether they have been judged.
    settled: bool,
}

impl Tracker {
    /// Begins with what runs already: identities by name.
    pub(super) fn new(known: impl IntoIterator<Item = (String, String)>) -> Self {
        let begin = |(name, identity)| (name, Plugin { known: Some(identity), ..Plugin::default() });
        Self { plugins: known.into_iter().map(begin).collect() }
    }

    /// Takes in what lies in the directory.
    pub(super) fn see(&mut self, now: Instant, mut snapshot: Snapshot) {
        for (name, plugin) in &mut self.plugins {
            plugin.see(now, snapshot.plugins.remove(name).unwrap_or_default());
        }
        for (name, files) in snapshot.plugins {
            self.plugins.entry(name).or_default().see(now, files);
        }
        self.plugins.retain(|_, plugin| plugin.matters());
    }

    /// Takes in that there is no directory to look at: that says nothing of what lay in it.
    pub(super) fn see_nothing(&mut self) {
        for plugin in self.plugins.values_mut() {
            plugin.seen.take_if(|seen| seen.away_since.is_some() && !seen.settled);
        }
    }

    /// What is to be done by now.
    pub(super) fn due(&self, now: Instant) -> Vec<(String, Due)> {
        let due = |(name, plugin): (&String, &Plugin)| {
            let at = plugin.due_at(name)?;
            (at <= now).then(|| Some((name.clone(), plugin.due(name)?))).flatten()
        };
        self.plugins.iter().filter_map(due).collect()
    }

    /// When something will have to be done if nothing changes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.plugins.iter().filter_map(|(name, plugin)| plugin.due_at(name)).min()
    }

    /// Notes what became of files that were read; gives whether that is news.
    pub(super) fn settle(&mut self, now: Instant, name: &str, settled: Settled) -> bool {
        let Some(plugin) = self.plugins.get_mut(name) else {
            return false;
        };
        let Some(seen) = plugin.seen.as_mut() else {
            return false;
        };
        seen.settled = matches!(settled, Settled::As(_) | Settled::Refused(_));
        match settled {
            Settled::As(identity) => {
                plugin.refused = None;
                plugin.known.replace(identity) != plugin.known
            }
            Settled::Refused(reason) => plugin.refused.replace(reason) != plugin.refused,
            Settled::Unfinished => {
                seen.rest = PATIENCE;
                false
            }
            Settled::Changed => {
                seen.since = now;
                false
            }
        }
    }

    /// Notes that a plugin was given out as gone.
    pub(super) fn gone(&mut self, name: &str) {
        if let Some(plugin) = self.plugins.get_mut(name) {
            plugin.known = None;
            plugin.refused = None;
        }
        self.plugins.retain(|_, plugin| plugin.matters());
    }
}

impl Plugin {
    fn see(&mut self, now: Instant, files: Files) {
        if self.seen.as_ref().is_some_and(|seen| seen.files == files) {
            return;
        }
        let before = self.seen.as_ref().and_then(|seen| seen.away_since);
        let away_since = files.wasm.is_none().then_some(before.unwrap_or(now));
        self.seen = Some(Seen { files, since: now, away_since, rest: DEBOUNCE, settled: false });
    }

    fn due_at(&self, name: &str) -> Option<Instant> {
        let seen = self.seen.as_ref().filter(|seen| !seen.settled)?;
        let rested = seen.since + seen.rest;
        match seen.away_since {
            None => Some(rested),
            Some(since) if is_default(name) || self.known.is_some() => Some(rested.max(since + GONE_AFTER)),
            // A configuration without a component.
            Some(_) => None,
        }
    }

    fn due(&self, name: &str) -> Option<Due> {
        let seen = self.seen.as_ref()?;
        if seen.files.wasm.is_some() || is_default(name) {
            Some(Due::Read(seen.files.clone(), seen.rest == PATIENCE))
        } else {
            Some(Due::Gone)
        }
    }

    /// Whether anything can still come of it.
    fn matters(&self) -> bool {
        self.known.is_some() || self.seen.as_ref().is_some_and(|seen| seen.files != Files::default())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A directory, a tracker, and a clock that only the test moves.
    struct Stand {
        dir: tempfile::TempDir,
        tracker: Tracker,
        now: Instant,
    }

    impl Stand {
        fn new(known: &[(&str, &str)]) -> Self {
            let known = known.iter().map(|&(name, identity)| (name.to_owned(), identity.to_owned()));
            let tracker = Tracker::new(known);
            let mut stand = Self { dir: tempfile::tempdir().unwrap(), tracker, now: Instant::now() };
            stand.after(Duration::ZERO);
            stand
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.dir.path().join(name)
        }

        fn put(&mut self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        /// Lets time pass, looks, and says what is due.
        fn after(&mut self, time: Duration) -> Vec<(String, &'static str)> {
            self.now += time;
            match Snapshot::take(self.dir.path()).unwrap() {
                Some(snapshot) => self.tracker.see(self.now, snapshot),
                None => self.tracker.see_nothing(),
            }
            let word = |due| match due {
                Due::Read(_, false) => "read",
                Due::Read(_, true) => "read the last time",
                Due::Gone => "gone",
            };
            self.tracker.due(self.now).into_iter().map(|(name, due)| (name, word(due))).collect()
        }

        fn settle(&mut self, name: &str, settled: Settled) -> bool {
            self.tracker.settle(self.now, name, settled)
        }
    }

    fn as_(identity: &str) -> Settled {
        Settled::As(identity.to_owned())
    }

    fn due(name: &str, word: &'static str) -> Vec<(String, &'static str)> {
        vec![(name.to_owned(), word)]
    }

    #[test]
    fn a_file_is_read_when_it_has_rested_and_only_once() {
        let mut stand = Stand::new(&[]);
        stand.put("a.wasm", "1");
        assert_eq!(stand.after(MS), []);
        assert_eq!(stand.tracker.next(), Some(stand.now + DEBOUNCE));
        stand.put("a.wasm", "12");
        assert_eq!(stand.after(DEBOUNCE), []);
        assert_eq!(stand.after(DEBOUNCE - MS), []);
        assert_eq!(stand.after(MS), due("a", "read"));
        assert!(stand.settle("a", as_("12")));
        assert_eq!(stand.after(DEBOUNCE), []);
        assert_eq!(stand.tracker.next(), None);
        // Written again with the same content: read, and no news.
        stand.put("a.wasm", "12");
        stand.after(MS);
        assert_eq!(stand.after(DEBOUNCE), due("a", "read"));
        assert!(!stand.settle("a", as_("12")));
    }

    #[test]
    fn a_component_and_its_configuration_are_one_change() {
        let mut stand = Stand::new(&[]);
        stand.put("a.wasm", "1");
        stand.after(DEBOUNCE / 2);
        stand.put("a.json", "{}");
        assert_eq!(stand.after(DEBOUNCE / 2), []);
        assert_eq!(stand.after(DEBOUNCE), due("a", "read"));
        assert!(stand.settle("a", as_("1{}")));
        stand.put("a.json", "{\"a\":1}");
        stand.after(MS);
        assert_eq!(stand.after(DEBOUNCE), due("a", "read"));
        // A configuration alone is nothing.
        stand.put("b.json", "{}");
        stand.settle("a", as_("1{a}"));
        assert_eq!(stand.after(GONE_AFTER * 2), []);
    }

    #[test]
    fn a_file_that_looks_unfinished_is_waited_for() {
        let mut stand = Stand::new(&[]);
        stand.put("a.wasm", "1");
        stand.after(MS);
        assert_eq!(stand.after(DEBOUNCE), due("a", "read"));
        assert!(!stand.settle("a", Settled::Unfinished));
        assert_eq!(stand.after(DEBOUNCE), []);
        stand.put("a.wasm", "12");
        stand.after(MS);
        assert_eq!(stand.after(DEBOUNCE), due("a", "read"));
        stand.settle("a", Settled::Unfinished);
        assert_eq!(stand.after(PATIENCE), due("a", "read the last time"));
        assert!(stand.settle("a", Settled::Refused("cut".to_owned())));
        stand.put("a.wasm", "13");
        stand.after(MS);
        stand.after(DEBOUNCE);
        assert!(!stand.settle("a", Settled::Refused("cut".to_owned())), "the same refusal is no news");
    }

    #[test]
    fn a_component_is_gone_when_it_stays_away() {
        let mut stand = Stand::new(&[("a", "1")]);
        assert_eq!(stand.after(GONE_AFTER - MS), []);
        assert_eq!(stand.after(MS), due("a", "gone"));
        stand.tracker.gone("a");
        assert_eq!(stand.after(GONE_AFTER), []);
        // Deleted and made anew within the time: one change.
        stand.put("a.wasm", "1");
        stand.after(MS);
        stand.after(DEBOUNCE);
        stand.settle("a", as_("1"));
        fs::remove_file(stand.path("a.wasm")).unwrap();
        assert_eq!(stand.after(GONE_AFTER - MS), []);
        assert_eq!(stand.after(GONE_AFTER - MS), []);
        stand.put("a.wasm", "2");
        assert_eq!(stand.after(MS), []);
        assert_eq!(stand.after(DEBOUNCE), due("a", "read"));
        assert!(stand.settle("a", as_("2")));
    }

    #[test]
    fn the_default_plugin_goes_back_to_the_built_in_component() {
        let mut stand = Stand::new(&[("sliding-window", "file")]);
        stand.put("sliding_window.wasm", "1");
        stand.after(MS);
        stand.after(DEBOUNCE);
        stand.settle("sliding-window", as_("file"));
        fs::remove_file(stand.path("sliding_window.wasm")).unwrap();
        assert_eq!(stand.after(GONE_AFTER - MS), []);
        assert_eq!(stand.after(GONE_AFTER), due("sliding-window", "read"));
        assert!(stand.settle("sliding-window", as_("built in")));
        // Its configuration is then taken as fast as any.
        stand.put("sliding-window.json", "{}");
        stand.after(MS);
        assert_eq!(stand.after(DEBOUNCE), due("sliding-window", "read"));
    }

    #[test]
    fn a_directory_that_is_away_says_nothing() {
        let mut stand = Stand::new(&[("a", "1")]);
        let (here, away) = (stand.dir.path().to_owned(), stand.dir.path().with_extension("away"));
        fs::remove_dir(&here).unwrap();
        assert_eq!(stand.after(GONE_AFTER * 2), []);
        fs::create_dir(&here).unwrap();
        stand.put("a.wasm", "1");
        stand.after(MS);
        stand.after(DEBOUNCE);
        assert!(!stand.settle("a", as_("1")));
        fs::rename(&here, &away).unwrap();
        assert_eq!(stand.after(GONE_AFTER * 2), []);
        fs::rename(&away, &here).unwrap();
        assert_eq!(stand.after(GONE_AFTER * 2), []);
    }

    #[test]
    fn the_switch_of_a_mounted_volume_is_one_change() {
        let mut stand = Stand::new(&[]);
        let version = |stand: &Stand, name: &str, text: &str| {
            fs::create_dir(stand.path(name)).unwrap();
            fs::write(stand.path(name).join("a.wasm"), text).unwrap();
            std::os::unix::fs::symlink(name, stand.path("..data_tmp")).unwrap();
            fs::rename(stand.path("..data_tmp"), stand.path("..data")).unwrap();
        };
        version(&stand, "..2026_1", "1");
        std::os::unix::fs::symlink(Path::new("..data/a.wasm"), stand.path("a.wasm")).unwrap();
        stand.after(MS);
        assert_eq!(stand.after(DEBOUNCE), due("a", "read"));
        stand.settle("a", as_("1"));
        version(&stand, "..2026_2", "2");
        assert_eq!(stand.after(MS), []);
        fs::remove_dir_all(stand.path("..2026_1")).unwrap();
        assert_eq!(stand.after(DEBOUNCE), due("a", "read"));
        assert!(stand.settle("a", as_("2")));
    }
}
