//! Which shards and partitions a worker has: opening, assigning, giving back, dropping.
//!
//! Not for the trades. Invariant: a shard that is given back is stored, or said to be given up; one
//! that another process owns is dropped as it is.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::super::batch::Feed;
use super::super::cell::Sight;
use super::super::lane::Lane;
use super::super::load::Wanted;
use super::super::route::Layout;
use super::super::shard::Shard;
use super::super::writer;
use super::closing::Closing;
use super::owned::{Owned, wanted};
use super::{Assignment, CellStart, Resume, Waiting, Worker};
use crate::health::{Part, shard_topic};

impl Worker {
    /// Opens our shards that these partitions feed, and answers when all are ready.
    pub(super) fn open(&mut self, partitions: &[i32], reply: Sender<Resume>) {
        let layout = self.shared.layout;
        let shards: Vec<u32> = match layout.shuffles() {
            true => (0..layout.shards).filter(|&shard| layout.worker(shard) == self.index).collect(),
            false => {
                let ours = partitions.iter().filter(|&&partition| layout.decoder(partition) == self.index);
                ours.map(|&partition| Layout::of_partition(partition)).collect()
            }
        };
        for &shard in &shards {
            if !self.shards.contains_key(&shard) {
                self.open_shard(shard);
            }
        }
        self.waiting.push(Waiting { shards, reply });
        self.answer();
    }

    fn open_shard(&mut self, id: u32) {
        // Its former life ends here: what was not stored by now is read again.
        for closing in self.closing.extract_if(.., |closing| closing.shard == id) {
            closing.give_up();
        }
        let shared = &self.shared;
        let sight = if shared.withholds() { Sight::Withheld } else { Sight::Visible };
        // Whoever conducts a change waits for this shard, too; so before it is asked what runs.
        shared.board.open_shard(id);
        let shard = Shard::new(id, &shared.changes.running(), shared.rules.clock, sight);
        let wanted = wanted(shared, &shard.cells).unwrap_or_else(|| Wanted::nothing(shared));
        let handle = self.peers[self.index].clone();
        let clock = Arc::clone(&shared.clock);
        let writer = writer::start(id, Arc::clone(&shared.writing), clock, handle, &shared.runtime, wanted);
        self.shards.insert(id, Owned::new(shard, writer));
    }

    /// Hears what the writers tell, and answers those who waited for it.
    pub(super) fn hear(&mut self) {
        let now = self.now();
        let mut became_ready = false;
        for owned in self.shards.values_mut() {
            became_ready |= owned.hear(&self.shared, now);
        }
        if became_ready {
            self.answer();
        }
    }

    /// Answers those whose shards are all ready. A shard that was given back meanwhile holds nobody.
    fn answer(&mut self) {
        let shards = &self.shards;
        let ready = |waiting: &Waiting| {
            waiting.shards.iter().all(|shard| shards.get(shard).is_none_or(|owned| owned.ready))
        };
        let (answered, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(ready);
        self.waiting = waiting;
        for one in answered {
            let mut resume = Resume::default();
            for owned in one.shards.iter().filter_map(|shard| self.shards.get(shard)) {
                let fed_by = self.shared.layout.fed_by(owned.shard.id);
                for cell in owned.shard.cells.iter().filter(|cell| cell.is_active() && !cell.apart) {
                    resume.cells.push(CellStart { fed_by, vector: cell.clock.resumes() });
                    for (&partition, &decoded) in cell.job.decoded() {
                        let known = resume.decoded.entry(partition).or_insert(decoded);
                        *known = decoded.max(*known);
                    }
                }
            }
            one.reply.send(resume).ok();
        }
    }

    pub(super) fn assign(&mut self, assignment: Assignment) {
        let Assignment { partition, next, end, lane } = assignment;
        let now = self.now();
        for owned in
            self.shards.values_mut().filter(|owned| self.shared.layout.feeds(partition, owned.shard.id))
        {
            owned.shard.assign(partition, next, end, now);
        }
        self.lanes.extend(lane);
    }

    /// Takes over the lane of a catch-up, in the place of an earlier one of the same partition.
    pub(super) fn catch_up(&mut self, lane: Lane) {
        self.end_catch_up(lane.partition);
        self.shared.front(Feed::CatchUp).assign(lane.partition);
        self.lanes.push(lane);
    }

    /// Ends the catch-up of a partition.
    pub(super) fn end_catch_up(&mut self, partition: i32) {
        self.lanes.retain(|lane| lane.partition != partition || lane.feed != Feed::CatchUp);
        self.shared.front(Feed::CatchUp).leave(partition);
    }

    /// Closes a partition, which is a shard here: where each host reads all of them, none is ever revoked.
    pub(super) fn revoke(&mut self, partition: i32, done: Sender<()>) {
        self.lanes.retain(|lane| lane.partition != partition);
        for feed in [Feed::Live, Feed::CatchUp] {
            self.shared.front(feed).leave(partition);
        }
        match self.shards.remove(&Layout::of_partition(partition)) {
            Some(owned) => self.close(owned, Some(done)),
            None => drop(done.send(())),
        }
    }

    /// Drops everything: another process owns it.
    pub(super) fn drop_all(&mut self, done: &Sender<()>) {
        for lane in self.lanes.drain(..) {
            self.shared.front(lane.feed).leave(lane.partition);
        }
        self.parked.clear();
        self.waiting.clear();
        (self.emptying, self.retiring) = (None, None);
        for closing in std::mem::take(&mut self.closing) {
            self.forget_shard(closing.shard);
            closing.give_up();
        }
        for owned in std::mem::take(&mut self.shards).into_values() {
            owned.task.abort();
            self.forget_shard(owned.shard.id);
        }
        done.send(()).ok();
    }

    /// Lets all shards go when they are stored. What they have taken is nowhere to be read again.
    pub(super) fn retire(&mut self, done: Sender<()>) {
        self.waiting.clear();
        for mut owned in std::mem::take(&mut self.shards).into_values() {
            owned.end_carrying();
            self.closing.push(Closing::new(owned, Duration::MAX, None));
        }
        self.retiring = Some(done);
    }

    /// Begins to give a shard back: what it has left is stored first, within a deadline.
    pub(super) fn close(&mut self, mut owned: Owned, done: Option<Sender<()>>) {
        owned.end_carrying();
        let until = self.shared.clock.monotonic() + self.shared.revoke_deadline;
        self.closing.push(Closing::new(owned, until, done));
    }

    /// Goes on with the shards that are being given back.
    pub(super) fn go_on_closing(&mut self) {
        let now = self.now();
        for mut closing in std::mem::take(&mut self.closing) {
            if closing.go_on(&self.shared, now) {
                self.forget_shard(closing.shard);
            } else {
                self.closing.push(closing);
            }
        }
        if let Some(done) = self.retiring.take_if(|_| self.closing.is_empty()) {
            done.send(()).ok();
        }
    }

    fn forget_shard(&self, shard: u32) {
        self.shared.board.drop_shard(shard);
        self.shared.metrics.plugins.drop_shard(shard);
        self.shared.health.clear(Part::Plugins, &shard_topic(shard));
        for trial in self.shared.changes.trials() {
            trial.drop_shard(shard);
        }
    }
}
