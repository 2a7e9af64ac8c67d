//! A shard with its writer: flushing, checkpoints, and what the writer tells.
//!
//! Not for deciding which shards are owned. Invariant: nothing is flushed or saved before the shard's
//! checkpoints are in its cells.

use std::sync::Arc;
use std::time::Duration;

use super::super::Shared;
use super::super::board::CheckpointStatus;
use super::super::cell::{Cell, CellId, Sight};
use super::super::cell_clock::Now;
use super::super::checkpoint::{self, Circumstances, Saved};
use super::super::flush::{self, Left};
use super::super::load::{Wanted, WantedCell};
use super::super::shard::Shard;
use super::super::writer::{Loaded, News, Outgoing, WriterHandle};
use super::keeping::Renewals;
use super::trying::Trying;
use crate::traces::{self, Span};

/// A shard with its writer.
pub(super) struct Owned {
    pub(super) shard: Shard,
    pub(super) writer: WriterHandle,
    pub(super) task: tokio::task::JoinHandle<()>,
    /// Its checkpoints, or the news that there are none, are in its cells.
    pub(super) ready: bool,
    /// Its rows are asked for.
    pub(super) due: bool,
    /// What the last flush left.
    pub(super) left: Left,
    /// Its part in what is tried.
    pub(super) trials: Vec<Trying>,
    /// Instances that are made anew.
    pub(super) renewals: Option<Renewals>,
    /// The version of the changes that this shard has joined.
    changes_version: u64,
    /// Another process owns the shard.
    lost: bool,
}

impl Owned {
    pub(super) fn new(shard: Shard, (writer, task): (WriterHandle, tokio::task::JoinHandle<()>)) -> Self {
        Self {
            shard,
            writer,
            task,
            ready: false,
            due: false,
            left: Left::Nothing,
            trials: Vec::new(),
            renewals: None,
            changes_version: 0,
            lost: false,
        }
    }

    /// Acts on what the writer tells; says whether the shard has become ready by it.
    pub(super) fn hear(&mut self, shared: &Shared, now: Now) -> bool {
        let News { loaded, committed, reloaded, lineage, lost } = self.writer.news();
        self.lost = lost;
        if lineage != self.shard.lineage {
            self.shard.lineage = lineage;
            self.start_over();
        } else {
            for cell in committed {
                self.committed(cell, shared, now);
            }
        }
        for (cell, saved) in reloaded {
            self.put_back(cell, saved, shared, now);
        }
        let Some(loaded) = loaded else {
            return false;
        };
        self.restore(loaded, shared, now);
        self.join(shared);
        self.trials.iter_mut().for_each(|trial| trial.begin_backfill(&mut self.shard, shared, now));
        true
    }

    /// Puts checkpoints into the cells, and sets when their own first ones are due: spread evenly.
    fn restore(&mut self, loaded: Loaded, shared: &Shared, now: Now) {
        let cells = self.shard.cells.len() as u64;
        let interval_ms = shared.checkpoint_interval.map_or(0, |interval| interval.as_millis() as u64);
        for cell in self.shard.cells.iter_mut().filter(|cell| cell.sight == Sight::Visible) {
            // What the former owner has shown may be newer than what this one starts from.
            cell.sight = if loaded.had_owner { Sight::Withheld } else { Sight::Visible };
        }
        for (index, (cell, saved)) in self.shard.cells.iter_mut().zip(loaded.cells).enumerate() {
            if saved.is_some() {
                cell.restore(saved, &mut self.shard.tokens);
            }
            let turn = u64::from(self.shard.id) * cells + index as u64;
            let turns = (u64::from(shared.layout.shards) * cells).max(1);
            cell.job.schedule(now.monotonic_ms + interval_ms * (turn % turns + 1) / turns);
        }
        self.ready = true;
    }

    /// Joins what is tried, and goes one step on with it; says whether that has cost time.
    pub(super) fn try_on(&mut self, shared: &Shared, now: Now) -> bool {
        if self.renewals.is_some() {
            // What is tried begins, or goes on, behind it.
            return self.renew(shared, now);
        }
        self.join(shared);
        let mut trials = std::mem::take(&mut self.trials);
        let began = shared.clock.monotonic();
        let stepped = trials.iter_mut().any(|trial| trial.step(&mut self.shard, shared, now));
        if stepped {
            shared.metrics.plugin_events.swap_step(shared.clock.monotonic() - began);
        }
        self.trials = trials;
        stepped
    }

