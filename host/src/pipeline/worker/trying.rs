//! A shard's part in a trial: the new cell, from its making to its end.
//!
//! Not for setting goals. Invariant: for each plugin one cell of the shard is settled, that is saved and put
//! back when it fails, and at most one is shown; a new cell that fails before it is settled goes, and the
//! former one is shown as it stands.

use std::sync::Arc;

use super::super::Shared;
use super::super::carry::{self, Carried, Draining};
use super::super::cell::{Cell, CellId, Sight};
use super::super::cell_clock::Now;
use super::super::checkpoint::Job;
use super::super::comparison::{Comparison, Moment, Waiting};
use super::super::rounds::Rounds;
use super::super::shard::Shard;
use super::super::trial::{Goal, Origin, Stage, Trial};
use crate::plugin::{self, PluginError};
use crate::store::Chunk;

/// How much is exported to see that it can be, in bytes.
const ONE_PAGE: u32 = 4_096;

/// A shard's part in one trial.
pub(in super::super) struct Trying {
    pub(super) trial: Arc<Trial>,
    stage: Stage,
    /// The new cell.
    new: Option<CellId>,
    /// How far its state has been carried, while it is.
    carry: Option<Rounds>,
    /// How far it has given the rows that nobody needs.
    draining: Draining,
    /// Rows that wait to be compared.
    waiting: Waiting,
    pauses: Pauses,
}

/// How long the shard went without a batch meanwhile.
#[derive(Default)]
struct Pauses {
    /// When it took the last one.
    last_ms: Option<u64>,
    /// The new cell was shown since then.
    switched: bool,
    longest_ms: u64,
    /// Between the last batch before the new cell was shown and the first one after it.
    switch_ms: u64,
}

impl Trying {
    pub(super) fn new(trial: Arc<Trial>, shard: u32) -> Self {
        trial.report(shard, Stage::Preparing);
        let (waiting, pauses) = (Waiting::default(), Pauses::default());
        Self {
            trial,
            stage: Stage::Preparing,
            new: None,
            carry: None,
            draining: Draining::default(),
            waiting,
            pauses,
        }
    }

    /// Notes that the shard has taken a batch.
    pub(super) fn took(&mut self, now_ms: u64) {
        let pauses = &mut self.pauses;
        let pause_ms = now_ms.saturating_sub(pauses.last_ms.replace(now_ms).unwrap_or(now_ms));
        pauses.longest_ms = pauses.longest_ms.max(pause_ms);
        if std::mem::take(&mut pauses.switched) {
            pauses.switch_ms = pause_ms;
        }
    }

