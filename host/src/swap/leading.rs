//! A change on its way: what each phase waits for, and what comes next.
//!
//! Not for taking orders. Invariant: the record in the store switches before any shard is saved by the new
//! version, and after every shard has shown it, and there is one before anything is shown in the place of what
//! ran: whatever happens when, a restart runs a version that reads the state which it finds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::change::{Change, Ended, Phase};
use super::conductor::{Work, tell};
use super::records::NotWritten;
use super::status::{self, Kind};
use super::{OrderError, Told};
use crate::allocator;
use crate::pipeline::Intake;
use crate::pipeline::trial::{Goal, Origin, Stage, Trial};
use crate::plugin::catalog::{Running, result_keys};
use crate::plugin::contract::Settings;
use crate::plugin::{PluginError, Refusal, Stage as CallStage, same_name};

/// How long state may take to be carried.
const CARRIED_WITHIN: Duration = Duration::from_secs(120);
/// How long the store is left alone that did not take a record.
const RECORD_PAUSE: Duration = Duration::from_secs(1);

impl Work {
    /// Goes on with a plugin.
    pub(super) fn advance(&mut self, name: &str) {
        self.note(name);
        let Some(kept) = self.plugins.get_mut(name) else {
            return;
        };
        let Some(mut change) = kept.change.take() else {
            return self.begin_next(name);
        };
        let waits = kept.next.is_some() || kept.leaves;
        let over = match &mut change.phase {
            Phase::Loading(outcome) => match outcome.try_recv() {
                Ok(Ok(loaded)) => self.prepare(name, &mut change, loaded.running),
                Ok(Err(refusal)) => end(&mut change, Ended::refused(refusal)),
                Err(oneshot::error::TryRecvError::Empty) => false,
                Err(oneshot::error::TryRecvError::Closed) => {
                    end(&mut change, Ended::because("refused", "loading has ended", "try again"))
                }
            },
            Phase::Abandoning => self.abandoned(&mut change),
            _ => self.lead(name, &mut change, waits),
        };
        if over {
            self.finish(name, change);
        } else if let Some(kept) = self.plugins.get_mut(name) {
            kept.change = Some(change);
        }
    }

    /// Has the store told what a restart has to know and the plugin's record does not say yet.
    pub(super) fn note(&mut self, name: &str) {
        let Some(kept) = self.plugins.get(name) else {
            return;
        };
        let says_all = !kept.needs_record && !kept.verdicts.has_untold();
        let rests = kept.store_rests_until.is_some_and(|until| Instant::now() < until);
        // A host that stands by has nothing to say about what the serving one runs.
        if says_all || rests || self.open().is_empty() {
            return;
        }
        let runs = kept.current.as_ref().filter(|_| kept.needs_record);
        let runs = runs.map(|(candidate, running)| (candidate, running));
        let at_ms = self.intake.shared().clock.now_ms();
        let noted = self.records.note(name, runs, &kept.verdicts, at_ms);
        let Some(kept) = self.plugins.get_mut(name) else {
            return;
        };
        match noted {
            Ok(()) => kept.told(),
            Err(NotWritten) => kept.store_rests_until = Some(Instant::now() + RECORD_PAUSE),
        }
    }

    /// Begins what waits for its turn.
    fn begin_next(&mut self, name: &str) {
        let Some(kept) = self.plugins.get_mut(name) else {
            return;
        };
        if kept.leaves {
            return self.unload(name);
        }
        let Some(next) = kept.next.take() else {
            return;
        };
        // It was asked for in the place of a change that did not come to anything.
        if next.kind == Kind::Swap && kept.runs(&next.candidate.identity()) {
            if let Some(answer) = next.answer {
                tell(answer, Ok(Told::Unchanged));
            }
            return;
        }
        let from = kept.current.as_ref().map(|(candidate, _)| candidate.digest.to_string());
        let submitted = self.workshop.submit(next.candidate.clone(), result_keys(&self.others(name)));
        let at_ms = self.intake.shared().clock.now_ms();
        let Some(kept) = self.plugins.get_mut(name) else {
            return;
        };
        match submitted {
            Ok(outcome) => kept.change = Some(Change::new(next, from, at_ms, outcome)),
            // The workshop is full: with the next tick.
            Err(_) => kept.next = Some(next),
        }
    }