    fn join(&mut self, shared: &Shared) {
        let changes = &shared.changes;
        let version = changes.version();
        if std::mem::replace(&mut self.changes_version, version) == version {
            return;
        }
        let trials = changes.trials();
        self.trials.retain(|own| trials.iter().any(|trial| Arc::ptr_eq(trial, &own.trial)));
        for trial in trials {
            if !self.trials.iter().any(|own| Arc::ptr_eq(&trial, &own.trial)) {
                self.trials.push(Trying::new(trial, self.shard.id));
            }
        }
        for name in changes.leaving() {
            while let Some(place) = self.shard.cells.iter().position(|cell| cell.running.name() == name) {
                self.shard.remove(place);
            }
            shared.metrics.plugins.drop_cell(&name, self.shard.id);
        }
    }

    /// Restores cells whose plugins have failed, as their time comes.
    pub(super) fn recover(&mut self, shared: &Shared, now: Now) {
        for index in 0..self.shard.cells.len() {
            let cell = &mut self.shard.cells[index];
            if !cell.settled {
                continue;
            }
            cell.plan_recovery(&shared.metrics, now);
            if !cell.recovery.is_due(now.monotonic_ms) {
                continue;
            }
            let id = cell.id;
            match wanted(shared, std::slice::from_ref(cell)) {
                None => self.put_back(id, None, shared, now),
                Some(wanted) if self.writer.has_room() => {
                    cell.recovery.fetching();
                    self.writer.send(Outgoing::Reload { cell: id, wanted });
                }
                Some(_) => {}
            }
        }
    }

    /// Puts a cell back to a checkpoint, from where it catches up.
    fn put_back(&mut self, id: CellId, saved: Option<Saved>, shared: &Shared, now: Now) {
        let Some(cell) = self.shard.cells.iter_mut().find(|cell| cell.id == id) else {
            return;
        };
        if cell.sight == Sight::Visible {
            cell.sight = Sight::Withheld;
        }
        cell.restore(saved, &mut self.shard.tokens);
        self.shard.catch_up(id, &shared.demands, now);
    }

    /// The store has forgotten: everything is written again.
    fn start_over(&mut self) {
        self.left = Left::Nothing;
        for cell in &mut self.shard.cells {
            let parting = cell.job.start_over();
            cell.keep_parting(parting);
            cell.touch_all(&mut self.shard.tokens);
        }
    }

    fn committed(&mut self, id: CellId, shared: &Shared, now: Now) {
        let Some(cell) = self.shard.cells.iter_mut().find(|cell| cell.id == id) else {
            return;
        };
        let Some((taken, generation, parting)) =
            circumstances(self.shard.id, shared, now, |now| cell.job.stored(now)).flatten()
        else {
            return;
        };
        cell.recovery.forget_before(cell.job.stored_vector());
        cell.trim(generation, &mut self.shard.tokens);
        cell.part(parting, &mut self.shard.tokens);
        shared.metrics.checkpoint(taken.bytes, taken.took_ms);
        traces::record(|| {
            let span = Span::ended("checkpoint", Duration::from_millis(taken.took_ms));
            let span = span.number("shard", self.shard.id.into()).number("bytes", taken.bytes as i64);
            span.text("plugin", cell.running.name())
        });
        let status = CheckpointStatus {
            shard: self.shard.id,
            plugin: cell.running.name().into(),
            at_ms: now.wall_ms,
            bytes: taken.bytes,
            took_ms: taken.took_ms,
            whole: taken.whole,
        };
        shared.board.checkpoint(status, now.monotonic_ms);
    }

    /// Whether its rows are asked for, or it has some that the last flush left and room for them.
    pub(super) fn wants_flush(&self) -> bool {
        self.due || (self.left != Left::Nothing && self.writer.has_room())
    }

    /// Whether a step of a checkpoint is due.
    pub(super) fn wants_saving(&self, now: Now) -> bool {
        self.ready && self.shard.cells.iter().any(|cell| saves(cell) && cell.job.is_due(now.monotonic_ms))
    }

    /// Hands changed rows to the writer, from where the last flush ended, until some time by the monotonic clock; says
    /// whether none are left.
    pub(super) fn flush(&mut self, shared: &Shared, now: Now, until: Duration) -> bool {
        let (trials, writer) = (&mut self.trials, &self.writer);
        self.left = flush::flush(&mut self.shard, trials, writer, shared, now, until, self.left);
        self.finish_renewal(shared, now);
        self.left == Left::Nothing
    }