    /// Whether there is nothing left to do.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Accepted | Stage::Abandoned)
    }

    /// Goes one step towards the goal; says whether that has cost time.
    pub(super) fn step(&mut self, shard: &mut Shard, shared: &Shared, now: Now) -> bool {
        if self.is_over() {
            return false;
        }
        if self.has_failed(shard) || self.trial.goal() == Goal::Abandon {
            self.abandon(shard);
            return true;
        }
        match (self.stage, self.trial.goal()) {
            (Stage::Preparing, _) => self.prepare(shard, shared, now),
            (Stage::InStep, Goal::Show | Goal::Accept) => {
                self.show(shard, shared);
                true
            }
            (Stage::Shown, Goal::Accept) => self.accept(shard, shared),
            _ => false,
        }
    }

    fn reach(&mut self, shard: u32, stage: Stage) {
        self.stage = stage;
        let Pauses { longest_ms, switch_ms, .. } = self.pauses;
        self.trial.change(|reports| {
            reports.longest_pause_ms = reports.longest_pause_ms.max(longest_ms);
            reports.switch_pause_ms = reports.switch_pause_ms.max(switch_ms);
        });
        self.trial.report(shard, stage);
    }

    /// The place of the settled cell of the plugin, where there is one.
    fn former(&self, shard: &Shard) -> Option<usize> {
        let name = self.trial.running.name();
        shard.cells.iter().position(|cell| cell.running.name() == name && Some(cell.id) != self.new)
    }

    fn place(&self, shard: &Shard) -> Option<usize> {
        shard.cells.iter().position(|cell| Some(cell.id) == self.new)
    }

    /// Notes that the new cell has failed before it was settled; says whether that sends the shard back. After the seal
    /// a shown cell is settled all the same, and put back like any other that fails.
    fn has_failed(&self, shard: &Shard) -> bool {
        let Some(cell) = self.place(shard).map(|place| &shard.cells[place]) else {
            return false;
        };
        let fault = cell.recovery.fault().filter(|_| !cell.settled && !cell.is_active());
        fault.is_some_and(|fault| self.trial.fail(shard.id, fault.clone()) || self.stage < Stage::Shown)
    }

    fn prepare(&mut self, shard: &mut Shard, shared: &Shared, now: Now) -> bool {
        if self.new.is_none() {
            return self.make(shard, shared, now);
        }
        let Some(new) = self.place(shard) else {
            return false;
        };
        match &mut self.carry {
            Some(_) => self.carry_on(shard, new),
            None if shard.cells[new].apart => self.drain(shard, new, shared, now),
            None if shard.cells[new].lag.is_none() => {
                self.keep_up(shard, new);
                true
            }
            None => false,
        }
    }

    /// The new cell takes every batch from now on. One whose state cannot be saved never comes so far: it would be
    /// found out only when nothing else is left.
    fn keep_up(&mut self, shard: &mut Shard, new: usize) {
        let cell = &mut shard.cells[new];
        let Some(page) = cell.export(0, 0, ONE_PAGE, &mut shard.tokens) else {
            return;
        };
        if page.generation > 0 {
            return self.reach(shard.id, Stage::InStep);
        }
        let words = "export-state gives generation 0; the first one is 1";
        self.trial.fail(shard.id, PluginError::new(self.trial.running.name(), plugin::Stage::Export, words));
        self.abandon(shard);
    }

    /// Makes the cell of a plugin that begins with nothing, in a shard that has just been opened: who is about to say
    /// from where the shard reads has to know of it.
    pub(super) fn begin_backfill(&mut self, shard: &mut Shard, shared: &Shared, now: Now) {
        let begins = self.stage == Stage::Preparing && self.trial.goal() != Goal::Abandon;
        if begins && self.new.is_none() && self.trial.origin == Origin::Backfill {
            self.make(shard, shared, now);
        }
    }

    /// Gives up a carrying of state that is under way: the shard goes, and its next life begins anew.
    pub(super) fn end_carry(&mut self, shard: &mut Shard) {
        if self.carry.take().is_some() {
            if let Some(former) = self.former(shard) {
                shard.cells[former].giving = false;
            }
            self.drop_new(shard);
        }
    }

    /// Makes the new cell.
    fn make(&mut self, shard: &mut Shard, shared: &Shared, now: Now) -> bool {
        let behind = self.former(shard);
        let former = behind.map(|place| &mut shard.cells[place]);
        // One that was given up has no state to give: the new one reads the trades again.
        let gives = |former: &&mut Cell| {
            self.trial.origin == Origin::Carried && former.recovery.suspended_by().is_none()
        };
        if let Some(former) = former.filter(gives) {
            // What is carried must be whole, and of one generation.
            if !former.is_active()
                || former.lag.is_some()
                || former.moved.is_some()
                || former.job.is_under_way()
            {
                return false;
            }
            former.giving = true;
            self.carry = Some(carry::begin());
        }
        let made = self.trial.instance();
        let instance = match made {
            Ok(instance) => instance,
            Err(error) => {
                self.trial.fail(shard.id, error);
                self.abandon(shard);
                return true;
            }
        };
        let mut cell = Cell::beside(&self.trial.running, instance, shared.rules.clock);
        if let Some(former) = behind.filter(|_| self.carry.is_some()) {
            cell.begin_like(&shard.cells[former]);
        }
        let id = cell.id;
        self.new = Some(id);
        shard.add(cell, behind);
        if self.carry.is_none() {
            self.trial.change(|reports| reports.reads_horizon = true);
            shard.begin_with_nothing(id, &shared.demands, now);
        }
        true
    }

    fn carry_on(&mut self, shard: &mut Shard, new: usize) -> bool {
        let Some(former) = self.former(shard) else {
            return false;
        };
        let Some(carry) = &mut self.carry else {
            return false;
        };
        let Ok([from, to]) = shard.cells.get_disjoint_mut([former, new]) else {
            return false;
        };
        match carry::step(carry, from, to, &mut shard.tokens) {
            Carried::More => {}
            Carried::InStep => {
                let bytes = carry.bytes;
                from.giving = false;
                self.carry = None;
                self.trial.change(|reports| reports.carried_bytes += bytes);
            }
            Carried::Lost => self.begin_again(shard),
            Carried::Refused(error) => {
                self.trial.fail(shard.id, error);
                self.abandon(shard);
            }
        }
        true
    }

    /// The former cell has failed while it gave: it is put back, and everything begins anew.
    fn begin_again(&mut self, shard: &mut Shard) {
        self.drop_new(shard);
        self.carry = None;
    }

    /// Has the new cell give what was imported, once: what changes meanwhile is for the flush.
    fn drain(&mut self, shard: &mut Shard, new: usize, shared: &Shared, now: Now) -> bool {
        let Shard { cells, tokens, gone, .. } = shard;
        let cell = &mut cells[new];
        let more = self.draining.step(cell, tokens, gone, &shared.clock, now) == Some(false);
        if more || !cell.is_active() {
            return true;
        }
        cell.apart = false;
        if self.trial.compares {
            // Not all that has changed has changed in both cells: let both give all rows.
            cell.touch_all(tokens);
            if let Some(former) = self.former(shard) {
                shard.cells[former].touch_all(&mut shard.tokens);
            }
        }
        self.keep_up(shard, new);
        true
    }

    /// Shows the new cell in the place of the former one.
    fn show(&mut self, shard: &mut Shard, shared: &Shared) {
        let Some(new) = self.place(shard) else {
            return;
        };
        let former = self.former(shard).map(|place| &mut shard.cells[place]);
        // One that reads the backlog of a shard that was just opened waits for its end like any other there.
        let alone = if shared.withholds() { Sight::Withheld } else { Sight::Visible };
        let sight = former.map_or(alone, |cell| std::mem::replace(&mut cell.sight, Sight::Hidden));
        let cell = &mut shard.cells[new];
        cell.sight = sight;
        cell.touch_all(&mut shard.tokens);
        self.pauses.switched = true;
        self.reach(shard.id, Stage::Shown);
    }

    /// Has the new cell saved, then lets the former one go.
    fn accept(&mut self, shard: &mut Shard, shared: &Shared) -> bool {
        let Some(new) = self.place(shard) else {
            return false;
        };
        let former = self.former(shard);
        if !shard.cells[new].settled {
            let job = match former.map(|place| &mut shard.cells[place]) {
                Some(former) if former.job.is_under_way() => return false,
                Some(former) => {
                    former.settled = false;
                    std::mem::take(&mut former.job).handed_over()
                }
                None => Job::default(),
            };
            let cell = &mut shard.cells[new];
            (cell.settled, cell.job) = (true, job);
            return true;
        }
        // One that was given up is never saved; it is replaced like any other that was.
        let saves =
            shared.checkpoint_interval.is_some() && shard.cells[new].recovery.suspended_by().is_none();
        if saves && !shard.cells[new].job.has_stored() {
            return false;
        }
        if let Some(former) = former {
            shard.remove(former);
        }
        self.reach(shard.id, Stage::Accepted);
        true
    }

    /// Drops the new cell, and shows the former one if it was hidden.
    fn abandon(&mut self, shard: &mut Shard) {
        let shown = self.place(shard).map(|place| shard.cells[place].sight);
        if let Some(former) = self.former(shard) {
            let cell = &mut shard.cells[former];
            cell.giving = false;
            cell.settled = true;
            if let Some(sight) = shown.filter(|sight| *sight != Sight::Hidden) {
                // One that has to catch up first is not shown before.
                cell.sight = if cell.lag.is_some() || !cell.is_active() { Sight::Withheld } else { sight };
                cell.touch_all(&mut shard.tokens);
            }
        }
        self.drop_new(shard);
        self.reach(shard.id, Stage::Abandoned);
    }

    fn drop_new(&mut self, shard: &mut Shard) {
        if let Some(new) = self.place(shard) {
            shard.remove(new);
        }
        self.new = None;
        self.draining = Draining::default();
    }

    /// Whether the rows of a cell are compared, and if so whether they are those of the new one.
    pub(in super::super) fn compares(&self, cell: &Cell) -> Option<bool> {
        let compares = self.trial.compares && self.stage == Stage::InStep;
        let of_plugin = compares && cell.running.name() == self.trial.running.name();
        of_plugin.then_some(Some(cell.id) == self.new)
    }

    /// Compares rows of one of the two cells.
    pub(in super::super) fn compare(&mut self, cell: &Cell, chunk: &Chunk, moment: Moment) {
        let Some(new) = self.compares(cell) else {
            return;
        };
        let mut found = Comparison::default();
        for (row, value) in chunk.values() {
            self.waiting.take(new, moment, &row.token, value, &mut found);
        }
        self.trial.change(|reports| reports.comparison.add(found));
    }

    /// Notes that all rows of a cell were given at this moment.
    pub(in super::super) fn flushed(&mut self, cell: &Cell, moment: Moment) {
        if self.compares(cell) == Some(true) {
            let mut found = Comparison::default();
            self.waiting.give_up_before(moment, &mut found);
            if found.unmatched_rows > 0 {
                self.trial.change(|reports| reports.comparison.add(found));
            }
        }
    }
}
