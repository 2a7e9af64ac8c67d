//! A worker: the thread that owns shards for good and decodes the partitions given to it.
//!
//! Trades for another worker's shard cross that worker's bounded inbox. Invariant: a worker never
//! blocks in a send: where another's inbox is full it parks the batch, takes nothing new from its
//! lanes, and goes on serving its own inbox and flushes; so two full inboxes cannot wait for each
//! other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, TrySendError};

use super::Shared;
use super::batch::{Fetch, Mark};
use super::cell::Sight;
use super::cell_clock::Now;
use super::flush::{Flushed, flush};
use super::lane::Lane;
use super::rejections::DeadLetter;
use super::route::{Routed, route};
use super::shard::Shard;
use super::status::{self, TokenStatus};
use super::writer::{self, WriterHandle};
use crate::health::Part;
use crate::trade::{Decoder, Rejected, Rows};

/// The longest time a worker sleeps, so that it is seen to be alive.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// How soon a worker looks again when a lane waits for another partition, or a dead letter for room.
const RETRY_WAIT: Duration = Duration::from_millis(1);
/// How many events are served before the timers are looked at again.
const EVENTS_AT_ONCE: usize = 16;

/// What a worker is told.
pub enum Event {
    /// A partition is assigned; the lane is given to the worker that decodes it, the others only
    /// learn that its marks will come.
    Assign {
        /// The partition.
        partition: i32,
        /// The first offset that will be read.
        next: i64,
        /// Where its batches come from.
        lane: Option<Lane>,
    },
    /// A partition goes: finish it, write its results, and answer.
    Revoke {
        /// The partition.
        partition: i32,
        /// Answered when its results are with the store, or given up.
        done: Sender<()>,
    },
    /// A partition cannot be fetched, or can again.
    Absent {
        /// The partition.
        partition: i32,
        /// Whether it is left out of the clocks.
        absent: bool,
    },
    /// A batch that another worker decoded.
    Batch(Arc<Routed>),
    /// Something outside the inbox may have changed: a lane, the writer's room.
    Wake,
    /// The store has forgotten results of a shard.
    Rewrite {
        /// The shard.
        shard: u32,
    },
    /// Somebody asks for the busiest tokens.
    Tokens {
        /// How many at most.
        limit: usize,
        /// Their order.
        sort: status::Sort,
        /// Where the answer goes.
        reply: Sender<Vec<TokenStatus>>,
    },
    /// Take nothing more from the lanes; answer when nothing is parked.
    StopTaking(Sender<()>),
    /// Everything has been handed over: write what is left and end.
    Finish,
}

/// Where a worker's events are sent.
#[derive(Clone)]
pub struct WorkerHandle {
    inbox: Sender<Event>,
}

impl WorkerHandle {
    /// A handle of the worker that reads the other end.
    pub fn new(inbox: Sender<Event>) -> Self {
        Self { inbox }
    }

    /// Makes the worker look around. A full inbox keeps it awake anyway.
    pub fn wake(&self) {
        drop(self.inbox.try_send(Event::Wake));
    }

    /// Sends an event; waits for room. Not for workers. A worker that has ended takes nothing.
    pub fn send(&self, event: Event) {
        drop(self.inbox.send(event));
    }

