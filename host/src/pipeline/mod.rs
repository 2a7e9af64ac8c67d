//! The pipeline: from fetched messages to results with the store.
//!
//! ```text
//! source ──> lane ──> worker: decode ──> route ──> shard: cell: plugin ──> flush ──> writer ──> store
//!                       └──── inbox of another worker ────┘
//! ```
//!
//! One trade's way: [`batch`] is what a source hands over, [`lane`] how it waits, `worker` who takes
//! it, `route` how its trades find their shard, `shard` and `cell` who counts them, `flush`
//! and `writer` how results leave. State is saved by `checkpoint` and fetched by `load`. Invariant:
//! nothing here knows Kafka, wasmtime, Redis or HTTP.

pub mod batch;
pub mod board;
pub mod catch_up;
mod cell;
mod cell_clock;
mod checkpoint;
mod flush;
mod kept;
pub mod lane;
mod load;
pub mod quarantine;
mod recovery;
pub mod rejections;
mod route;
mod shard;
pub mod status;
mod throughput;
mod tokens;
mod tuning;
mod worker;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::Receiver;

pub use flush::FlushRules;
pub use route::Layout;
pub use shard::Horizon;
pub use tuning::Tuning;
pub use worker::{Assignment, CellStart, Event, Resume, Step, Worker, WorkerHandle};
pub use writer::{Publisher, WriterContext};

use crate::clock::WallClock;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::plugin::catalog::Running;
use crate::trade;
use batch::Feed;
use board::Board;
use catch_up::{DemandId, Demands};
use lane::{Front, LaneSender, Waker};
use quarantine::Quarantine;
use rejections::Rejections;
use status::{Sort, TokenStatus};
use throughput::Throughput;

/// How many events wait in a worker's inbox.
const INBOX: usize = 64;
/// How many batches wait in a lane.
const LANE: usize = 4;
/// How many batches wait in the lane of a catch-up.
const CATCH_UP_LANE: usize = 2;

/// What the workers share.
pub struct Shared {
    /// Who takes what.
    pub layout: Layout,
    /// The plugins that run.
    pub plugins: Vec<Running>,
    /// What a message may be at most.
    pub limits: trade::Limits,
    /// Which optional columns some plugin asks for.
    pub optional: trade::Optional,
    /// How results are written.
    pub rules: FlushRules,
    /// What may be changed while running.
    pub tuning: Arc<Tuning>,
    /// Wall and monotonic time.
    pub clock: Arc<WallClock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Readiness.
    pub health: Arc<Health>,
    /// Positions.
    pub board: Arc<Board>,
    /// Where rejections go.
    pub rejections: Arc<Rejections>,
    /// How far each partition has been taken.
    front: Front,
    /// The same for what is read again.
    catch_up_front: Front,
    /// What lagging cells want.
    pub demands: Arc<Demands>,
    /// Trades that some plugin cannot survive.
    pub quarantine: Quarantine,
    /// What the writers share.
    pub writing: Arc<WriterContext>,
    /// Where the writers run.
    pub runtime: tokio::runtime::Handle,
    /// How long a shard that goes may take to write its results.
    pub revoke_deadline: Duration,
    /// How often state is saved; none: never.
    pub checkpoint_interval: Option<Duration>,
    /// Which layout of shards a checkpoint belongs to.
    pub layout_name: Arc<str>,
    /// The store has results of this service from before: they are not to go backwards.
    withhold: AtomicBool,
    /// The batch line of the log.
    throughput: Throughput,
    /// Whether results had to be given up.
    unwritten: AtomicBool,
}

/// What [`Shared`] is made of, besides what it makes itself.
pub struct Parts {
    /// See [`Shared::layout`].
    pub layout: Layout,
    /// See [`Shared::plugins`].
    pub plugins: Vec<Running>,
    /// See [`Shared::limits`].
    pub limits: trade::Limits,
    /// How far a partition of a backlog may be ahead of the others.
    pub align: Duration,
    /// See [`Shared::rules`].
    pub rules: FlushRules,
    /// See [`Shared::tuning`].
    pub tuning: Arc<Tuning>,
    /// See [`Shared::clock`].
    pub clock: Arc<WallClock>,
    /// See [`Shared::rejections`].
    pub rejections: Arc<Rejections>,
    /// See [`Shared::writing`].
    pub writing: Arc<WriterContext>,
    /// See [`Shared::runtime`].
    pub runtime: tokio::runtime::Handle,
    /// See [`Shared::revoke_deadline`].
    pub revoke_deadline: Duration,
    /// See [`Shared::checkpoint_interval`].
    pub checkpoint_interval: Option<Duration>,
    /// See [`Shared::layout_name`].
    pub layout_name: Arc<str>,
}

