//! A worker: the thread that owns shards for good and decodes the partitions given to it.
//!
//! Trades for another worker's shard cross that worker's bounded inbox. Invariant: a worker never
//! blocks in a send: where another's inbox is full it parks the batch, takes nothing new from its
//! lanes, and goes on serving its own inbox and flushes; so two full inboxes cannot wait for each
//! other.

mod closing;
mod owned;
mod owning;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender, TrySendError};

use super::Shared;
use super::batch::{Fetch, Mark};
use super::board::PartitionStatus;
use super::cell_clock::Now;
use super::lane::Lane;
use super::rejections::DeadLetter;
use super::route::{Routed, route};
use super::status::{self, TokenStatus};
use crate::trade::{Decoder, Rejected, Rows};
use closing::Closing;
use owned::Owned;

/// The longest time a worker sleeps, so that it is seen to be alive.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// How soon a worker looks again when a lane waits for another partition, or a dead letter for room.
const RETRY_WAIT: Duration = Duration::from_millis(1);
/// How long dead letters may take to find room at the end.
const LETTERS_WITHIN: Duration = Duration::from_secs(1);
/// How many events are served before the timers are looked at again.
const EVENTS_AT_ONCE: usize = 16;

/// Where a cell starts.
#[derive(Debug, Clone, Default)]
pub struct CellStart {
    /// The only partition that feeds it; none: all do.
    pub fed_by: Option<i32>,
    /// Its vector; none when it starts with nothing.
    pub vector: Option<BTreeMap<i32, i64>>,
}

/// Where the cells of a worker start.
#[derive(Debug, Default)]
pub struct Resume {
    /// Each cell.
    pub cells: Vec<CellStart>,
    /// How far each partition was decoded, counted and judged.
    pub decoded: BTreeMap<i32, i64>,
}

/// A partition that will be read, for the worker that decodes it.
pub struct Assignment {
    /// The partition.
    pub partition: i32,
    /// The first offset that will be read.
    pub next: i64,
    /// Offsets that were saved before mean nothing any more: the topic is another one.
    pub reset: bool,
    /// Where its batches come from; none for those who only learn that its marks will come.
    pub lane: Option<Lane>,
}

/// What a worker is told.
pub enum Event {
    /// Own the shards that these partitions feed, and say where their cells start.
    Open {
        /// The partitions.
        partitions: Vec<i32>,
        /// Answered when every checkpoint is in its cell.
        reply: Sender<Resume>,
    },
    /// A partition is assigned.
    Assign(Assignment),
    /// Another process owns what was ours: drop all shards as they are, and answer.
    Drop {
        /// Answered when they are gone.
        done: Sender<()>,
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
    /// The store seems to have forgotten what it accepted of these shards.
    Probe(Vec<u32>),
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
        self.offer(Event::Wake);
    }

    /// Sends an event that may be lost where the inbox is full, since it is repeated.
    pub fn offer(&self, event: Event) {
        drop(self.inbox.try_send(event));
    }

    /// Sends an event; waits for room. Not for workers. A worker that has ended takes nothing.
    pub fn send(&self, event: Event) {
        drop(self.inbox.send(event));
    }
}

/// Somebody who waits until shards are open.
struct Waiting {
    shards: Vec<u32>,
    reply: Sender<Resume>,
}

/// What a round of a worker came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There may be more to do at once.
    Busy,
    /// Nothing to do until an event comes, or this time has passed.
    Idle(Duration),
    /// It was told to finish, and has.
    Ended,
}

