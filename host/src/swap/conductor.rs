//! The conductor's thread: takes orders and file changes, and leads each plugin's change through its phases.
//!
//! Not for what a phase does; that is the shards' business. Invariant: no worker ever waits for this thread. It waits
//! itself for the store's records (as long as a call to the store may take), for instances that it makes, and for the
//! workers to have taken what was parked; whether a phase is over it looks at with each tick.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tokio::sync::oneshot;

use super::change::{Change, Ended, Phase};
use super::leading::abandon;
use super::records::Records;
use super::status::{self, Kind, PluginStatus, Swap};
use super::verdicts::Verdicts;
use super::{Answer, Asked, Order, OrderError, Parts, PluginBoard, Told};
use crate::pipeline::Intake;
use crate::plugin::catalog::{Running, result_keys};
use crate::plugin::directory::{Change as FileChange, Watcher};
use crate::plugin::workshop::Workshop;
use crate::plugin::{Candidate, canonical};

/// How often a change under way is looked at.
const TICK: Duration = Duration::from_millis(5);
/// The same while nothing can be waited for but the end of a probation, a failure, or the store.
const SLOW_TICK: Duration = Duration::from_millis(50);
/// The same while there is no change.
const REST: Duration = Duration::from_millis(500);
/// How many names are remembered, and counted, of which no plugin ever ran.
pub(super) const MOST_STRANGERS: usize = 100;

/// What is kept of a plugin.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) current: Option<(Candidate, Running)>,
    pub(super) previous: Option<Candidate>,
    /// Which versions start nothing by their file alone.
    pub(super) verdicts: Verdicts,
    /// Another version is tried, so that the store has to say what a restart runs.
    pub(super) needs_record: bool,
    /// The store did not take the record, and is left alone until then.
    pub(super) store_rests_until: Option<Instant>,
    pub(super) change: Option<Change>,
    /// What begins when the change has ended.
    pub(super) next: Option<Next>,
    pub(super) history: VecDeque<Swap>,
    /// It goes as soon as no change is under way.
    pub(super) leaving: Option<oneshot::Sender<Answer>>,
    pub(super) leaves: bool,
}

/// A candidate that waits for its turn.
pub(super) struct Next {
    pub(super) candidate: Candidate,
    pub(super) kind: Kind,
    pub(super) answer: Option<oneshot::Sender<Answer>>,
    /// Its own, where it is not the usual one.
    pub(super) probation: Option<Duration>,
}

/// The state of the thread.
pub(super) struct Work {
    pub(super) intake: Intake,
    pub(super) workshop: Workshop,
    pub(super) records: Records,
    pub(super) probation: Duration,
    pub(super) memory_limit: Option<u64>,
    /// Kept so that it watches; its changes come through the receiver.
    _watcher: Option<Watcher>,
    files: Receiver<FileChange>,
    board: Arc<PluginBoard>,
    orders: Receiver<Asked>,
    stopped: Receiver<()>,
    /// By canonical name.
    pub(super) plugins: BTreeMap<String, Kept>,
    /// Names that are counted although no plugin of theirs ran.
    strangers: BTreeSet<String>,
}

impl Work {
    pub(super) fn new(
        parts: Parts,
        board: Arc<PluginBoard>,
        orders: Receiver<Asked>,
        stopped: Receiver<()>,
    ) -> Self {
        let (watcher, files) = match parts.files {
            Some((watcher, files)) => (Some(watcher), files),
            None => (None, crossbeam_channel::never()),
        };
        let kept = |(candidate, running): (Candidate, Running)| {
            (canonical(&candidate.name), Kept { current: Some((candidate, running)), ..Kept::default() })
        };
        Self {
            intake: parts.intake,
            workshop: parts.workshop,
            records: parts.records,
            probation: parts.probation,
            memory_limit: parts.memory_limit,
            _watcher: watcher,
            files,
            board,
            orders,
            stopped,
            plugins: parts.running.into_iter().map(kept).collect(),
            strangers: BTreeSet::new(),
        }
    }

    pub(super) fn run(mut self) {
        loop {
            self.post();
            crossbeam_channel::select! {
                recv(self.stopped) -> _ => return,
                recv(self.orders) -> asked => match asked {
                    Ok(Asked { order, answer }) => self.follow(order, answer),
                    Err(_) => return,
                },
                recv(self.files) -> change => match change {
                    Ok(change) => self.take_file(change),
                    Err(_) => self.files = crossbeam_channel::never(),
                },
                default(self.tick()) => {}
            }
            for name in self.plugins.keys().cloned().collect::<Vec<_>>() {
                self.advance(&name);
            }
            self.forget_strangers();
        }
    }