impl Shared {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let align_ms =
            parts.layout.shuffles().then(|| i64::try_from(parts.align.as_millis()).unwrap_or(i64::MAX));
        let mut optional = trade::Optional::default();
        for plugin in &parts.plugins {
            use crate::plugin::contract::OptionalColumns as Columns;
            let columns = plugin.plugin.description().columns;
            optional.wallet |= columns.contains(Columns::WALLET);
            optional.wallet_hash |= columns.contains(Columns::WALLET_HASH);
            optional.tx_hash |= columns.contains(Columns::TX_HASH);
        }
        Self {
            layout: parts.layout,
            plugins: parts.plugins,
            limits: parts.limits,
            optional,
            rules: parts.rules,
            tuning: parts.tuning,
            clock: parts.clock,
            metrics: Arc::clone(&parts.writing.metrics),
            health: Arc::clone(&parts.writing.health),
            board: Arc::clone(&parts.writing.board),
            rejections: parts.rejections,
            front: Front::new(align_ms),
            catch_up_front: Front::new(align_ms),
            demands: Arc::default(),
            quarantine: Quarantine::default(),
            writing: parts.writing,
            runtime: parts.runtime,
            revoke_deadline: parts.revoke_deadline,
            checkpoint_interval: parts.checkpoint_interval,
            layout_name: parts.layout_name,
            withhold: AtomicBool::new(false),
            throughput: Throughput::new(),
            unwritten: AtomicBool::new(false),
        }
    }
}

impl Shared {
    /// From now on shards are withheld until they have caught up.
    pub fn withhold(&self) {
        self.withhold.store(true, Ordering::Relaxed);
    }

    fn withholds(&self) -> bool {
        self.withhold.load(Ordering::Relaxed)
    }

    /// How far each partition has been taken that a reader brings.
    pub(super) fn front(&self, feed: Feed) -> &Front {
        match feed {
            Feed::Live => &self.front,
            Feed::CatchUp => &self.catch_up_front,
        }
    }

    /// How far each partition was decoded, counted and judged, and its dead letters delivered.
    fn decoded(&self) -> Vec<(i32, i64)> {
        let bounded = |(partition, decoded): (i32, i64)| {
            let undelivered = self.rejections.first_undelivered(partition);
            (partition, undelivered.map_or(decoded, |offset| offset.min(decoded)))
        };
        self.board.decoded().into_iter().map(bounded).collect()
    }
}

/// The running workers.
pub struct Pipeline {
    intake: Intake,
    threads: Vec<thread::JoinHandle<()>>,
}

/// Makes the workers, each for a thread of its own or to be stepped by a simulation; `inbox` is how many
/// events wait for each of them.
pub fn workers(shared: &Arc<Shared>, inbox: usize) -> (Intake, Vec<Worker>) {
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..shared.layout.workers).map(|_| crossbeam_channel::bounded(inbox)).unzip();
    let handles: Vec<_> = senders.into_iter().map(WorkerHandle::new).collect();
    let worker = |(index, inbox)| Worker::new(index, Arc::clone(shared), inbox, handles.clone());
    let workers = receivers.into_iter().enumerate().map(worker).collect();
    (Intake { shared: Arc::clone(shared), workers: handles }, workers)
}

impl Pipeline {
    /// Starts the workers.
    pub fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        Self::start_with(shared, INBOX)
    }

    fn start_with(shared: Arc<Shared>, inbox: usize) -> std::io::Result<Self> {
        let (intake, workers) = workers(&shared, inbox);
        let mut threads = Vec::new();
        for (index, worker) in workers.into_iter().enumerate() {
            let thread = thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || worker.run())?);
        }
        Ok(Self { intake, threads })
    }

    /// What a source needs.
    pub fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// Ends the workers: what was decoded is counted, what was counted is written. The source must
    /// have stopped. Says whether everything was written.
    pub fn stop(self) -> bool {
        let answers: Vec<Receiver<()>> = self
            .intake
            .workers
            .iter()
            .map(|worker| {
                let (done, answer) = crossbeam_channel::bounded(1);
                worker.send(Event::StopTaking(done));
                answer
            })
            .collect();
        for answer in answers {
            // A worker that has died answers by dropping its end.
            answer.recv().ok();
        }
        for worker in &self.intake.workers {
            worker.send(Event::Finish);
        }
        let mut sound = true;
        for thread in self.threads {
            sound &= thread.join().is_ok();
        }
        sound && !self.intake.shared.unwritten.load(Ordering::Relaxed)
    }
}

/// The source's view of the pipeline, and the views of those who ask.
#[derive(Clone)]
pub struct Intake {
    shared: Arc<Shared>,
    workers: Vec<WorkerHandle>,
}