    /// Has every shard make a cell of a loaded plugin.
    fn prepare(&mut self, name: &str, change: &mut Change, running: Running) -> bool {
        let former = self.plugins.get(name).and_then(|kept| kept.current.as_ref());
        let runs = former.is_some();
        let carries = former.is_some_and(|(_, former)| holds_enough(&former.settings, &running.settings));
        let origin = if carries { Origin::Carried } else { Origin::Backfill };
        // Without a probation the second set is there for no longer than its state takes to be carried.
        let stays = change.probation != Some(Duration::ZERO);
        let hindrance = self.renamed(&running).or_else(|| self.has_no_room(name).filter(|_| stays));
        change.running = Some(running);
        if let Some(ended) = hindrance {
            return end(change, ended);
        }
        // A shadow is in nobody's place: a restart knows nothing of it.
        if change.kind != Kind::Shadow
            && let Some(kept) = self.plugins.get_mut(name)
        {
            kept.needs_record = runs;
        }
        self.try_out(change, origin)
    }

    /// Why a version cannot take the place of the one that runs, if it spells its name in another way: its cells and
    /// checkpoints would be those of another plugin, beside the former ones.
    fn renamed(&self, running: &Running) -> Option<Ended> {
        let now = self.intake.shared().changes.running();
        let former = now.iter().find(|former| same_name(former.name(), running.name()))?;
        let words = format!("it calls itself {}, the one that runs {}", running.name(), former.name());
        let remedy = "keep the name as it is written, or remove the running one first";
        (former.name() != running.name()).then(|| Ended::because("refused", &words, remedy))
    }

    /// Why there is no room for a second set of a plugin's cells, if so.
    fn has_no_room(&self, name: &str) -> Option<Ended> {
        let limit = self.memory_limit?;
        let shards = self.intake.shared().board.shards();
        let visible: u64 = shards.values().map(|shard| shard.visible_memory_bytes as u64).sum();
        let cells = shards.values().flat_map(|shard| &shard.cells);
        let second: u64 =
            cells.filter(|cell| same_name(&cell.plugin, name)).map(|cell| cell.memory_bytes as u64).sum();
        let words = format!(
            "plugins take {} MiB; with a second set of its cells ({} MiB) that is more than MEMORY_LIMIT_MB ({} MiB)",
            visible >> 20,
            second >> 20,
            limit >> 20
        );
        let remedy = "ask for it with ?probation=0, raise MEMORY_LIMIT_MB and restart, or try again when fewer tokens trade";
        (visible + second > limit).then(|| Ended::because("refused", &words, remedy))
    }

    /// Ends every probation now, and drops every shadow; says whether there was any.
    pub(super) fn make_room(&mut self) -> bool {
        let mut found = false;
        for change in self.plugins.values_mut().filter_map(|kept| kept.change.as_mut()) {
            match change.phase {
                Phase::Probation { .. } => {
                    change.phase = Phase::Probation { until: Instant::now() };
                    found = true;
                }
                Phase::Shadowing => {
                    let reason = "plugins take more memory than MEMORY_LIMIT_MB";
                    let ended =
                        Ended::because("dropped", reason, "raise MEMORY_LIMIT_MB, or try again later");
                    abandon(change, &self.intake, ended);
                    found = true;
                }
                _ => {}
            }
        }
        found
    }

    fn try_out(&self, change: &mut Change, origin: Origin) -> bool {
        let Some(running) = &change.running else {
            return end(change, Ended::because("refused", "it was not loaded", "try again"));
        };
        // Instances are made here, off the workers.
        let made: Result<Vec<_>, PluginError> =
            self.open().iter().map(|_| Ok(running.plugin.instantiate(&running.configuration)?.0)).collect();
        let instances = match made {
            Ok(instances) => instances,
            Err(error) => return end(change, Ended::refused(Refusal::of_fault(&error))),
        };
        let compares = change.kind == Kind::Shadow;
        let trial = Arc::new(Trial::new(running.clone(), origin, compares, instances));
        self.intake.begin_trial(&trial);
        change.trial = Some(trial);
        change.enter(Phase::Preparing);
        false
    }

    fn open(&self) -> Vec<u32> {
        self.intake.shared().board.shards().into_keys().collect()
    }