    fn tick(&self) -> Duration {
        let of_plugin = |kept: &Kept| match kept.change.as_ref().map(|change| &change.phase) {
            None if kept.next.is_some() || kept.leaves => SLOW_TICK,
            None => REST,
            Some(Phase::Probation { .. } | Phase::Shadowing | Phase::Accepting) => SLOW_TICK,
            Some(_) => TICK,
        };
        self.plugins.values().map(of_plugin).min().unwrap_or(REST)
    }

    pub(super) fn follow(&mut self, order: Order, answer: oneshot::Sender<Answer>) {
        match order {
            Order::Run(candidate, probation) => {
                let kept = self.plugins.entry(canonical(&candidate.name)).or_default();
                kept.verdicts.forgive(candidate.identity());
                self.offer(Next { candidate, kind: Kind::Swap, answer: Some(answer), probation });
            }
            Order::Shadow(candidate) => {
                self.offer(Next { candidate, kind: Kind::Shadow, answer: Some(answer), probation: None });
            }
            Order::Promote(name) => self.promote(&canonical(&name), answer),
            Order::DropShadow(name) => self.drop_shadow(&canonical(&name), answer),
            Order::Rollback(name) => self.roll_back(&canonical(&name), answer),
            Order::MakeRoom => {
                let told = if self.make_room() { Told::Swapped } else { Told::Unchanged };
                tell(answer, Ok(told));
            }
            Order::Adopt => {
                let adopted = self.adopt();
                tell(answer, adopted);
            }
            Order::Unload(name) => match self.plugins.get_mut(&canonical(&name)) {
                Some(kept) => {
                    kept.leaves = true;
                    kept.leaving = Some(answer);
                }
                None => tell(answer, Err(OrderError::Missing(format!("no plugin {name}")))),
            },
        }
    }

    /// Has what the store's records say run, before any shard is open; what the directory has instead then
    /// takes its place by a swap.
    fn adopt(&mut self) -> Answer {
        let stored = self.records.load().map_err(|error| OrderError::Failed(error.to_string()))?;
        for (name, stored) in stored {
            let kept = self.plugins.entry(name.clone()).or_default();
            kept.previous = stored.previous;
            kept.verdicts.learn(stored.refused);
            let identity = stored.current.identity();
            if kept.current.as_ref().is_some_and(|(own, _)| own.identity() == identity) {
                continue;
            }
            match self.workshop.load(&stored.current, &result_keys(&self.others(&name))) {
                Ok(loaded) => {
                    tracing::info!(plugin = name, digest = %stored.current.digest, "Plugin runs by the store's record");
                    self.intake.shared().changes.replace(loaded.running.clone());
                    let Some(kept) = self.plugins.get_mut(&name) else {
                        continue;
                    };
                    let own = kept.current.replace((stored.current, loaded.running));
                    if let Some((own, _)) = own {
                        self.take_file(FileChange::Candidate(own));
                    }
                }
                Err(refusal) => tracing::error!(plugin = name, %refusal, "The record's version cannot run"),
            }
        }
        Ok(Told::Unchanged)
    }

    /// The other plugins that run.
    pub(super) fn others(&self, name: &str) -> Vec<Running> {
        let others = self.plugins.iter().filter(|(other, _)| *other != name);
        others.filter_map(|(_, kept)| Some(kept.current.as_ref()?.1.clone())).collect()
    }

    pub(super) fn take_file(&mut self, change: FileChange) {
        match change {
            FileChange::Candidate(candidate) => {
                let refused = self
                    .plugins
                    .get(&canonical(&candidate.name))
                    .is_some_and(|kept| kept.verdicts.refuses(&candidate.identity()));
                if refused {
                    tracing::info!(plugin = %candidate.name, digest = %candidate.digest, "File not used: this version was refused or rolled back");
                } else {
                    self.offer(Next { candidate, kind: Kind::Swap, answer: None, probation: None });
                }
            }
            FileChange::Refused(refusal) => {
                let name = canonical(&refusal.plugin);
                refusal.log();
                self.count(&name, "refused");
                let kept = self.plugins.entry(name.clone()).or_default();
                let from = kept.current.as_ref().map(|(candidate, _)| candidate.digest.to_string());
                let ended = Ended::refused(refusal);
                let swap = ended.alone(from, self.intake.shared().clock.now_ms());
                status::remember(&name, &mut kept.history, swap);
            }
            FileChange::Gone(name) => {
                if let Some(kept) = self.plugins.get_mut(&canonical(&name)) {
                    kept.leaves = true;
                }
            }
        }
    }

