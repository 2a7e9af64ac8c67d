//! A shard's part in maintenance.
//!
//! Not for deciding what is done when. Invariant: an answer that is dropped says that nothing was done; one
//! instance of a shard is made anew at a time, and not while a version of a plugin is tried in it.

use std::collections::VecDeque;

use crossbeam_channel::Sender;

use super::super::Shared;
use super::super::cell::CellId;
use super::super::cell_clock::Now;
use super::super::flush::Left;
use super::super::renewal::{Renewal, Step};
use super::super::upkeep::{Growth, Upkeep};
use super::Worker;
use super::owned::Owned;
use crate::store::REMOVED_AT_ONCE;
use crate::trade::Rows;

/// Instances of a shard that are made anew, one after the other.
pub(super) struct Renewals {
    waiting: VecDeque<CellId>,
    current: Option<Renewal>,
    /// How many were made.
    made: usize,
    reply: Sender<usize>,
}

impl Worker {
    /// Does what maintenance asks of a shard. One that is not ours, or not ready, does nothing.
    pub(super) fn keep(&mut self, shard: u32, upkeep: Upkeep) {
        let now = self.now();
        if let Upkeep::Compact { .. } = upkeep {
            self.rows = Rows::new();
        }
        if let Some(owned) = self.shards.get_mut(&shard).filter(|owned| owned.ready) {
            owned.keep(upkeep, &self.shared, now);
        }
    }
}

impl Owned {
    fn keep(&mut self, upkeep: Upkeep, shared: &Shared, now: Now) {
        match upkeep {
            // With rows that wait for the store, everything is overdue.
            Upkeep::Look { .. } if self.left != Left::Nothing => {}
            Upkeep::Look { look, reply } => {
                reply.send(self.shard.look(&look, shared, now)).ok();
            }
            Upkeep::Unheld { tokens, own, reply } => {
                reply.send(self.remove_unheld(tokens, own, now)).ok();
            }
            // Without room, with a later round.
            Upkeep::Sweep { pieces, reply } if self.writer.has_room() => {
                let count = pieces.len();
                self.writer.sweep(self.shard.id, pieces);
                reply.send(count).ok();
            }
            Upkeep::Sweep { .. } => {}
            Upkeep::Measure { reply } => {
                reply.send(self.shard.visible_memory_bytes()).ok();
            }
            Upkeep::Renew { growth, reply } => self.begin_renewals(growth, reply),
            Upkeep::Ages { reply } => {
                reply.send(self.shard.ages()).ok();
            }
            Upkeep::Evict { eviction, reply } => {
                let (evicted, gone) = self.shard.evict(&eviction, shared);
                shared.metrics.maintenance.evicted.inc_by(evicted.tokens as u64);
                self.writer.owe_evicted(gone);
                reply.send(evicted).ok();
            }
            Upkeep::Compact { reply } => {
                self.shard.compact();
                reply.send(()).ok();
            }
        }
    }

    /// Has tokens removed from the store that no cell holds; without room, with a later round.
    fn remove_unheld(&self, tokens: Vec<String>, own: bool, now: Now) -> usize {
        let mut unheld = self.shard.unheld(tokens, now);
        unheld.truncate(REMOVED_AT_ONCE);
        let count = unheld.len();
        if count == 0 || !self.writer.has_room() {
            return 0;
        }
        self.writer.remove(&self.shard, unheld, !own);
        count
    }

    fn begin_renewals(&mut self, growth: Growth, reply: Sender<usize>) {
        if self.renewals.is_some() || !self.trials.is_empty() {
            return;
        }
        let grown = self.shard.cells.iter().filter(|cell| cell.has_grown(growth));
        let waiting = grown.map(|cell| cell.id).collect();
        self.renewals = Some(Renewals { waiting, current: None, made: 0, reply });
    }

    /// Goes one step on with an instance that is made anew; says whether that has cost time.
    pub(super) fn renew(&mut self, shared: &Shared, now: Now) -> bool {
        let Some(renewals) = &mut self.renewals else {
            return false;
        };
        let Some(renewal) = &mut renewals.current else {
            return self.begin_next(shared);
        };
        match renewal.step(&mut self.shard, &shared.clock, now) {
            Step::Busy => true,
            Step::Waiting => false,
            Step::Ended => {
                renewals.current = None;
                true
            }
        }
    }

    fn begin_next(&mut self, shared: &Shared) -> bool {
        let Some(renewals) = &mut self.renewals else {
            return false;
        };
        let Some(&next) = renewals.waiting.front() else {
            renewals.reply.send(renewals.made).ok();
            self.renewals = None;
            return false;
        };
        let mut cells = self.shard.cells.iter();
        if cells.any(|cell| cell.id == next && cell.job.is_under_way()) {
            // When its checkpoint is stored.
            return false;
        }
        renewals.waiting.pop_front();
        renewals.current = Renewal::begin(&mut self.shard, next, shared.rules.clock);
        true
    }

    /// After a flush: a new instance may take the place of one that has handed all its rows over.
    pub(super) fn finish_renewal(&mut self, shared: &Shared, now: Now) {
        if let Some(renewals) = &mut self.renewals
            && let Some(renewal) = &mut renewals.current
            && renewal.finish(&mut self.shard, now)
        {
            renewals.current = None;
            renewals.made += 1;
            shared.metrics.maintenance.recreated.inc();
        }
    }

    /// Gives up what is being made anew and what is being carried: a cell that gives its state is not saved.
    pub(super) fn end_carrying(&mut self) {
        self.trials.iter_mut().for_each(|trial| trial.end_carry(&mut self.shard));
        if let Some(Renewals { current: Some(mut renewal), .. }) = self.renewals.take() {
            renewal.abandon(&mut self.shard);
        }
    }
}