/// The state of a worker's thread.
pub struct Worker {
    index: usize,
    shared: Arc<Shared>,
    inbox: Receiver<Event>,
    /// All workers' inboxes by index; our own is not used.
    peers: Vec<WorkerHandle>,
    shards: BTreeMap<u32, Owned>,
    waiting: Vec<Waiting>,
    /// Shards that are being given back.
    closing: Vec<Closing>,
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
    /// When rows are asked for next, by the monotonic clock.
    next_flush: Duration,
    stopping: Option<Sender<()>>,
    taking: bool,
    /// Everything has been handed over.
    finishing: bool,
    /// When dead letters without room are given up; none before the last shard is closed.
    letters_until: Option<Duration>,
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
        let next_flush = shared.clock.monotonic();
        Self {
            index,
            shared,
            inbox,
            peers,
            shards: BTreeMap::new(),
            waiting: Vec::new(),
            closing: Vec::new(),
            lanes: Vec::new(),
            next_lane: 0,
            decoder,
            rows: Rows::new(),
            rejected: Vec::new(),
            parked: VecDeque::new(),
            letters: VecDeque::new(),
            next_flush,
            stopping: None,
            taking: true,
            finishing: false,
            letters_until: None,
        }
    }

    /// Serves events, lanes and flushes until told to finish.
    pub(super) fn run(mut self) {
        loop {
            match self.step() {
                Step::Busy => {}
                Step::Idle(timeout) => self.wait(timeout),
                Step::Ended => return,
            }
        }
    }

    /// Goes round once, without waiting for anything.
    pub fn step(&mut self) -> Step {
        self.shared.health.beat(self.index, self.shared.clock.monotonic_ms());
        for _ in 0..EVENTS_AT_ONCE {
            match self.inbox.try_recv() {
                Ok(event) => self.serve(event),
                Err(_) => break,
            }
        }
        self.unpark();
        self.hear();
        self.go_on_closing();
        self.flush_due();
        if self.finishing && self.has_finished() {
            return Step::Ended;
        }
        match self.may_take() && self.take_next() {
            true => Step::Busy,
            false => Step::Idle(self.idle_for()),
        }
    }

    fn now(&self) -> Now {
        Now { wall_ms: self.shared.clock.now_ms(), monotonic_ms: self.shared.clock.monotonic_ms() }
    }

    fn serve(&mut self, event: Event) {
        match event {
            Event::Open { partitions, reply } => self.open(&partitions, reply),
            Event::Assign(assignment) => self.assign(assignment),
            Event::Revoke { partition, done } => self.revoke(partition, done),
            Event::Drop { done } => self.drop_all(&done),
            Event::Absent { partition, absent } => {
                for cell in self.shards.values_mut().flat_map(|owned| &mut owned.shard.cells) {
                    cell.clock.set_absent(partition, absent);
                }
            }
            Event::Batch(routed) => self.take(&routed),
            Event::Probe(shards) => {
                for (&id, owned) in self.shards.iter().filter(|(id, _)| shards.contains(id)) {
                    owned.writer.probe(id);
                }
            }
            Event::Tokens { limit, sort, reply } => {
                let shards = self.shards.values().map(|owned| &owned.shard);
                drop(reply.send(status::tokens(shards, limit, sort)));
            }
            Event::StopTaking(done) => {
                self.taking = false;
                self.stopping = Some(done);
            }
            Event::Finish => self.finish(),
            Event::Wake => {}
        }
    }

    fn may_take(&mut self) -> bool {
        self.hand_letters_on() && self.taking && self.parked.is_empty()
    }

    /// Hands on dead letters that found no room; says whether none is left.
    fn hand_letters_on(&mut self) -> bool {
        while let Some(letter) = self.letters.pop_front() {
            if let Some(letter) = self.shared.rejections.hand_on(letter) {
                self.letters.push_front(letter);
                return false;
            }
        }
        true
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
        let taken_at = self.shared.clock.monotonic();
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
        let replayed = fetch.next <= self.lanes[lane].decoded;
        if !replayed {
            let mut rejected = std::mem::take(&mut self.rejected);
            self.shared.rejections.reject(fetch.partition, &*fetch.records, &mut rejected, &mut self.letters);
            self.rejected = rejected;
            self.shared.metrics.messages.inc_by(fetch.records.len() as u64);
        }
        let routed = route(&self.rows, &self.shared.layout, mark, fetch.records, replayed, taken_at);
        let routed = Arc::new(routed);
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
        if !late.is_empty() && !routed.replayed {
            let partition = routed.mark.partition;
            self.shared.rejections.reject(partition, &*routed.records, &mut late, &mut self.letters);
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
            self.shared.throughput.finish(took, now.monotonic_ms);
        }
    }

    fn flush_due(&mut self) {
        let at = self.shared.clock.monotonic();
        let due = at >= self.next_flush;
        if due {
            // By the interval, not by now: what a batch took must not stretch every round.
            let interval = self.shared.tuning.flush_interval();
            self.next_flush = (self.next_flush + interval).max(at);
        }
        let now = self.now();
        for owned in self.shards.values_mut().filter(|owned| owned.ready) {
            if due || (owned.more && owned.writer.has_room()) {
                let began = self.shared.clock.monotonic();
                owned.flush(&self.shared, now);
                self.shared.metrics.flush(self.shared.clock.monotonic() - began);
            }
            owned.checkpoint(&self.shared, now);
            if due {
                status::post(&self.shared, self.index, &owned.shard);
            }
        }
    }

    /// For how long there is nothing to do, if no event comes.
    fn idle_for(&self) -> Duration {
        let lanes_wait = self.taking && self.lanes.iter().any(|lane| !lane.is_empty());
        let until_flush = self.next_flush.saturating_sub(self.shared.clock.monotonic());
        let longest = until_flush.min(LONGEST_WAIT);
        match lanes_wait || !self.letters.is_empty() || !self.closing.is_empty() {
            true => longest.min(RETRY_WAIT),
            false => longest,
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self, timeout: Duration) {
        let mut select = Select::new();
        select.recv(&self.inbox);
        for (peer, _) in &self.parked {
            select.send(&self.peers[*peer].inbox);
        }
        // Which of them is ready is found out by the next round.
        select.ready_timeout(timeout).ok();
    }

    /// Begins the end: everything that is left is stored.
    fn finish(&mut self) {
        self.finishing = true;
        for owned in std::mem::take(&mut self.shards).into_values() {
            self.close(owned, None);
        }
    }

    /// Whether the last shard is closed, and no dead letter waits or may be waited for any more.
    fn has_finished(&mut self) -> bool {
        if !self.closing.is_empty() {
            return false;
        }
        if self.hand_letters_on() {
            return true;
        }
        let at = self.shared.clock.monotonic();
        let given_up = at >= *self.letters_until.get_or_insert(at + LETTERS_WITHIN);
        if given_up {
            tracing::error!(letters = self.letters.len(), "Dead letters given up");
        }
        given_up
    }
}

/// Whether a partition feeds a shard.
fn feeds(shared: &Shared, partition: i32, shard: u32) -> bool {
    shared.layout.shuffles() || shared.layout.shard(0, partition) == shard
}