    /// Takes a candidate: begins with it, or has it wait for its turn.
    fn offer(&mut self, offered: Next) {
        let kind = offered.kind;
        let name = canonical(&offered.candidate.name);
        let identity = offered.candidate.identity();
        let kept = self.plugins.entry(name.clone()).or_default();
        kept.leaves = false;
        // What is asked for last counts, also where it begins nothing.
        let earlier = [kept.leaving.take(), kept.next.take().and_then(|next| next.answer)];
        for answer in earlier.into_iter().flatten() {
            tell(answer, Err(OrderError::Conflict("a later version has taken its place".to_owned())));
        }
        let runs = kept.runs(&identity);
        match &mut kept.change {
            // A version that is on its way in, as whatever it began, is what its file asks for.
            Some(change)
                if change.goes_on()
                    && change.candidate.identity() == identity
                    && (change.kind == kind || (kind == Kind::Swap && change.kind != Kind::Shadow)) =>
            {
                match (change.told_already(), offered.answer) {
                    (Some(told), Some(answer)) => tell(answer, Ok(told)),
                    (_, answer) => change.wait(answer),
                }
            }
            // What is tried in a shadow has taken nobody's place.
            None | Some(Change { kind: Kind::Shadow, .. }) if runs && kind == Kind::Swap => {
                if let Some(answer) = offered.answer {
                    tell(answer, Ok(Told::Unchanged));
                }
            }
            // One that the record names already is accepted first, and left by one more swap.
            Some(change) if runs && kind == Kind::Swap && change.may_go_back() => {
                change.wait(offered.answer);
                self.take_back(&name, "the version that ran before was asked for");
            }
            _ => kept.next = Some(offered),
        }
    }

    /// Has the operator's wish end the change under way, as far as it still can.
    fn take_back(&mut self, name: &str, reason: &str) {
        let Some(kept) = self.plugins.get_mut(name) else {
            return;
        };
        let Some(change) = &mut kept.change else {
            return;
        };
        kept.verdicts.refuse(change.candidate.identity());
        // Without a record a restart would know nothing of that, and run what lies in the directory.
        kept.needs_record |= change.kind != Kind::Shadow && kept.current.is_some();
        let ended =
            Ended { told: Some(Told::RolledBack), ..Ended::because("rolled_back", reason, "nothing to do") };
        abandon(change, &self.intake, ended);
    }

    fn roll_back(&mut self, name: &str, answer: oneshot::Sender<Answer>) {
        let Some(kept) = self.plugins.get_mut(name) else {
            return tell(answer, Err(OrderError::Missing(format!("no plugin {name}"))));
        };
        // A shadow has taken nobody's place: it is dropped for the swap to the version before.
        if let Some(change) = kept.change.as_mut().filter(|change| change.kind != Kind::Shadow) {
            if !change.may_go_back() {
                let words = "a change is being finished; try again in a moment".to_owned();
                return tell(answer, Err(OrderError::Conflict(words)));
            }
            change.wait(Some(answer));
            return self.take_back(name, "rolled back by the operator");
        }
        let Some(previous) = kept.previous.clone() else {
            let words = format!("plugin {name} has no version before this one");
            return tell(answer, Err(OrderError::Missing(words)));
        };
        if let Some((current, _)) = &kept.current {
            kept.verdicts.refuse(current.identity());
        }
        kept.verdicts.forgive(previous.identity());
        let (kind, answer) = (Kind::Rollback, Some(answer));
        kept.next = Some(Next { candidate: previous, kind, answer, probation: None });
    }

    fn promote(&mut self, name: &str, answer: oneshot::Sender<Answer>) {
        if let Some(kept) = self.plugins.get_mut(name)
            && let Some(change) = &mut kept.change
            && matches!(change.phase, Phase::Shadowing)
        {
            change.wait(Some(answer));
            // It is shown as soon as there is a record of what runs.
            change.kind = Kind::Swap;
            kept.needs_record = kept.current.is_some();
            return;
        }
        let words = format!("plugin {name} has no shadow that is in step");
        tell(answer, Err(OrderError::Missing(words)));
    }