impl Intake {
    /// Has the shards that these partitions feed owned and their checkpoints loaded; each worker
    /// answers where its cells start.
    pub fn open(&self, partitions: &[i32]) -> Vec<Receiver<Resume>> {
        let ask = |worker: &WorkerHandle| {
            let (reply, answer) = crossbeam_channel::bounded(1);
            worker.send(Event::Open { partitions: partitions.to_vec(), reply });
            answer
        };
        self.workers.iter().map(ask).collect()
    }

    /// Assigns a partition that will be read from `next` on; before `decoded` everything was counted
    /// and judged already.
    pub fn assign(&self, partition: i32, next: i64, reset: bool, decoded: i64, waker: Waker) -> LaneSender {
        let layout = &self.shared.layout;
        let decoder = layout.decoder(partition);
        let shards = match layout.shuffles() {
            true => 0..layout.shards,
            false => layout.shard(0, partition)..layout.shard(0, partition) + 1,
        };
        self.shared.board.assign(partition, next, decoded.max(next), shards);
        self.shared.front.assign(partition);
        let worker = self.workers[decoder].clone();
        let (sender, lane) = lane::lane(partition, Feed::Live, LANE, decoded, worker, waker);
        let mut lane = Some(lane);
        for (index, worker) in self.workers.iter().enumerate() {
            let ours = index == decoder;
            if ours || layout.shuffles() {
                let lane = if ours { lane.take() } else { None };
                worker.send(Event::Assign(Assignment { partition, next, reset, lane }));
            }
        }
        sender
    }

    /// Has a partition read again, for cells that lag in it. What an earlier lane of it holds is dropped.
    pub fn catch_up(&self, partition: i32, waker: Waker) -> LaneSender {
        let worker = self.workers[self.shared.layout.decoder(partition)].clone();
        let (sender, lane) =
            lane::lane(partition, Feed::CatchUp, CATCH_UP_LANE, i64::MAX, worker.clone(), waker);
        worker.send(Event::CatchUp(lane));
        sender
    }

    /// Ends the catch-up of a partition.
    pub fn end_catch_up(&self, partition: i32) {
        self.workers[self.shared.layout.decoder(partition)].send(Event::EndCatchUp(partition));
    }

    /// Says where a partition begins for the cell behind a demand.
    pub fn begin(&self, demand: DemandId, partition: i32, next: i64) {
        for worker in &self.workers {
            worker.send(Event::Begin { demand, partition, next });
        }
    }

    /// Starts a partition's offsets anew: the topic is another one.
    pub fn reset(&self, partition: i32, next: i64) {
        for worker in &self.workers {
            worker.send(Event::Assign(Assignment { partition, next, reset: true, lane: None }));
        }
    }

    /// Drops all shards and partitions as they are, since another process owns them.
    pub fn drop_all(&self) {
        let drop_all = |worker: &WorkerHandle| {
            let (done, answer) = crossbeam_channel::bounded(1);
            worker.send(Event::Drop { done });
            answer
        };
        let answers: Vec<Receiver<()>> = self.workers.iter().map(drop_all).collect();
        for answer in answers {
            answer.recv().ok();
        }
        for partition in self.shared.board.partitions().into_keys() {
            self.shared.board.revoke(partition);
        }
    }

    /// Closes a partition; the answer comes when its results are with the store, or given up.
    pub fn revoke(&self, partition: i32) -> Receiver<()> {
        let (done, answer) = crossbeam_channel::bounded(1);
        let decoder = self.shared.layout.decoder(partition);
        self.workers[decoder].send(Event::Revoke { partition, done });
        answer
    }

    /// Leaves a partition out of all clocks, or takes it in again.
    pub fn set_absent(&self, partition: i32, absent: bool) {
        if absent {
            self.shared.front.leave(partition);
        }
        for worker in &self.workers {
            worker.send(Event::Absent { partition, absent });
        }
    }

    /// Has the writers of these shards look whether the store still has what it accepted.
    pub fn probe(&self, shards: &[u32]) {
        for worker in &self.workers {
            worker.offer(Event::Probe(shards.to_vec()));
        }
    }

    /// What the workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The first live tokens in an order. Blocks until every worker has answered.
    pub fn tokens(&self, limit: usize, sort: Sort) -> Vec<TokenStatus> {
        let mut tokens = Vec::new();
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (reply, answer) = crossbeam_channel::bounded(1);
            worker.send(Event::Tokens { limit, sort, reply });
            answers.push(answer);
        }
        for answer in answers {
            tokens.extend(answer.recv().unwrap_or_default());
        }
        status::first(tokens, limit, sort)
    }
}