    /// Leads a change on that shards are at work on; says whether it is over.
    fn lead(&mut self, name: &str, change: &mut Change, waits: bool) -> bool {
        let failure =
            change.trial.as_ref().and_then(|trial| trial.reports(|reports| reports.failure.clone()));
        let accepting = matches!(change.phase, Phase::Accepting);
        if let Some(failure) = failure.filter(|_| !accepting) {
            return self.failed(name, change, &failure);
        }
        let open = self.open();
        let shadows = change.kind == Kind::Shadow;
        // Hidden until the store says what ran before: after a crash nobody else knows.
        let recorded = open.is_empty() || self.plugins.get(name).is_none_or(|kept| !kept.needs_record);
        match change.phase {
            Phase::Preparing if shadows && change.everywhere(&open, Stage::InStep) => {
                change.enter(Phase::Shadowing);
                change.answer(Ok(Told::Shadowing));
            }
            Phase::Preparing if recorded && change.everywhere(&open, Stage::InStep) => {
                show(change, &self.intake);
            }
            Phase::Preparing if waits || self.carries_too_long(change) => {
                abandon(change, &self.intake, not_prepared(waits, recorded));
            }
            Phase::Shadowing if waits => {
                let ended = Ended::because("dropped", "a swap has taken its place", "begin a shadow again");
                abandon(change, &self.intake, ended);
            }
            Phase::Shadowing if recorded && !shadows => show(change, &self.intake),
            Phase::Showing if change.everywhere(&open, Stage::Shown) => self.shown(name, change),
            // A shard that was opened meanwhile may still be on its way.
            Phase::Probation { until }
                if ((waits && !change.hurried) || Instant::now() >= until)
                    && change.everywhere(&open, Stage::Shown) =>
            {
                self.accept(name, change, &open)
            }
            Phase::Accepting => {
                return change.everywhere(&open, Stage::Accepted) && self.accepted(name, change);
            }
            _ => {}
        }
        false
    }

    fn carries_too_long(&self, change: &Change) -> bool {
        let carried = |trial: &Arc<Trial>| {
            trial.origin == Origin::Carried && !trial.reports(|reports| reports.reads_horizon)
        };
        change.trial.as_ref().is_some_and(carried) && change.lasts() >= CARRIED_WITHIN
    }

    /// The new version has failed before it was accepted.
    fn failed(&mut self, name: &str, change: &mut Change, failure: &PluginError) -> bool {
        let was_shown = matches!(change.phase, Phase::Showing | Phase::Probation { .. });
        let refuses = failure.stage == CallStage::Import;
        let again = change.kind == Kind::Rollback
            && refuses
            && change.trial.as_ref().is_some_and(|trial| trial.origin == Origin::Carried);
        let remedy = match refuses {
            true => {
                "teach its import-state to read the running version's state, or remove the plugin and add it anew: it then reads what its windows need"
            }
            false => "correct the plugin; the log has its last words",
        };
        let result = if was_shown { "rolled_back" } else { "refused" };
        if !again && let Some(kept) = self.plugins.get_mut(name) {
            kept.verdicts.refuse(change.candidate.identity());
        }
        let ended = Ended {
            result,
            stage: Some(failure.stage.to_string()),
            reason: Some(failure.reason.clone()),
            remedy: Some(remedy.to_owned()),
            error: OrderError::Failed(format!("{failure}; {remedy}")),
            told: None,
            reads_anew: again,
        };
        abandon(change, &self.intake, ended);
        false
    }

    fn shown(&mut self, name: &str, change: &mut Change) {
        let probation = change.probation.unwrap_or(self.probation);
        change.enter(Phase::Probation { until: Instant::now() + probation });
        change.answer(Ok(Told::Swapped));
        self.count(name, "swapped");
        let version = change.running.as_ref().map(|running| running.plugin.description().version.clone());
        tracing::info!(
            plugin = name, digest = %change.candidate.digest, version, phases = ?change.remembered().phases_ms,
            ?probation, "Plugin swapped"
        );
    }

    /// Ends the probation: the record switches first, so that whatever happens from here on, a restart runs
    /// the new version, which can read both versions' state.
    fn accept(&mut self, name: &str, change: &mut Change, open: &[u32]) {
        let (Some(kept), Some(running)) = (self.plugins.get_mut(name), &change.running) else {
            return;
        };
        // One that has failed just now is led back at the next look.
        if change.trial.as_ref().is_some_and(|trial| !trial.seal()) {
            return;
        }
        // A record that refuses what it runs would keep its file from coming back later.
        kept.verdicts.forgive(change.candidate.identity());
        // A host that stands by has nothing to say about what the serving one runs.
        if !open.is_empty() {
            let previous = kept.current.as_ref().map(|(candidate, running)| (candidate, running));
            let accepted = (&change.candidate, running);
            let at_ms = self.intake.shared().clock.now_ms();
            if self.records.accept(name, accepted, previous, &kept.verdicts, at_ms).is_err() {
                // Asked again after a while; the former version stays in step meanwhile.
                change.trial.iter().for_each(|trial| trial.unseal());
                change.phase = Phase::Probation { until: Instant::now() + RECORD_PAUSE };
                change.hurried = true;
                return;
            }
            kept.told();
        }
        if let Some(trial) = &change.trial {
            self.intake.pursue(trial, Goal::Accept);
        }
        change.enter(Phase::Accepting);
    }