    fn drop_shadow(&mut self, name: &str, answer: oneshot::Sender<Answer>) {
        let change = self.plugins.get_mut(name).and_then(|kept| kept.change.as_mut());
        match change {
            Some(change) if change.kind == Kind::Shadow => {
                change.wait(Some(answer));
                let ended = Ended::because("dropped", "dropped by the operator", "nothing to do");
                abandon(change, &self.intake, Ended { told: Some(Told::RolledBack), ..ended });
            }
            _ => tell(answer, Err(OrderError::Missing(format!("plugin {name} has no shadow")))),
        }
    }

    /// Counts how a change of a plugin ended; of names under which nothing ever ran only some, since whoever may send
    /// plugins may make up names.
    pub(super) fn count(&mut self, name: &str, result: &'static str) {
        let ran = result == "swapped" || self.plugins.get(name).is_some_and(|kept| kept.current.is_some());
        if !ran && !self.strangers.contains(name) {
            if self.strangers.len() >= MOST_STRANGERS {
                return;
            }
            self.strangers.insert(name.to_owned());
        }
        self.intake.shared().metrics.plugin_events.swapped(name, result);
    }

    /// Forgets the oldest of those that were refused before anything ran under their names, where there are too many.
    pub(super) fn forget_strangers(&mut self) {
        let since = |(name, kept): (&String, &Kept)| Some((kept.stranger_since()?, name.clone()));
        let mut strangers: Vec<(i64, String)> = self.plugins.iter().filter_map(since).collect();
        let too_many = strangers.len().saturating_sub(MOST_STRANGERS);
        if too_many == 0 {
            return;
        }
        strangers.sort_unstable();
        for (_, name) in &strangers[..too_many] {
            self.plugins.remove(name);
        }
    }

    /// Tells how every plugin is.
    fn post(&self) {
        let plugins = self.plugins.iter().map(|(name, kept)| (name.clone(), kept.status(name)));
        self.board.plugins.send_replace(plugins.collect());
    }
}

impl Kept {
    /// Whether the version with this identity runs.
    pub(super) fn runs(&self, identity: &str) -> bool {
        self.current.as_ref().is_some_and(|(current, _)| current.identity() == identity)
    }

    /// Notes that the store says all of it.
    pub(super) fn told(&mut self) {
        self.verdicts.told();
        (self.needs_record, self.store_rests_until) = (false, None);
    }

    /// When the last change began of one of which nothing runs, ran before, or is on its way.
    fn stranger_since(&self) -> Option<i64> {
        let known = self.current.is_some() || self.previous.is_some();
        let busy = self.change.is_some() || self.next.is_some() || self.leaves;
        self.history.front().filter(|_| !known && !busy).map(|swap| swap.at_ms)
    }

    fn status(&self, name: &str) -> PluginStatus {
        // What is shown counts, also while it is on probation.
        let shown = self
            .change
            .as_ref()
            .filter(|change| matches!(change.phase, Phase::Probation { .. } | Phase::Accepting));
        let running = shown
            .and_then(|change| change.running.as_ref())
            .or(self.current.as_ref().map(|(_, running)| running));
        let digest = |candidate: &Candidate| candidate.digest.to_string();
        let previous = match shown {
            Some(_) => self.current.as_ref().map(|(candidate, _)| digest(candidate)),
            None => self.previous.as_ref().map(digest),
        };
        PluginStatus {
            name: name.to_owned(),
            version: running.map(|running| running.plugin.description().version.clone()),
            digest: running.map(|running| running.digest.to_string()),
            configuration: running.and_then(|running| serde_json::from_str(&running.configuration).ok()),
            result_key: running.map(|running| running.result_key().to_owned()),
            groups: running.map(|running| running.settings.groups.clone()).unwrap_or_default(),
            horizon_ms: running.map(|running| running.settings.horizon_ms),
            previous,
            trial: self.change.as_ref().map(Change::status),
            history: self.history.clone(),
        }
    }
}

pub(super) fn tell(answer: oneshot::Sender<Answer>, told: Answer) {
    // Who has gone needs none.
    drop(answer.send(told));
}
