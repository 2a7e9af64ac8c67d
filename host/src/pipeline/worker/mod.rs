//! A worker: the thread that owns shards for good and decodes the partitions given to it.
//!
//! Trades for another worker's shard cross that worker's bounded inbox. Invariant: a worker never
//! blocks in a send: where another's inbox is full it parks the batch, takes nothing new from its
//! lanes, and goes on serving its own inbox and flushes; so two full inboxes cannot wait for each
//! other.

mod closing;
mod event;
mod keeping;
mod owned;
mod owning;
mod taking;
mod trying;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender};

use super::Shared;
use super::cell_clock::Now;
use super::lane::Lane;
use super::rejections::Letters;
use super::route::Routed;
use super::status;
use crate::metrics::pressure::Idle;
use crate::traces::{self, Span};
use crate::trade::{Decoder, Rejected, Rows};
use closing::Closing;
pub use event::{Assignment, CellStart, Event, Resume, WorkerHandle};
use owned::Owned;
pub(super) use trying::Trying;

/// The longest time a worker sleeps, so that it is seen to be alive.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// How soon a worker looks again when a lane waits for another partition, or a dead letter for room.
const RETRY_WAIT: Duration = Duration::from_millis(1);
/// How long dead letters may take to find room at the end.
const LETTERS_WITHIN: Duration = Duration::from_secs(1);
/// For how long a batch may wait for the chores of a round; one that has begun is not broken off.
const BATCH_WAITS: Duration = Duration::from_millis(4);
/// How many events are served before the timers are looked at again.
const EVENTS_AT_ONCE: usize = 16;

/// Somebody who waits until shards are open.
struct Waiting {
    shards: Vec<u32>,
    reply: Sender<Resume>,
}

/// What has to be done between two batches, until some time by the monotonic clock; says whether there is more.
type Chore = fn(&mut Worker, Duration) -> bool;

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
    letters: Letters,
    /// The time in which there was nothing to do.
    idle: Idle,
    /// In the order in which the next round does them, all but the first as far as there is time.
    chores: [Chore; 3],
    /// When rows are asked for next, by the monotonic clock.
    next_flush: Duration,
    /// The shards whose turn it is to be flushed and to be saved, or the next ones behind them.
    next_flushed: u32,
    next_saved: u32,
    stopping: Option<Sender<()>>,
    /// Who waits until nothing is parked.
    settling: Vec<Sender<()>>,
    /// Who waits until the lanes are empty, and until all shards are gone.
    emptying: Option<Sender<()>>,
    retiring: Option<Sender<()>>,
    taking: bool,
    /// Everything has been handed over.
    finishing: bool,
    /// When dead letters without room are given up; none before the last shard is closed.
    letters_until: Option<Duration>,
}

impl Worker {
    /// Makes a worker; its shards come with [`Event::Open`].
    pub(super) fn new(
        index: usize,
        shared: Arc<Shared>,
        inbox: Receiver<Event>,
        peers: Vec<WorkerHandle>,
    ) -> Self {
        let decoder = Decoder::new(shared.limits, shared.optional());
        let next_flush = shared.clock.monotonic();
        let idle = shared.metrics.pressure.worker();
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
            letters: Letters::default(),
            idle,
            chores: [Self::flush_due, Self::save_due, Self::try_on],
            next_flush,
            next_flushed: 0,
            next_saved: 0,
            stopping: None,
            settling: Vec::new(),
            emptying: None,
            retiring: None,
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
        let busy = self.do_chores();
        if self.finishing && self.has_finished() {
            return Step::Ended;
        }
        let took = self.may_take() && self.take_next();
        if !took {
            self.answer_empty();
        }
        match took || busy {
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
            Event::CatchUp(lane) => self.catch_up(lane),
            Event::EndCatchUp(partition) => self.end_catch_up(partition),
            Event::Begin { demand, partition, next } => {
                let now = self.now();
                for owned in self.shards.values_mut() {
                    owned.shard.begin(demand, partition, next, now);
                }
            }
            Event::Lost(partition) => {
                let shards = self.shards.values().map(|owned| &owned.shard);
                for shard in shards.filter(|shard| self.shared.layout.feeds(partition, shard.id)) {
                    shard.note_incomplete(&self.shared.evictions);
                }
            }
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
            Event::Touch => {
                for Owned { shard, .. } in self.shards.values_mut() {
                    shard.cells.iter_mut().for_each(|cell| cell.touch_all(&mut shard.tokens));
                }
            }
            Event::Tokens { limit, sort, reply } => {
                let shards = self.shards.values().map(|owned| &owned.shard);
                drop(reply.send(status::tokens(shards, limit, sort)));
            }
            Event::Upkeep { shard, upkeep } => self.keep(shard, upkeep),
            Event::Settle(done) => self.settling.push(done),
            Event::StopTaking(done) => {
                self.taking = false;
                self.stopping = Some(done);
            }
            Event::Empty(done) => self.emptying = Some(done),
            Event::Retire(done) => self.retire(done),
            Event::Finish => self.finish(),
            Event::Wake => {}
        }
    }

