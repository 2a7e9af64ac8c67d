//! One change of one plugin: where it is, and what comes next.
//!
//! Not for deciding which change comes when. Invariant: each phase is entered once and timed; a change ends
//! as swapped, refused, rolled back or dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::conductor::Next;
use super::status::{Kind, Phases, Swap, TrialStatus};
use super::{Answer, OrderError, Told};
use crate::pipeline::trial::{Origin, Reports, Stage, Trial};
use crate::plugin::catalog::Running;
use crate::plugin::workshop::Outcome;
use crate::plugin::{Candidate, Refusal};

/// Where a change is.
pub(super) enum Phase {
    /// The candidate is compiled, checked and configured.
    Loading(oneshot::Receiver<Outcome>),
    /// New cells are made and brought in step.
    Preparing,
    /// In step, hidden and compared, until somebody decides.
    Shadowing,
    /// Shards show the new cells.
    Showing,
    /// Shown; the former cells are in step and hidden.
    Probation {
        /// When it ends.
        until: Instant,
    },
    /// Shards save the new cells and let the former ones go.
    Accepting,
    /// Shards take the new cells back.
    Abandoning,
}

/// A change under way.
pub(super) struct Change {
    pub(super) candidate: Candidate,
    pub(super) kind: Kind,
    /// Its own, where it is not the usual one.
    pub(super) probation: Option<Duration>,
    pub(super) phase: Phase,
    /// Once it is loaded.
    pub(super) running: Option<Running>,
    pub(super) trial: Option<Arc<Trial>>,
    /// The store was asked early to take its record, since something else waits.
    pub(super) hurried: bool,
    /// How it ends, once that is known.
    pub(super) ended: Option<Ended>,
    /// Who waits for the answer.
    pub(super) answer: Option<oneshot::Sender<Answer>>,
    from: Option<String>,
    at_ms: i64,
    phases: Phases,
    phase_began: Instant,
}

/// How a change ends that is not accepted.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// `refused`, `rolled_back` or `dropped`.
    pub(super) result: &'static str,
    pub(super) stage: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) remedy: Option<String>,
    pub(super) error: OrderError,
    /// The answer, where the end is what was asked for.
    pub(super) told: Option<Told>,
    /// The state is refused, and read anew instead.
    pub(super) reads_anew: bool,
}

impl Ended {
    /// A refusal before anything ran.
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self {
            result: "refused",
            stage: Some(refusal.stage.to_string()),
            reason: Some(refusal.reason.clone()),
            remedy: Some(refusal.remedy().to_owned()),
            error: OrderError::Refused(refusal),
            told: None,
            reads_anew: false,
        }
    }

    /// An end for a reason of the host's or the operator's.
    pub(super) fn because(result: &'static str, reason: &str, remedy: &str) -> Self {
        Self {
            result,
            stage: None,
            reason: Some(reason.to_owned()),
            remedy: Some(remedy.to_owned()),
            error: OrderError::Conflict(reason.to_owned()),
            told: None,
            reads_anew: false,
        }
    }

    /// The end of a change that never was one: its file could be no candidate.
    pub(super) fn alone(self, from: Option<String>, at_ms: i64) -> Swap {
        Swap {
            at_ms,
            kind: Kind::Swap,
            from,
            to: String::new(),
            result: self.result,
            stage: self.stage,
            reason: self.reason,
            remedy: self.remedy,
            state: None,
            carried_bytes: 0,
            longest_pause_ms: 0,
            switch_pause_ms: 0,
            phases_ms: Phases::default(),
        }
    }
}

impl Change {
    pub(super) fn new(
        next: Next,
        from: Option<String>,
        at_ms: i64,
        loading: oneshot::Receiver<Outcome>,
    ) -> Self {
        let Next { candidate, kind, answer, probation } = next;
        Self {
            candidate,
            // One that did not run before is new.
            kind: if from.is_none() && kind == Kind::Swap { Kind::New } else { kind },
            probation,
            phase: Phase::Loading(loading),
            running: None,
            trial: None,
            hurried: false,
            ended: None,
            answer,
            from,
            at_ms,
            phases: Phases::default(),
            phase_began: Instant::now(),
        }
    }

    /// Goes on to the next phase, and notes how long the last one took.
    pub(super) fn enter(&mut self, phase: Phase) -> Duration {
        let took = self.phase_began.elapsed();
        let took_ms = Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        match self.phase {
            Phase::Loading(_) => self.phases.load = took_ms,
            Phase::Preparing => self.phases.prepare = took_ms,
            Phase::Showing => self.phases.show = took_ms,
            Phase::Probation { .. } => self.phases.probation = took_ms,
            Phase::Accepting => self.phases.accept = took_ms,
            Phase::Shadowing | Phase::Abandoning => {}
        }
        self.phase = phase;
        self.phase_began = Instant::now();
        took
    }

    /// For how long the phase has lasted.
    pub(super) fn lasts(&self) -> Duration {
        self.phase_began.elapsed()
    }

