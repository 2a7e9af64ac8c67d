//! A change of one plugin on its way through the shards: a new cell beside the running one, in step with it,
//! shown in its place, and kept or taken back.
//!
//! Whoever conducts the change sets a [`Goal`]; each shard goes towards it on its own, between two batches,
//! and reports its [`Stage`]. So a shard that is opened meanwhile joins in. Not for deciding what is tried,
//! nor for how long. Invariant: goals only rise, and a shard that has failed goes back by itself, unless the trial was
//! sealed before: either all shards that show the new cell go back, or none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::comparison::Comparison;
use crate::plugin::catalog::Running;
use crate::plugin::{Instance, PluginError, same_name};

/// Where the shards are to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Goal {
    /// A hidden cell of the new plugin is in step with the running one.
    Prepare = 0,
    /// The new cell is shown; the former one stays, hidden and in step.
    Show = 1,
    /// The new cell is saved, and the former one is gone.
    Accept = 2,
    /// The new cell is gone; the former one is shown.
    Abandon = 3,
}

/// Where a shard stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The new cell is being made.
    Preparing,
    /// The new cell takes every batch, hidden.
    InStep,
    /// The new cell is shown.
    Shown,
    /// The new cell has taken over for good.
    Accepted,
    /// The new cell is gone.
    Abandoned,
}

/// How the new plugin comes by its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From the running cell of the same plugin.
    Carried,
    /// From the source: what a cell reads that starts with nothing.
    Backfill,
}

/// A change on its way.
pub struct Trial {
    /// What is tried.
    pub running: Running,
    /// Where its state comes from.
    pub origin: Origin,
    /// Whether its rows are compared with those of the running plugin.
    pub compares: bool,
    goal: AtomicU8,
    reports: Mutex<Reports>,
    changed: Condvar,
    /// Instances that were made ahead, off the workers.
    instances: Mutex<Vec<Box<dyn Instance>>>,
}

/// What the shards have reported.
#[derive(Default)]
pub struct Reports {
    /// Where each shard stands.
    pub stages: BTreeMap<u32, Stage>,
    /// No shard that shows its new cell goes back by itself any more.
    sealed: bool,
    /// The first failure.
    pub failure: Option<PluginError>,
    /// What comparing has come to.
    pub comparison: Comparison,
    /// Some shard reads the horizon instead of carrying state, which takes as long as it takes.
    pub reads_horizon: bool,
    /// How many bytes of state were carried.
    pub carried_bytes: u64,
    /// The longest time between two batches of a shard, milliseconds.
    pub longest_pause_ms: u64,
    /// The longest of those in which a shard changed over to the new cell.
    pub switch_pause_ms: u64,
}

impl Trial {
    /// Begins at [`Goal::Prepare`], with instances that were made ahead.
    pub fn new(running: Running, origin: Origin, compares: bool, instances: Vec<Box<dyn Instance>>) -> Self {
        Self {
            running,
            origin,
            compares,
            goal: AtomicU8::new(Goal::Prepare as u8),
            reports: Mutex::default(),
            changed: Condvar::new(),
            instances: Mutex::new(instances),
        }
    }

    /// Where the shards are to go.
    pub fn goal(&self) -> Goal {
        match self.goal.load(Ordering::Acquire) {
            0 => Goal::Prepare,
            1 => Goal::Show,
            2 => Goal::Accept,
            _ => Goal::Abandon,
        }
    }

    /// Sets a further goal; the workers must be woken.
    pub fn set_goal(&self, goal: Goal) {
        self.goal.fetch_max(goal as u8, Ordering::AcqRel);
    }

