//! What becomes of a cell whose plugin fails: it is put back to its checkpoint, and catches up.
//!
//! A failed instance is gone. A new one takes the checkpoint, and the catch-up reader brings what came
//! since. A trade that the plugin named while dying is left out from then on. Where it named none, the
//! batch that killed is taken trade by trade when it comes again, so that the second death names it. A
//! plugin that goes on failing is restored after growing pauses, then suspended.
//!
//! Not for fetching checkpoints. Invariant: a trade is left out only when it alone, or by the plugin's own
//! word, was what killed.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::Mark;
use super::cell::{Cell, Sight};
use super::cell_clock::Now;
use super::checkpoint::{Job, Saved};
use super::due::Due;
use super::quarantine::{Quarantined, Spot};
use super::route::Routed;
use super::tokens::Tokens;
use crate::metrics::Metrics;
use crate::plugin::{PluginError, Stage};

/// The first pause after a repeated failure; doubled with each further one.
const FIRST_PAUSE_MS: u64 = 100;
/// After so many failures in a row a plugin is suspended.
const MOST_FAILURES: u32 = 6;
/// A failure after so much time is the first in a row.
const CALM_MS: u64 = 60_000;
/// More trades than this are not left out for one cell: the plugin is suspended.
const MOST_QUARANTINED: usize = 1_000;

/// How a cell's plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Condition {
    /// It runs.
    #[default]
    Sound,
    /// It has failed just now.
    Failed,
    /// It is restored at this time, in monotonic milliseconds.
    Pausing(u64),
    /// Its checkpoint is being fetched.
    Fetching,
    /// It was given up: the stream goes on without it.
    Suspended,
}

/// What a cell has learnt from its failures.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    condition: Condition,
    /// The last failure.
    fault: Option<PluginError>,
    /// How many failures in a row have not been explained by a trade.
    in_a_row: u32,
    /// When that was, in monotonic milliseconds.
    failed_at_ms: Option<u64>,
    /// The last failure was explained by a trade that is left out from now on.
    explained: bool,
    /// Trades that are left out.
    pub(super) quarantined: BTreeSet<Spot>,
    /// For each partition the offsets, from and to, of a batch that killed.
    watched: BTreeMap<i32, (i64, i64)>,
}

impl Recovery {
    /// Why the plugin was given up, if it was.
    pub(super) fn suspended_by(&self) -> Option<&PluginError> {
        self.fault.as_ref().filter(|_| self.condition == Condition::Suspended)
    }

    /// The last failure.
    pub(super) fn fault(&self) -> Option<&PluginError> {
        self.fault.as_ref()
    }

    /// The row of its batch that the plugin named while dying.
    pub(super) fn named_row(&self) -> Option<usize> {
        self.fault.as_ref()?.row.map(|row| row as usize)
    }

    fn fail(&mut self, fault: PluginError) {
        self.fault = Some(fault);
        if self.condition != Condition::Suspended {
            self.condition = Condition::Failed;
        }
    }

    /// Decides when a plugin that has failed just now is restored.
    fn plan(&mut self, now_ms: u64) {
        let calm = self.failed_at_ms.is_none_or(|at_ms| now_ms.saturating_sub(at_ms) > CALM_MS);
        let explained = std::mem::take(&mut self.explained);
        self.in_a_row = if calm || explained { 0 } else { self.in_a_row + 1 };
        self.failed_at_ms = Some(now_ms);
        let hopeless = self.in_a_row >= MOST_FAILURES || self.quarantined.len() > MOST_QUARANTINED;
        self.condition = match self.in_a_row {
            _ if hopeless => Condition::Suspended,
            0 => Condition::Pausing(now_ms),
            again => Condition::Pausing(now_ms + (FIRST_PAUSE_MS << (again - 1))),
        };
    }

