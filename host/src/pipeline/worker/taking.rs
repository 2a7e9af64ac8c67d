//! From a lane to the shards: a worker decodes a batch, takes its own shards' parts and hands the others'
//! over.
//!
//! Not for flushing. Invariant: nothing new is taken while something that was taken is parked.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::TrySendError;

use super::super::batch::{Feed, Fetch, Mark, Progress, SourceMarks};
use super::super::board::PartitionStatus;
use super::super::parcel;
use super::super::route::{Routed, route};
use super::{Event, Worker};
use crate::config::Partitioning;
use crate::traces::{self, Span};

impl Worker {
    pub(super) fn may_take(&mut self) -> bool {
        let letters = self.hand_letters_on() && !self.shared.rejections.are_congested();
        letters && self.taking && self.parked.is_empty()
    }

    /// Hands on dead letters that found no room; says whether none is left.
    pub(super) fn hand_letters_on(&mut self) -> bool {
        self.shared.rejections.hand_on(&mut self.letters)
    }

    /// Takes one batch from the next lane that has one and may be read; false where there is none.
    pub(super) fn take_next(&mut self) -> bool {
        for turn in 0..self.lanes.len() {
            let index = (self.next_lane + turn) % self.lanes.len();
            let lane = &self.lanes[index];
            let admitted = self.shared.front(lane.feed).admits(lane.partition);
            if !admitted && self.emptying.is_none() {
                continue;
            }
            if let Some(fetch) = lane.take() {
                self.next_lane = index + 1;
                self.process(index, fetch);
                return true;
            }
        }
        false
    }

    /// Tells who waits for it that the lanes are empty, once they are and what was taken is handed over.
    pub(super) fn answer_empty(&mut self) {
        let left = self.lanes.iter().any(|lane| !lane.is_empty());
        if left || !self.parked.is_empty() || !self.letters.is_empty() {
            return;
        }
        if let Some(done) = self.emptying.take() {
            for lane in self.lanes.drain(..) {
                self.shared.front(lane.feed).leave(lane.partition);
            }
            done.send(()).ok();
        }
    }

    /// Decodes a batch, sorts it by shard, takes our own part and hands the rest over.
    fn process(&mut self, lane: usize, fetch: Fetch) {
        let taken_at = self.shared.clock.monotonic();
        let wall_ms = self.shared.clock.now_ms();
        let sources = self.decode(lane, &fetch, wall_ms);
        let mark = self.mark(lane, &fetch);
        let feed = self.lanes[lane].feed;
        if feed == Feed::Live {
            self.shared.tap.trades(&self.rows);
        }
        let replayed = fetch.next <= self.lanes[lane].decoded;
        if feed == Feed::Live && !replayed {
            let rejected = std::mem::take(&mut self.rejected);
            self.shared.rejections.reject(fetch.partition, &*fetch.records, rejected, &mut self.letters);
            if sources.is_none() {
                self.shared.metrics.messages.inc_by(fetch.records.len() as u64);
            }
        }
        let mut routed =
            route(&self.rows, &self.shared.layout, (mark, feed), fetch.records, replayed, taken_at);
        routed.sources = sources;
        let routed = Arc::new(routed);
        if self.shared.layout.shuffles() {
            for peer in (0..self.peers.len()).filter(|&peer| peer != self.index) {
                self.parked.push_back((peer, Arc::clone(&routed)));
            }
            self.unpark();
        }
        self.take(&routed);
    }

    /// Fills the rows and rejections of a batch; gives what it tells of the source, where the feed is
    /// repartitioned: the messages were decoded before, then.
    fn decode(&mut self, lane: usize, fetch: &Fetch, wall_ms: i64) -> Option<SourceMarks> {
        self.rows.clear();
        self.rejected.clear();
        let optional = self.shared.tap.columns(self.shared.optional());
        if self.shared.layout.partitioning == Partitioning::Repartition {
            let lane = &self.lanes[lane];
            let settled = lane.feed == Feed::Live && lane.progress != Progress::Behind;
            return Some(parcel::open(fetch, settled, optional, &mut self.rows, &mut self.rejected));
        }
        self.decoder.set_optional(optional);
        for index in 0..fetch.records.len() {
            let record = fetch.records.get(index);
            let (rows, rejected) = (&mut self.rows, &mut self.rejected);
            self.decoder.decode(record.payload, index as u32, record.timestamp_ms, wall_ms, rows, rejected);
        }
        None
    }

