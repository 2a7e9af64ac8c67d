//! An instance is made anew, since memory that a plugin once took it never gives back: a new one beside it
//! takes its state over and then its place.
//!
//! State travels page by page between batches, and what counts as changed by that is drained, as in a swap; both
//! take every batch meanwhile. When the former cell has handed all its rows over, the two are equal and the new one takes
//! the place; what it may still have counts as changed and is written once more. Not for another version of a plugin. Invariant:
//! until then the former cell goes on as if there was no other; no checkpoint of it is taken meanwhile.

use super::carry::{self, Carried, Draining};
use super::cell::{Cell, CellId, Sight};
use super::cell_clock::Now;
use super::comparison::Moment;
use super::rounds::Rounds;
use super::shard::Shard;
use crate::clock::WallClock;
use crate::config::ClockMode;

/// A cell that is being made anew.
#[derive(Debug)]
pub(super) struct Renewal {
    former: CellId,
    new: CellId,
    /// How far its state has been carried, while it is.
    carry: Option<Rounds>,
    /// How far the new one has given the rows that nobody needs, and whether that is enough.
    draining: Draining,
    drained: bool,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to do at once.
    Busy,
    /// The next flush of the shard decides.
    Waiting,
    /// The former cell stays as it is.
    Ended,
}

impl Renewal {
    /// Begins to make a cell anew; none where that cannot be done now.
    pub(super) fn begin(shard: &mut Shard, former: CellId, clock: ClockMode) -> Option<Self> {
        let cell = shard.cells.iter_mut().find(|cell| cell.id == former)?;
        let able = cell.is_active() && cell.settled && cell.lag.is_none() && cell.sight == Sight::Visible;
        if !able || cell.giving || cell.moved.is_some() || cell.job.is_under_way() {
            return None;
        }
        let instance = match cell.running.plugin.instantiate(&cell.running.configuration) {
            Ok((instance, _)) => instance,
            Err(error) => {
                tracing::warn!(shard = shard.id, %error, "Instance not made anew");
                return None;
            }
        };
        cell.giving = true;
        let mut new = Cell::beside(&cell.running, instance, clock);
        new.begin_like(cell);
        let id = new.id;
        shard.add(new, None);
        Some(Self {
            former,
            new: id,
            carry: Some(carry::begin()),
            draining: Draining::default(),
            drained: false,
        })
    }

    fn places(&self, shard: &Shard) -> Option<[usize; 2]> {
        let place = |id: CellId| {
            let at = shard.cells.iter().position(|cell| cell.id == id)?;
            let cell = &shard.cells[at];
            (cell.is_active() && cell.lag.is_none()).then_some(at)
        };
        Some([place(self.former)?, place(self.new)?])
    }

    /// Goes one step on, between two batches.
    pub(super) fn step(&mut self, shard: &mut Shard, clock: &WallClock, now: Now) -> Step {
        let Some([former, new]) = self.places(shard) else {
            self.abandon(shard);
            return Step::Ended;
        };
        let Some(carry) = &mut self.carry else {
            return match self.drained {
                true => Step::Waiting,
                false => self.drain(shard, new, clock, now),
            };
        };
        let Ok([from, to]) = shard.cells.get_disjoint_mut([former, new]) else {
            return Step::Ended;
        };
        match carry::step(carry, from, to, &mut shard.tokens) {
            Carried::More => Step::Busy,
            Carried::InStep => {
                self.carry = None;
                Step::Busy
            }
            Carried::Lost => {
                self.abandon(shard);
                Step::Ended
            }
            Carried::Refused(error) => {
                tracing::warn!(shard = shard.id, %error, "Instance not made anew: it does not take its own state");
                self.abandon(shard);
                Step::Ended
            }
        }
    }

    /// Has the new cell give some of the rows that nobody needs.
    fn drain(&mut self, shard: &mut Shard, new: usize, clock: &WallClock, now: Now) -> Step {
        let Shard { cells, tokens, gone, .. } = shard;
        match self.draining.step(&mut cells[new], tokens, gone, clock, now) {
            Some(enough) => {
                self.drained = enough;
                Step::Busy
            }
            None => Step::Waiting,
        }
    }

    /// Where the former cell has handed over all its rows at this moment, the new one takes its place. Says whether it
    /// has.
    pub(super) fn finish(&mut self, shard: &mut Shard, now: Now) -> bool {
        let Some([former, new]) = self.places(shard).filter(|_| self.carry.is_none() && self.drained) else {
            return false;
        };
        let clock_ms = shard.cells[former].clock.advance(now);
        let at = clock_ms.map(|clock_ms| Moment { clock_ms, batches: shard.batches });
        if at.is_none() || shard.cells[former].handed.as_ref().map(|handed| handed.moment) != at {
            return false;
        }
        shard.cells.swap(former, new);
        let Ok([to, from]) = shard.cells.get_disjoint_mut([former, new]) else {
            return false;
        };
        to.take_place_of(from);
        shard.remove(new);
        true
    }

    /// Drops the new cell; the former one goes on.
    pub(super) fn abandon(&mut self, shard: &mut Shard) {
        if let Some(former) = shard.cells.iter_mut().find(|cell| cell.id == self.former) {
            former.giving = false;
        }
        if let Some(new) = shard.cells.iter().position(|cell| cell.id == self.new) {
            shard.remove(new);
        }
    }
}

impl Cell {
    /// Takes everything over from a cell of the same plugin that has given its state away.
    fn take_place_of(&mut self, former: &mut Self) {
        self.apart = false;
        self.settled = true;
        self.sight = former.sight;
        self.job = std::mem::take(&mut former.job).handed_over();
        self.recovery = std::mem::take(&mut former.recovery);
        self.written = std::mem::take(&mut former.written);
        self.note_lean();
    }
}