    /// Whether it is time to restore the plugin.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        matches!(self.condition, Condition::Pausing(until_ms) if now_ms >= until_ms)
    }

    pub(super) fn fetching(&mut self) {
        self.condition = Condition::Fetching;
    }

    /// Leaves a trade out from now on.
    fn quarantine(&mut self, spot: Spot) {
        self.quarantined.insert(spot);
        self.explained = true;
    }

    /// Has a batch taken trade by trade when it comes again.
    pub(super) fn watch(&mut self, mark: &Mark) {
        let (from, to) = self.watched.entry(mark.partition).or_insert((mark.first, mark.next));
        (*from, *to) = (mark.first.min(*from), mark.next.max(*to));
    }

    /// Whether some trade of a batch is left out.
    pub(super) fn leaves_out_of(&self, mark: &Mark) -> bool {
        let spot = |offset| (mark.partition, offset, 0);
        self.quarantined.range(spot(mark.first)..spot(mark.next)).next().is_some()
    }

    pub(super) fn leaves_out(&self, spot: Spot) -> bool {
        self.quarantined.contains(&spot)
    }

    /// Whether a batch is to be taken trade by trade.
    pub(super) fn watches(&self, mark: &Mark) -> bool {
        self.watched.get(&mark.partition).is_some_and(|&(from, to)| mark.first < to && from < mark.next)
    }

    /// Notes that everything of a partition up to an offset was taken.
    pub(super) fn passed(&mut self, partition: i32, next: i64) {
        if self.watched.get(&partition).is_some_and(|&(_, to)| next >= to) {
            self.watched.remove(&partition);
        }
    }

    /// The trades that a checkpoint must name: those that its vector has not passed.
    pub(super) fn quarantined_after(&self, vector: &[(i32, i64)]) -> Vec<Spot> {
        let ahead = |&&(partition, offset, _): &&Spot| {
            vector.iter().any(|&(known, next)| known == partition && offset >= next)
        };
        self.quarantined.iter().filter(ahead).copied().collect()
    }

    /// Forgets trades that no reader brings again, since a stored checkpoint has passed them.
    pub(super) fn forget_before(&mut self, vector: &[(i32, i64)]) {
        self.quarantined = self.quarantined_after(vector).into_iter().collect();
    }
}

impl Cell {
    /// Leaves a row of a batch out from now on, since it has killed the plugin.
    pub(super) fn quarantine(&mut self, shard: u32, routed: &Routed, row: usize) -> Quarantined {
        let reason = self.recovery.fault.as_ref().map_or("", |fault| &fault.reason);
        let quarantined = Quarantined::new(self.running.name(), shard, routed, row, reason);
        self.recovery.quarantine(quarantined.spot());
        quarantined
    }

    /// Gives the instance up; the others and the stream go on.
    pub(super) fn fail(&mut self, error: PluginError, tokens: &mut Tokens) {
        tracing::warn!(
            plugin = self.running.name(), stage = %error.stage, row = error.row, reason = %error.reason,
            "Plugin failed"
        );
        // They are put back with its checkpoint, or removed as leftovers where nothing brings them again.
        drop(self.release(tokens));
        self.lag = None;
        self.moved = None;
        self.giving = false;
        self.job = Job::default();
        self.recovery.fail(error);
    }

    /// Counts a failure and decides when the plugin is restored; one that has not just failed is left.
    pub(super) fn plan_recovery(&mut self, metrics: &Metrics, now: Now) {
        if self.recovery.condition != Condition::Failed {
            return;
        }
        self.recovery.plan(now.monotonic_ms);
        if let Some(fault) = &self.recovery.fault {
            metrics.plugin_events.failed(self.running.name(), fault.stage);
        }
        if let Some(fault) = self.recovery.suspended_by() {
            tracing::error!(
                plugin = self.running.name(), stage = %fault.stage, reason = %fault.reason,
                "Plugin goes on failing and is suspended"
            );
        }
    }