    fn mark(&mut self, lane: usize, fetch: &Fetch) -> Mark {
        let lane = &mut self.lanes[lane];
        lane.progress = fetch.progress;
        lane.newest_ms = lane.newest_ms.max(self.rows.latest_ms);
        self.shared.front(lane.feed).note(fetch.partition, lane.newest_ms, fetch.progress);
        let newest_ms = lane.newest_ms;
        if lane.feed == Feed::Live {
            self.shared.board.partition(fetch.partition, |status| status.newest_ms = newest_ms);
        }
        Mark {
            partition: fetch.partition,
            first: fetch.first,
            next: fetch.next,
            newest_ms,
            progress: fetch.progress,
        }
    }

    /// Hands parked batches over, in their order, as far as their inboxes have room.
    pub(super) fn unpark(&mut self) {
        let mut waiting = VecDeque::new();
        while let Some((peer, routed)) = self.parked.pop_front() {
            let full = waiting.iter().any(|&(other, _)| other == peer);
            if full {
                waiting.push_back((peer, routed));
            } else if let Err(TrySendError::Full(Event::Batch(routed))) =
                self.peers[peer].inbox.try_send(Event::Batch(routed))
            {
                waiting.push_back((peer, routed));
            }
        }
        self.parked = waiting;
        if self.parked.is_empty() {
            for done in self.stopping.take().into_iter().chain(self.settling.drain(..)) {
                done.send(()).ok();
            }
        }
    }

    /// Takes our shards' parts of a batch.
    pub(super) fn take(&mut self, routed: &Routed) {
        let now = self.now();
        let period = self.shared.throughput.period();
        let mut late = Vec::new();
        let (mut trades, mut new_tokens) = (0, 0);
        for owned in self.shards.values_mut() {
            if !self.shared.layout.feeds(routed.mark.partition, owned.shard.id) {
                continue;
            }
            let share = routed.shares.iter().find(|share| share.shard == owned.shard.id);
            let taken = owned.shard.take(routed, share, now, period, &mut late);
            owned.trials.iter_mut().for_each(|trial| trial.took(now.monotonic_ms));
            trades += taken.trades;
            new_tokens += taken.new_in_period;
            for quarantined in taken.quarantined {
                self.shared.metrics.plugin_events.quarantined(&quarantined.plugin);
                self.shared.quarantine.keep(quarantined);
            }
        }
        if routed.feed == Feed::CatchUp {
            return;
        }
        if !late.is_empty() && !routed.replayed {
            let partition = routed.mark.partition;
            self.shared.rejections.reject(partition, &*routed.records, late, &mut self.letters);
        }
        match routed.replayed {
            true => self.shared.metrics.replayed.inc_by(trades),
            false => self.shared.metrics.trades.inc_by(trades),
        }
        self.shared.throughput.add(trades, new_tokens);
        if routed.finish() && routed.mark.next > routed.mark.first {
            let next = routed.mark.next;
            let decoded = |status: &mut PartitionStatus| status.decoded = status.decoded.max(next);
            self.shared.board.partition(routed.mark.partition, decoded);
            let took = self.shared.clock.monotonic() - routed.taken_at;
            self.shared.metrics.batch(took);
            let (partition, first, messages) =
                (routed.mark.partition, routed.mark.first, routed.records.len());
            traces::record(|| {
                let span = Span::of_batch("process", partition, first, took).number("first", first);
                span.number("partition", partition.into()).number("messages", messages as i64)
            });
            self.shared.throughput.finish(took);
        }
    }
}