    fn accepted(&mut self, name: &str, change: &mut Change) -> bool {
        if let Some(trial) = &change.trial {
            self.intake.end_trial(trial, true);
        }
        let (Some(kept), Some(running)) = (self.plugins.get_mut(name), change.running.clone()) else {
            return true;
        };
        let before = kept.current.replace((change.candidate.clone(), running));
        kept.previous = before.map(|(candidate, _)| candidate);
        kept.needs_record = false;
        change.enter(Phase::Accepting);
        tracing::info!(plugin = name, digest = %change.candidate.digest, "Plugin accepted");
        true
    }

    /// Whether every shard has taken a change back; begins anew where the state is read instead.
    fn abandoned(&self, change: &mut Change) -> bool {
        if !change.everywhere(&self.open(), Stage::Abandoned) {
            return false;
        }
        if let Some(trial) = change.trial.take_if(|_| true) {
            self.intake.end_trial(&trial, false);
        }
        if change.ended.as_ref().is_some_and(|ended| ended.reads_anew) {
            change.ended = None;
            return self.try_out(change, Origin::Backfill);
        }
        true
    }

    fn finish(&mut self, name: &str, mut change: Change) {
        if let Some(ended) = &change.ended {
            if ended.result != "dropped" {
                self.count(name, ended.result);
            }
            tracing::warn!(
                plugin = name, digest = %change.candidate.digest, result = ended.result, stage = ended.stage,
                reason = ended.reason, remedy = ended.remedy, "Plugin not changed"
            );
            if let Some(kept) = self.plugins.get_mut(name) {
                if let OrderError::Refused(refusal) = &ended.error
                    && !refusal.is_passing()
                {
                    kept.verdicts.refuse(change.candidate.identity());
                }
                // What was to be left by a rollback runs on.
                if change.kind == Kind::Rollback
                    && let Some((current, _)) = &kept.current
                {
                    kept.verdicts.forgive(current.identity());
                }
            }
        }
        if let Some(kept) = self.plugins.get_mut(name) {
            status::remember(name, &mut kept.history, change.remembered());
        }
        let (waiting, answer) = (change.answer.take(), change.final_answer());
        let tried = change.running.is_some();
        // Who hears of it may send the next component at once: the memory of one is enough.
        drop(change);
        if let Some(waiting) = waiting {
            tell(waiting, answer);
        }
        // What pages of state on their way took is free, but scattered: the allocator would keep it.
        if tried {
            allocator::trim();
        }
    }

    fn unload(&mut self, name: &str) {
        if !self.open().is_empty() && self.records.remove(name).is_err() {
            return;
        }
        let Some(kept) = self.plugins.remove(name) else {
            return;
        };
        if let Some((_, running)) = &kept.current {
            self.intake.unload(running.name());
            tracing::info!(plugin = name, "Plugin unloaded; its checkpoints are kept for a while");
        }
        if let Some(answer) = kept.leaving {
            tell(answer, Ok(Told::Unloading));
        }
        if let Some(answer) = kept.next.and_then(|next| next.answer) {
            tell(answer, Err(OrderError::Conflict("the plugin was removed meanwhile".to_owned())));
        }
    }
}

/// Whether state of one version is all that another one's windows need: of a longer one, or in other steps, the trades
/// are read again.
fn holds_enough(former: &Settings, new: &Settings) -> bool {
    former.step_ms == new.step_ms && former.horizon_ms >= new.horizon_ms
}

/// Why a change did not come to be shown.
fn not_prepared(waits: bool, recorded: bool) -> Ended {
    let (reason, remedy) = match (waits, recorded) {
        (true, _) => ("a later order has taken its place", "nothing to do"),
        (false, true) => (
            "its state was not in step in time",
            "look whether shards are open and Redis answers, then try again",
        ),
        (false, false) => {
            ("the store did not take a record of what runs", "look whether Redis answers, then try again")
        }
    };
    Ended::because("refused", reason, remedy)
}

/// Has shards show the new cells.
fn show(change: &mut Change, intake: &Intake) {
    change.enter(Phase::Showing);
    if let Some(trial) = &change.trial {
        intake.pursue(trial, Goal::Show);
    }
}

/// Has shards take the new cells back.
pub(super) fn abandon(change: &mut Change, intake: &Intake, ended: Ended) {
    change.ended.get_or_insert(ended);
    if let Some(trial) = &change.trial {
        intake.pursue(trial, Goal::Abandon);
    }
    change.enter(Phase::Abandoning);
}

/// Ends a change of which no shard knows.
fn end(change: &mut Change, ended: Ended) -> bool {
    change.ended.get_or_insert(ended);
    true
}