    /// Puts the cell back to a checkpoint, or to nothing where there is none. Its instance must be new, or
    /// gone.
    pub(super) fn restore(&mut self, saved: Option<Saved>, tokens: &mut Tokens) {
        if let Err(error) = self.renew() {
            return self.fail(error, tokens);
        }
        self.clock.rewind(saved.as_ref().filter(|saved| saved.pages.is_some()).map(|saved| &saved.head));
        let Some(Saved { head, pages, moved }) = saved else {
            return;
        };
        if self.sight == Sight::Visible {
            self.sight = Sight::Withheld;
        }
        self.job.restored(&head);
        let Some(pages) = pages else {
            return;
        };
        match self.import(head.state_version, &pages, tokens) {
            Ok(()) => {
                self.moved = moved;
                self.recovery.quarantined.extend(&head.quarantined);
            }
            // State that the plugin refuses is left: it begins with nothing and reads the horizon again.
            Err(refused) if refused.stage == Stage::Import => {
                tracing::warn!(plugin = self.running.name(), reason = %refused.reason, "State refused; begins with nothing");
                drop(self.release(tokens));
                self.moved = None;
                self.clock.rewind(None);
                if let Err(error) = self.renew() {
                    self.fail(error, tokens);
                }
            }
            Err(error) => self.fail(error, tokens),
        }
    }

    /// Makes an instance where there is none.
    fn renew(&mut self) -> Result<(), PluginError> {
        if self.instance.is_none() {
            self.instance = Some(self.running.plugin.instantiate(&self.running.configuration)?.0);
            self.first_taken_ms = None;
            self.due = Due::default();
        }
        self.recovery.condition = Condition::Sound;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Progress;
    use super::*;

    fn fault() -> PluginError {
        PluginError::new("p", Stage::Process, "died")
    }

    fn mark(first: i64, next: i64) -> Mark {
        Mark { partition: 3, first, next, newest_ms: None, progress: Progress::Live }
    }

    #[test]
    fn a_failure_that_a_trade_explains_is_restored_at_once_and_others_after_growing_pauses() {
        let mut recovery = Recovery::default();
        let mut pause = |explained: bool| {
            recovery.fail(fault());
            if explained {
                recovery.quarantine((3, 7, 0));
            }
            recovery.plan(100_000);
            match recovery.condition {
                Condition::Pausing(until_ms) => Some(until_ms - 100_000),
                _ => None,
            }
        };
        assert_eq!([pause(false), pause(false), pause(false)], [Some(0), Some(100), Some(200)]);
        assert_eq!(pause(true), Some(0));
        assert_eq!([pause(false), pause(false)], [Some(100), Some(200)]);
        assert_eq!([pause(false), pause(false), pause(false)], [Some(400), Some(800), Some(1_600)]);
        assert_eq!(pause(false), None);
        assert_eq!(recovery.condition, Condition::Suspended);
    }

    #[test]
    fn a_batch_is_watched_until_it_was_passed() {
        let mut recovery = Recovery::default();
        recovery.watch(&mark(10, 20));
        assert!(recovery.watches(&mark(19, 25)) && recovery.watches(&mark(0, 11)));
        assert!(!recovery.watches(&mark(20, 25)) && !recovery.watches(&mark(0, 10)));
        recovery.passed(3, 15);
        assert!(recovery.watches(&mark(15, 20)));
        recovery.passed(3, 20);
        assert!(!recovery.watches(&mark(15, 20)));
    }

    #[test]
    fn a_checkpoint_names_the_quarantined_trades_that_it_has_not_passed() {
        let mut recovery = Recovery::default();
        for offset in [5, 8] {
            recovery.quarantine((3, offset, 1));
        }
        assert!(recovery.leaves_out_of(&mark(0, 6)) && !recovery.leaves_out_of(&mark(6, 8)));
        assert_eq!(recovery.quarantined_after(&[(3, 6)]), [(3, 8, 1)]);
        recovery.forget_before(&[(3, 6)]);
        assert!(recovery.leaves_out((3, 8, 1)) && !recovery.leaves_out((3, 5, 1)));
    }
}