    /// Sends an event from a task.
    pub async fn post(&self, mut event: Event) {
        while let Err(TrySendError::Full(back)) = self.inbox.try_send(event) {
            event = back;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A shard with its writer.
struct Owned {
    shard: Shard,
    writer: WriterHandle,
    task: tokio::task::JoinHandle<()>,
    /// The last flush left rows behind.
    more: bool,
}

/// The state of the thread.
pub(super) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    inbox: Receiver<Event>,
    /// All workers' inboxes by index; our own is not used.
    peers: Vec<WorkerHandle>,
    shards: BTreeMap<u32, Owned>,
    lanes: Vec<Lane>,
    /// Where the round over the lanes goes on.
    next_lane: usize,
    decoder: Decoder,
    rows: Rows,
    rejected: Vec<Rejected>,
    /// Batches that a peer's inbox had no room for.
    parked: VecDeque<(usize, Arc<Routed>)>,
    /// Dead letters that their queue had no room for.
    letters: VecDeque<DeadLetter>,
    next_flush: Instant,
    stopping: Option<Sender<()>>,
    taking: bool,
}

impl Worker {
    /// Makes a worker; its shards come with [`Worker::run`].
    pub(super) fn new(
        index: usize,
        shared: Arc<Shared>,
        inbox: Receiver<Event>,
        peers: Vec<WorkerHandle>,
    ) -> Self {
        let decoder = Decoder::new(shared.limits, shared.optional);
        Self {
            index,
            shared,
            inbox,
            peers,
            shards: BTreeMap::new(),
            lanes: Vec::new(),
            next_lane: 0,
            decoder,
            rows: Rows::new(),
            rejected: Vec::new(),
            parked: VecDeque::new(),
            letters: VecDeque::new(),
            next_flush: Instant::now(),
            stopping: None,
            taking: true,
        }
    }

    /// Serves events, lanes and flushes until told to finish.
    pub(super) fn run(mut self) {
        if self.shared.layout.shuffles() {
            let (layout, index) = (self.shared.layout, self.index);
            (0..layout.shards)
                .filter(|&shard| layout.worker(shard) == index)
                .for_each(|shard| self.open(shard));
        }
        loop {
            self.shared.health.beat(self.index, self.shared.clock.monotonic_ms());
            for _ in 0..EVENTS_AT_ONCE {
                match self.inbox.try_recv() {
                    Ok(Event::Finish) => return self.finish(),
                    Ok(event) => self.serve(event),
                    Err(_) => break,
                }
            }
            self.unpark();
            self.flush_due();
            let busy = self.may_take() && self.take_next();
            if !busy {
                self.wait();
            }
        }
    }

    fn now(&self) -> Now {
        Now { wall_ms: self.shared.clock.now_ms(), monotonic_ms: self.shared.clock.monotonic_ms() }
    }

    fn serve(&mut self, event: Event) {
        match event {
            Event::Assign { partition, next, lane } => self.assign(partition, next, lane),
            Event::Revoke { partition, done } => self.revoke(partition, &done),
            Event::Absent { partition, absent } => {
                for cell in self.shards.values_mut().flat_map(|owned| &mut owned.shard.cells) {
                    cell.clock.set_absent(partition, absent);
                }
            }
            Event::Batch(routed) => self.take(&routed),
            Event::Rewrite { shard } => self.rewrite(shard),
            Event::Tokens { limit, sort, reply } => {
                let shards = self.shards.values().map(|owned| &owned.shard);
                drop(reply.send(status::tokens(shards, limit, sort)));
            }
            Event::StopTaking(done) => {
                self.taking = false;
                self.stopping = Some(done);
            }
            Event::Wake | Event::Finish => {}
        }
    }

    /// Opens a shard with empty cells.
    fn open(&mut self, id: u32) {
        let shared = &self.shared;
        match Shard::new(id, &shared.plugins, shared.rules.clock, Sight::Visible) {
            Ok(shard) => {
                let handle = self.peers[self.index].clone();
                let (writer, task) = writer::start(id, Arc::clone(&shared.writing), handle, &shared.runtime);
                self.shards.insert(id, Owned { shard, writer, task, more: false });
            }
            Err(error) => {
                tracing::error!(shard = id, %error, "Shard cannot be opened");
                shared.health.fail(Part::Plugins, &format!("shard {id}"), &error.to_string());
            }
        }
    }

    fn assign(&mut self, partition: i32, next: i64, lane: Option<Lane>) {
        if !self.shared.layout.shuffles() {
            self.open(self.shared.layout.shard(0, partition));
        }
        for owned in self.shards.values_mut().filter(|owned| feeds(&self.shared, partition, owned.shard.id)) {
            for cell in &mut owned.shard.cells {
                cell.clock.assign(partition, next);
            }
        }
        self.lanes.extend(lane);
    }

    fn revoke(&mut self, partition: i32, done: &Sender<()>) {
        self.lanes.retain(|lane| lane.partition != partition);
        self.shared.front.leave(partition);
        if self.shared.layout.shuffles() {
            for cell in self.shards.values_mut().flat_map(|owned| &mut owned.shard.cells) {
                cell.clock.revoke(partition);
            }
        } else if let Some(owned) = self.shards.remove(&self.shared.layout.shard(0, partition)) {
            self.close(owned, self.shared.revoke_deadline);
        }
        done.send(()).ok();
    }

    /// Writes what a shard has left and waits for its writer, within a deadline.
    fn close(&mut self, mut owned: Owned, deadline: Duration) {
        let until = Instant::now() + deadline;
        while flush(&mut owned.shard, &owned.writer, &self.shared, self.now()) == Flushed::More
            || !owned.writer.is_idle()
        {
            if Instant::now() >= until {
                tracing::warn!(shard = owned.shard.id, "Results not written in time; given up");
                owned.task.abort();
                break;
            }
            std::thread::sleep(RETRY_WAIT);
        }
        drop(owned.writer);
        let remaining = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
        let ended = self.shared.runtime.block_on(async { tokio::time::timeout(remaining, owned.task).await });
        if !matches!(ended, Ok(Ok(()))) {
            self.shared.unwritten.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        self.shared.board.drop_shard(owned.shard.id);
        self.shared.metrics.plugins.drop_shard(owned.shard.id);
    }

    fn rewrite(&mut self, shard: u32) {
        if let Some(owned) = self.shards.get_mut(&shard) {
            for cell in &mut owned.shard.cells {
                cell.touch_all(&mut owned.shard.tokens);
            }
        }
    }

    fn may_take(&mut self) -> bool {
        while let Some(letter) = self.letters.pop_front() {
            if let Some(letter) = self.shared.rejections.hand_on(letter) {
                self.letters.push_front(letter);
                break;
            }
        }
        self.taking && self.parked.is_empty() && self.letters.is_empty()
    }

    /// Takes one batch from the next lane that has one and may be read; false where there is none.
    fn take_next(&mut self) -> bool {
        for turn in 0..self.lanes.len() {
            let index = (self.next_lane + turn) % self.lanes.len();
            let lane = &self.lanes[index];
            if !self.shared.front.admits(lane.partition) {
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

    /// Decodes a batch, sorts it by shard, takes our own part and hands the rest over.
    fn process(&mut self, lane: usize, fetch: Fetch) {
        let taken_at = Instant::now();
        let wall_ms = self.shared.clock.now_ms();
        self.rows.clear();
        self.rejected.clear();
        for index in 0..fetch.records.len() {
            let record = fetch.records.get(index);
            self.decoder.decode(
                record.payload,
                index as u32,
                record.timestamp_ms,
                wall_ms,
                &mut self.rows,
                &mut self.rejected,
            );
        }
        let mark = self.mark(lane, &fetch);
        if !self.rejected.is_empty() {
            let mut rejected = std::mem::take(&mut self.rejected);
            self.shared.rejections.reject(fetch.partition, &*fetch.records, &mut rejected, &mut self.letters);
            self.rejected = rejected;
        }
        self.shared.metrics.messages.inc_by(fetch.records.len() as u64);
        let routed = Arc::new(route(&self.rows, &self.shared.layout, mark, fetch.records, taken_at));
        if self.shared.layout.shuffles() {
            for peer in (0..self.peers.len()).filter(|&peer| peer != self.index) {
                self.parked.push_back((peer, Arc::clone(&routed)));
            }
            self.unpark();
        }
        self.take(&routed);
    }

    fn mark(&mut self, lane: usize, fetch: &Fetch) -> Mark {
        let lane = &mut self.lanes[lane];
        lane.newest_ms = lane.newest_ms.max(self.rows.latest_ms);
        self.shared.front.note(fetch.partition, lane.newest_ms, fetch.progress);
        let newest_ms = lane.newest_ms;
        self.shared.board.partition(fetch.partition, |status| status.newest_ms = newest_ms);
        Mark {
            partition: fetch.partition,
            first: fetch.first,
            next: fetch.next,
            newest_ms,
            progress: fetch.progress,
        }
    }

    /// Hands parked batches over, in their order, as far as their inboxes have room.
    fn unpark(&mut self) {
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
        if self.parked.is_empty()
            && let Some(done) = self.stopping.take()
        {
            done.send(()).ok();
        }
    }

    /// Takes our shards' parts of a batch.
    fn take(&mut self, routed: &Routed) {
        let now = self.now();
        let period = self.shared.throughput.period();
        let mut late = Vec::new();
        let (mut trades, mut new_tokens) = (0, 0);
        for owned in self.shards.values_mut() {
            if !feeds(&self.shared, routed.mark.partition, owned.shard.id) {
                continue;
            }
            let share = routed.shares.iter().find(|share| share.shard == owned.shard.id);
            let taken = owned.shard.take(routed, share, now, period, &mut late);
            trades += taken.trades;
            new_tokens += taken.new_in_period;
        }
        if !late.is_empty() {
            let partition = routed.mark.partition;
            self.shared.rejections.reject(partition, &*routed.records, &mut late, &mut self.letters);
        }
        self.shared.metrics.trades.inc_by(trades);
        self.shared.throughput.add(trades, new_tokens);
        if routed.finish() && routed.mark.next > routed.mark.first {
            let took = routed.taken_at.elapsed();
            self.shared.metrics.batch(took);
            self.shared.throughput.finish(took, now.monotonic_ms);
        }
    }

    fn flush_due(&mut self) {
        let due = Instant::now() >= self.next_flush;
        if due {
            // By the interval, not by now: what a batch took must not stretch every round.
            let interval = self.shared.tuning.flush_interval();
            self.next_flush = (self.next_flush + interval).max(Instant::now());
        }
        let now = self.now();
        for owned in self.shards.values_mut() {
            let room_for_rest = owned.more && owned.writer.has_room();
            if !due && !room_for_rest {
                continue;
            }
            let began = Instant::now();
            owned.more = flush(&mut owned.shard, &owned.writer, &self.shared, now) == Flushed::More;
            self.shared.metrics.flush(began.elapsed());
            if due {
                status::post(&self.shared, self.index, &owned.shard);
            }
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self) {
        let lanes_wait = self.taking && self.lanes.iter().any(|lane| !lane.is_empty());
        let until_flush = self.next_flush.saturating_duration_since(Instant::now());
        let mut timeout = until_flush.min(LONGEST_WAIT);
        if lanes_wait || !self.letters.is_empty() {
            timeout = timeout.min(RETRY_WAIT);
        }
        let mut select = Select::new();
        select.recv(&self.inbox);
        for (peer, _) in &self.parked {
            select.send(&self.peers[*peer].inbox);
        }
        // Which of them is ready is found out by the next round.
        select.ready_timeout(timeout).ok();
    }

    fn finish(mut self) {
        let deadline = self.shared.revoke_deadline;
        for owned in std::mem::take(&mut self.shards).into_values() {
            self.close(owned, deadline);
        }
    }
}

/// Whether a partition feeds a shard.
fn feeds(shared: &Shared, partition: i32, shard: u32) -> bool {
    shared.layout.shuffles() || shared.layout.shard(0, partition) == shard
}