    /// Answers whoever waits, once.
    pub(super) fn answer(&mut self, answer: Answer) {
        if let Some(waiting) = self.answer.take() {
            // Who has gone needs none.
            drop(waiting.send(answer));
        }
    }

    /// Has somebody else wait for the answer; whoever waited before is told that it was superseded.
    pub(super) fn wait(&mut self, answer: Option<oneshot::Sender<Answer>>) {
        if answer.is_some() {
            self.answer(Err(OrderError::Conflict("a later order asked for the same".to_owned())));
            self.answer = answer;
        }
    }

    /// What whoever asks for the same again is told at once.
    pub(super) fn told_already(&self) -> Option<Told> {
        match self.phase {
            Phase::Shadowing if self.kind == Kind::Shadow => Some(Told::Shadowing),
            Phase::Probation { .. } | Phase::Accepting => Some(Told::Unchanged),
            _ => None,
        }
    }

    /// Whether it can still be taken back: once the record has switched, shards may have let the former cells go.
    pub(super) fn may_go_back(&self) -> bool {
        !matches!(self.phase, Phase::Accepting | Phase::Abandoning)
    }

    /// Whether its candidate is still on its way in.
    pub(super) fn goes_on(&self) -> bool {
        let reads_anew = self.ended.as_ref().is_some_and(|ended| ended.reads_anew);
        reads_anew || !matches!(self.phase, Phase::Abandoning)
    }

    /// Whether every open shard has come so far.
    pub(super) fn everywhere(&self, open: &[u32], stage: Stage) -> bool {
        self.trial.as_ref().is_none_or(|trial| {
            trial.reports(|reports| {
                open.iter().all(|shard| reports.stages.get(shard).is_some_and(|at| *at >= stage))
            })
        })
    }

    /// The phase as a word.
    pub(super) fn phase_name(&self) -> &'static str {
        match self.phase {
            Phase::Loading(_) => "loading",
            Phase::Preparing => "preparing",
            Phase::Shadowing => "shadowing",
            Phase::Showing => "showing",
            Phase::Probation { .. } => "probation",
            Phase::Accepting => "accepting",
            Phase::Abandoning => "abandoning",
        }
    }

    /// How it is, for people.
    pub(super) fn status(&self) -> TrialStatus {
        let mut shards: BTreeMap<&'static str, usize> = BTreeMap::new();
        let mut comparison = None;
        if let Some(trial) = &self.trial {
            trial.reports(|reports| {
                for stage in reports.stages.values() {
                    *shards.entry(word(*stage)).or_default() += 1;
                }
                comparison = trial.compares.then(|| reports.comparison.clone());
            });
        }
        let left = |until: Instant| until.saturating_duration_since(Instant::now()).as_millis() as u64;
        TrialStatus {
            kind: self.kind,
            phase: self.phase_name(),
            digest: self.candidate.digest.to_string(),
            since_ms: self.at_ms,
            probation_left_ms: match self.phase {
                Phase::Probation { until } => Some(left(until)),
                _ => None,
            },
            shards,
            state: self.state(),
            carried_bytes: self.reported(|reports| reports.carried_bytes),
            phases_ms: self.phases,
            comparison,
        }
    }

    /// What is remembered of it when it has ended.
    pub(super) fn remembered(&self) -> Swap {
        let ended = self.ended.as_ref();
        Swap {
            at_ms: self.at_ms,
            kind: self.kind,
            from: self.from.clone(),
            to: self.candidate.digest.to_string(),
            result: ended.map_or("swapped", |ended| ended.result),
            stage: ended.and_then(|ended| ended.stage.clone()),
            reason: ended.and_then(|ended| ended.reason.clone()),
            remedy: ended.and_then(|ended| ended.remedy.clone()),
            state: self.state(),
            carried_bytes: self.reported(|reports| reports.carried_bytes),
            longest_pause_ms: self.reported(|reports| reports.longest_pause_ms),
            switch_pause_ms: self.reported(|reports| reports.switch_pause_ms),
            phases_ms: self.phases,
        }
    }

    fn state(&self) -> Option<&'static str> {
        self.trial.as_ref().map(|trial| match trial.origin {
            Origin::Carried => "carried",
            Origin::Backfill => "backfill",
        })
    }

    fn reported(&self, read: impl FnOnce(&Reports) -> u64) -> u64 {
        self.trial.as_ref().map_or(0, |trial| trial.reports(read))
    }

    /// The answer that its end gives.
    pub(super) fn final_answer(&self) -> Answer {
        match &self.ended {
            None => Ok(Told::Swapped),
            Some(ended) => ended.told.clone().ok_or_else(|| ended.error.clone()),
        }
    }
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Preparing => "preparing",
        Stage::InStep => "in_step",
        Stage::Shown => "shown",
        Stage::Accepted => "accepted",
        Stage::Abandoned => "abandoned",
    }
}