    /// Flushes, saves and goes on with what is tried, for as long as a batch may wait. Each round another of them is the
    /// first, so that none takes the others' time however much there is of it.
    fn do_chores(&mut self) -> bool {
        let until = self.shared.clock.monotonic() + BATCH_WAITS;
        self.chores.rotate_left(1);
        let [first, behind @ ..] = self.chores;
        let mut more = first(self, until);
        for chore in behind {
            if self.shared.clock.monotonic() >= until {
                return true;
            }
            more |= chore(self, until);
        }
        more
    }

    /// Goes on with what is tried: one step of one shard.
    fn try_on(&mut self, _until: Duration) -> bool {
        let now = self.now();
        let mut shards = self.shards.values_mut().filter(|owned| owned.ready);
        shards.any(|owned| owned.try_on(&self.shared, now))
    }

    /// Flushes shards whose time has come, and those that can go on with their last flush, each in its turn.
    fn flush_due(&mut self, until: Duration) -> bool {
        let at = self.shared.clock.monotonic();
        if at >= self.next_flush && !self.shards.values().any(|owned| owned.due) {
            // By the interval, not by now: what a batch took must not stretch every round.
            let interval = self.shared.tuning.flush_interval();
            self.next_flush = (self.next_flush + interval).max(at);
            self.shards.values_mut().filter(|owned| owned.ready).for_each(|owned| owned.due = true);
        }
        let now = self.now();
        for id in self.turns(self.next_flushed, Owned::wants_flush) {
            let began = self.shared.clock.monotonic();
            let Some(owned) = self.shards.get_mut(&id).filter(|_| began <= until) else {
                break;
            };
            self.next_flushed = id + 1;
            owned.flush(&self.shared, now, until);
            let took = self.shared.clock.monotonic() - began;
            self.shared.metrics.flush(took);
            traces::record(|| Span::ended("flush", took).number("shard", id.into()));
            if std::mem::take(&mut owned.due) {
                status::post(&self.shared, self.index, &owned.shard);
            }
        }
        self.shards.values().any(Owned::wants_flush)
    }

    /// Puts plugins back that have failed, and takes a step of each checkpoint that is due, each shard in its turn.
    fn save_due(&mut self, until: Duration) -> bool {
        let now = self.now();
        self.shards
            .values_mut()
            .filter(|owned| owned.ready)
            .for_each(|owned| owned.recover(&self.shared, now));
        for id in self.turns(self.next_saved, |owned| owned.wants_saving(now)) {
            if self.shared.clock.monotonic() >= until {
                return true;
            }
            self.next_saved = id + 1;
            if let Some(owned) = self.shards.get_mut(&id) {
                owned.checkpoint(&self.shared, now);
            }
        }
        false
    }

    /// Those shards that want something, beginning with this one or the next behind it: so that none takes the others'
    /// turns however much it wants.
    fn turns(&self, first: u32, want: impl Fn(&Owned) -> bool) -> Vec<u32> {
        let behind = self.shards.range(first..).chain(self.shards.range(..first));
        behind.filter(|(_, owned)| want(owned)).map(|(&id, _)| id).collect()
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
        let began = self.shared.clock.monotonic();
        let mut select = Select::new();
        select.recv(&self.inbox);
        for (peer, _) in &self.parked {
            select.send(&self.peers[*peer].inbox);
        }
        // Which of them is ready is found out by the next round.
        select.ready_timeout(timeout).ok();
        if self.parked.is_empty() && self.letters.is_empty() {
            let waited = self.shared.clock.monotonic().saturating_sub(began);
            self.idle.fetch_add(waited.as_nanos() as u64, Ordering::Relaxed);
        }
    }

    /// Begins the end: everything that is left is stored.
    fn finish(&mut self) {
        self.finishing = true;
        let until = self.shared.clock.monotonic() + self.shared.revoke_deadline;
        self.closing.iter_mut().for_each(|closing| closing.end_by(until));
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