    fn lock(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what was reported.
    pub fn reports<R>(&self, read: impl FnOnce(&Reports) -> R) -> R {
        read(&self.lock())
    }

    /// Waits until what was reported satisfies somebody, or for so long; says whether it does.
    pub fn wait(&self, longest: Duration, satisfied: impl Fn(&Reports) -> bool) -> bool {
        let until = Instant::now() + longest;
        let mut reports = self.lock();
        while !satisfied(&reports) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(reports, left);
            reports = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Reports where a shard stands.
    pub(super) fn report(&self, shard: u32, stage: Stage) {
        self.change(|reports| {
            reports.stages.insert(shard, stage);
        });
    }

    /// Reports that a shard has failed; says whether the trial has failed by that.
    pub(super) fn fail(&self, shard: u32, error: PluginError) -> bool {
        let mut reports = self.lock();
        if reports.sealed {
            return false;
        }
        tracing::warn!(shard, plugin = self.running.name(), stage = %error.stage, reason = %error.reason, "New version failed");
        reports.failure.get_or_insert(error);
        self.changed.notify_all();
        true
    }

    /// From now on a failure is one of the plugin that runs; says whether there was none before.
    pub fn seal(&self) -> bool {
        let mut reports = self.lock();
        reports.sealed = reports.failure.is_none();
        reports.sealed
    }

    /// From now on a failure is one of the trial again, also one that has happened meanwhile.
    pub fn unseal(&self) {
        self.lock().sealed = false;
    }

    /// Changes what is reported.
    pub(super) fn change(&self, change: impl FnOnce(&mut Reports)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Forgets a shard that this process no longer owns.
    pub(super) fn drop_shard(&self, shard: u32) {
        self.change(|reports| {
            reports.stages.remove(&shard);
        });
    }

    /// An instance for a new cell.
    pub(super) fn instance(&self) -> Result<Box<dyn Instance>, PluginError> {
        let ready = self.instances.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match ready {
            Some(instance) => Ok(instance),
            None => Ok(self.running.plugin.instantiate(&self.running.configuration)?.0),
        }
    }
}

/// What changes: the plugins that run, and what is tried.
#[derive(Default)]
pub struct Changes {
    version: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default, Clone)]
struct Inner {
    running: Vec<Running>,
    trials: Vec<Arc<Trial>>,
    /// Plugins that are to go.
    leaving: BTreeSet<String>,
}

impl Inner {
    fn all(&self) -> impl Iterator<Item = &Running> {
        self.running.iter().chain(self.trials.iter().map(|trial| &trial.running))
    }
}

impl Changes {
    /// Nothing is tried; these plugins run.
    pub(super) fn new(running: Vec<Running>) -> Self {
        Self { version: AtomicU64::new(1), inner: Mutex::new(Inner { running, ..Inner::default() }) }
    }

    fn with<R>(&self, act: impl FnOnce(&mut Inner) -> R) -> R {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        self.with(change);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Rises with every change.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The plugins that run; shards that are opened begin with these.
    pub fn running(&self) -> Vec<Running> {
        self.with(|inner| inner.running.clone())
    }

    /// The plugins whose results are shown, or about to be: those that run, but for what a trial shows in their place.
    pub fn shown(&self) -> Vec<Running> {
        self.with(|inner| {
            let mut shown = inner.running.clone();
            let shows = |trial: &&Arc<Trial>| matches!(trial.goal(), Goal::Show | Goal::Accept);
            for trial in inner.trials.iter().filter(shows) {
                put(&mut shown, trial.running.clone());
            }
            shown
        })
    }

    /// What is tried.
    pub(super) fn trials(&self) -> Vec<Arc<Trial>> {
        self.with(|inner| inner.trials.clone())
    }

    /// The plugins that run, and those that are tried.
    pub fn all(&self) -> Vec<Running> {
        self.with(|inner| inner.all().cloned().collect())
    }

    /// Whether a plugin of this name runs or is tried.
    pub fn has(&self, name: &str) -> bool {
        self.with(|inner| inner.all().any(|running| running.name() == name))
    }

    /// Plugins that are to go.
    pub(super) fn leaving(&self) -> BTreeSet<String> {
        self.with(|inner| inner.leaving.clone())
    }

    /// Begins a trial.
    pub(super) fn begin(&self, trial: Arc<Trial>) {
        self.change(|inner| {
            inner.leaving.remove(trial.running.name());
            inner.trials.push(trial);
        });
    }

    /// Ends a trial; what it tried runs from now on where it was accepted.
    pub(super) fn end(&self, trial: &Arc<Trial>, accepted: bool) {
        self.change(|inner| {
            inner.trials.retain(|known| !Arc::ptr_eq(known, trial));
            if accepted {
                put(&mut inner.running, trial.running.clone());
            }
        });
    }

    /// Has another version of a plugin run, before any shard is open.
    pub fn replace(&self, new: Running) {
        self.change(|inner| put(&mut inner.running, new));
    }

    /// Has a plugin go.
    pub(super) fn leave(&self, name: &str) {
        self.change(|inner| {
            inner.running.retain(|running| running.name() != name);
            inner.leaving.insert(name.to_owned());
        });
    }
}

/// Puts a plugin in the place of the one of its name, or behind all others.
fn put(plugins: &mut Vec<Running>, new: Running) {
    match plugins.iter_mut().find(|running| same_name(running.name(), new.name())) {
        Some(running) => *running = new,
        None => plugins.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_only_rise() {
        let running = super::super::tests::running();
        let trial = Trial::new(running, Origin::Carried, false, Vec::new());
        assert_eq!(trial.goal(), Goal::Prepare);
        trial.set_goal(Goal::Abandon);
        trial.set_goal(Goal::Show);
        assert_eq!(trial.goal(), Goal::Abandon);
    }

    #[test]
    fn a_trial_either_fails_or_is_sealed() {
        let new = || Trial::new(super::super::tests::running(), Origin::Carried, false, Vec::new());
        let fault = || PluginError::new("p", crate::plugin::Stage::Process, "late");
        let trial = new();
        assert!(trial.fail(0, fault()));
        assert!(!trial.seal());
        let trial = new();
        assert!(trial.seal());
        assert!(!trial.fail(0, fault()));
        assert!(trial.reports(|reports| reports.failure.is_none()));
        trial.unseal();
        assert!(trial.fail(0, fault()));
    }

    #[test]
    fn what_a_trial_shows_is_shown_until_it_is_taken_back() {
        use super::super::tests::version;
        let digests = |changes: &Changes| -> Vec<String> {
            changes.shown().iter().map(|running| running.digest.to_string()).collect()
        };
        let (former, latter, added) = ("aa", "bb", "cc");
        let changes = Changes::new(vec![version("a", former)]);
        let begin = |running| {
            let trial = Arc::new(Trial::new(running, Origin::Carried, false, Vec::new()));
            changes.begin(Arc::clone(&trial));
            trial
        };
        let (swap, addition) = (begin(version("a", latter)), begin(version("b", added)));
        assert_eq!(digests(&changes), [former]);
        swap.set_goal(Goal::Show);
        addition.set_goal(Goal::Show);
        assert_eq!(digests(&changes), [latter, added]);
        swap.set_goal(Goal::Abandon);
        addition.set_goal(Goal::Accept);
        assert_eq!(digests(&changes), [former, added]);
        changes.end(&swap, false);
        changes.end(&addition, true);
        assert_eq!(digests(&changes), [former, added]);
    }

    #[test]
    fn who_waits_hears_the_first_failure_and_every_stage() {
        let running = super::super::tests::running();
        let trial = Arc::new(Trial::new(running, Origin::Carried, false, Vec::new()));
        let reporter = Arc::clone(&trial);
        let thread = std::thread::spawn(move || {
            reporter.report(3, Stage::InStep);
            for words in ["first", "second"] {
                reporter.fail(3, PluginError::new("p", crate::plugin::Stage::Process, words));
            }
        });
        assert!(trial.wait(Duration::from_secs(10), |reports| reports.failure.is_some()));
        thread.join().unwrap();
        trial.reports(|reports| {
            assert_eq!(reports.stages[&3], Stage::InStep);
            assert!(reports.failure.as_ref().is_some_and(|failure| failure.reason == "first"));
        });
        assert!(!trial.wait(Duration::from_millis(1), |reports| reports.stages.len() > 1));
    }
}