    /// Takes a step of the first checkpoint that is due, if the writer has room for it.
    pub(super) fn checkpoint(&mut self, shared: &Shared, now: Now) {
        if self.writer.owes_removals() {
            // A start from this checkpoint would not know the tokens, and never take them off the list.
            return;
        }
        for index in 0..self.shard.cells.len() {
            let cell = &self.shard.cells[index];
            if !saves(cell) || !cell.job.is_due(now.monotonic_ms) || !self.writer.has_room() {
                continue;
            }
            let (cell, tokens) = (&mut self.shard.cells[index], &mut self.shard.tokens);
            let began = shared.clock.monotonic();
            let step = |now: &Circumstances<'_>| checkpoint::step(cell, tokens, now);
            let piece = circumstances(self.shard.id, shared, now, step).flatten();
            shared.metrics.checkpoint_step(shared.clock.monotonic() - began);
            checkpoint::bound_removals(&mut self.shard.cells[index], &mut self.shard.tokens, shared.bounds);
            if let Some(piece) = piece {
                let cell = self.shard.cells[index].id;
                let lineage = self.shard.lineage;
                self.writer.send(Outgoing::Checkpoint { cell, lineage, piece });
            }
        }
    }

    /// Has a last checkpoint taken of every cell at once.
    pub(super) fn hurry(&mut self) {
        for cell in &mut self.shard.cells {
            cell.job.schedule(0);
        }
    }

    /// Whether every cell has handed over what it has to show after all that was taken; one without a clock has
    /// nothing.
    fn has_handed_over(&self) -> bool {
        let handed = |cell: &Cell| {
            let batches = cell.handed.as_ref().map(|handed| handed.moment.batches);
            cell.clock.now_ms().is_none() || batches == Some(self.shard.batches)
        };
        self.left == Left::Nothing && self.shard.cells.iter().filter(|cell| !cell.apart).all(handed)
    }

    /// Whether dead letters of its partitions are on their way.
    pub(super) fn awaits_letters(&self, shared: &Shared) -> bool {
        let partitions = self.shard.cells.iter().flat_map(|cell| cell.clock.vector());
        !self.lost && partitions.into_iter().any(|(id, _)| shared.rejections.first_undelivered(id).is_some())
    }

    /// Whether all that was counted is stored: in rows and, where they are taken, in checkpoints. What
    /// another process owns is not ours to store, and what is still put together from a former layout is there.
    pub(super) fn is_stored(&self, shared: &Shared) -> bool {
        let decoded = shared.decoded();
        let saved = |cell: &Cell| {
            let saves = cell.is_active() && cell.clock.is_known() && cell.moved.is_none();
            !saves || (!cell.job.is_under_way() && cell.job.covers(cell, &decoded))
        };
        let saves = shared.checkpoint_interval.is_some();
        self.lost
            || !self.ready
            || self.has_handed_over()
                && self.writer.is_idle()
                && (!saves || self.shard.cells.iter().filter(|cell| cell.settled).all(saved))
    }
}

/// Whether checkpoints of a cell are taken.
fn saves(cell: &Cell) -> bool {
    cell.settled && !cell.giving && cell.moved.is_none()
}

/// Which checkpoints these cells start from; none where checkpoints are off.
pub(super) fn wanted(shared: &Shared, cells: &[Cell]) -> Option<Wanted> {
    shared.checkpoint_interval?;
    let cell = |cell: &Cell| WantedCell {
        plugin: cell.running.name().into(),
        horizon_ms: cell.running.settings.horizon_ms,
        step_ms: cell.running.settings.step_ms,
    };
    Some(Wanted::of(shared, cells.iter().map(cell).collect()))
}

/// Calls with what a checkpoint must know; none where checkpoints are off.
fn circumstances<R>(
    shard: u32,
    shared: &Shared,
    now: Now,
    call: impl FnOnce(&Circumstances<'_>) -> R,
) -> Option<R> {
    let decoded = || shared.decoded();
    Some(call(&Circumstances {
        shard,
        interval: shared.checkpoint_interval?,
        now_ms: now.monotonic_ms,
        wall_ms: now.wall_ms,
        decoded: &decoded,
        layout: &shared.layout_name,
        ground: &shared.ground(),
        bounds: shared.bounds,
    }))
}
