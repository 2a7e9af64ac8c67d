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

mod audit;
pub mod batch;
pub mod board;
mod carry;
pub mod catch_up;
mod cell;
mod cell_clock;
mod checkpoint;
pub mod comparison;
pub mod cost;
mod due;
pub mod evictions;
mod flush;
pub mod ground;
mod intake;
mod kept;
pub mod lane;
mod load;
mod moved;
mod page;
pub mod parcel;
pub mod quarantine;
mod recovery;
pub mod rejections;
mod renewal;
mod rounds;
mod route;
mod shard;
mod source_clock;
pub mod status;
pub mod tap;
mod throughput;
mod tokens;
pub mod trial;
mod tuning;
pub mod upkeep;
mod worker;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

pub use checkpoint::Bounds;
pub use flush::FlushRules;
pub use ground::Ground;
pub use intake::Intake;
pub use route::Layout;
pub use shard::Horizon;
pub use tuning::{BatchSize, Knobs, Mode, Tuning};
pub use worker::{Assignment, CellStart, Event, Resume, Step, Worker, WorkerHandle};
pub use writer::{Publisher, WriterContext};

use crate::clock::WallClock;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::plugin::catalog::Running;
use crate::threads::joined;
use crate::trade;
use batch::Feed;
use board::Board;
use catch_up::Demands;
use evictions::Evictions;
use lane::Front;
use quarantine::Quarantine;
use rejections::Rejections;
use tap::Tap;
use throughput::Throughput;
use trial::Changes;

/// How many events wait in a worker's inbox.
const INBOX: usize = 64;

/// What the workers share.
pub struct Shared {
    /// Who takes what.
    pub layout: Layout,
    /// The plugins that run, and what is tried.
    pub changes: Changes,
    /// What a message may be at most.
    pub limits: trade::Limits,
    /// Which optional columns some plugin has asked for; read once for each batch.
    optional: Mutex<trade::Optional>,
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
    /// Positions in the source of a repartitioned feed; empty where it is none.
    pub source_board: Arc<Board>,
    /// How far each partition has been taken.
    front: Arc<Front>,
    /// The same for what is read again.
    catch_up_front: Front,
    /// What lagging cells want.
    pub demands: Arc<Demands>,
    /// Trades that some plugin cannot survive.
    pub quarantine: Quarantine,
    /// Tokens that were forgotten for their memory.
    pub evictions: Arc<Evictions>,
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
    /// Who listens to live trades and results.
    pub tap: Arc<Tap>,
    /// How large checkpoints get.
    bounds: Bounds,
    /// The store has results of this service from before: they are not to go backwards.
    withhold: AtomicBool,
    /// What this term stands on.
    ground: Mutex<Arc<Ground>>,
    /// Told when this term must end in order, since its offsets mean nothing any more.
    pub anew: Notify,
    /// How many partitions the topic was last seen to have.
    partitions: AtomicU32,
    /// The batch line of the log.
    throughput: Throughput,
    /// Whether results had to be given up.
    unwritten: AtomicBool,
}

/// What [`Shared`] is made of, besides what it makes itself.
pub struct Parts {
    /// See [`Shared::layout`].
    pub layout: Layout,
    /// See [`Shared::changes`].
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
        Self {
            layout: parts.layout,
            optional: Mutex::new(columns(&parts.plugins)),
            changes: Changes::new(parts.plugins),
            limits: parts.limits,
            rules: parts.rules,
            tap: Arc::new(Tap::new(Arc::clone(&parts.clock))),
            tuning: parts.tuning,
            clock: parts.clock,
            metrics: Arc::clone(&parts.writing.metrics),
            health: Arc::clone(&parts.writing.health),
            board: Arc::clone(&parts.writing.board),
            rejections: parts.rejections,
            source_board: Arc::default(),
            front: Arc::new(Front::new(align_ms)),
            catch_up_front: Front::new(align_ms),
            demands: Arc::default(),
            quarantine: Quarantine::default(),
            evictions: Arc::default(),
            writing: parts.writing,
            runtime: parts.runtime,
            revoke_deadline: parts.revoke_deadline,
            checkpoint_interval: parts.checkpoint_interval,
            layout_name: parts.layout_name,
            bounds: Bounds::default(),
            withhold: AtomicBool::new(false),
            ground: Mutex::default(),
            anew: Notify::new(),
            partitions: AtomicU32::new(0),
            throughput: Throughput::new(),
            unwritten: AtomicBool::new(false),
        }
    }
}

impl Shared {
    /// The same with other bounds of checkpoints.
    #[must_use]
    pub fn bounded_by(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// From now on shards are withheld until they have caught up.
    pub fn withhold(&self) {
        self.withhold.store(true, Ordering::Relaxed);
    }

    /// Writes the log's line of what has been aggregated since the last one.
    pub fn log_throughput(&self) {
        self.throughput.log();
    }

    /// Notes how many partitions the topic has.
    pub fn saw_partitions(&self, count: u32) {
        self.partitions.store(count, Ordering::Relaxed);
    }

    /// How many partitions the topic was last seen to have.
    pub fn partitions(&self) -> u32 {
        self.partitions.load(Ordering::Relaxed)
    }

    /// Begins a term, or says that a former layout is not needed any more.
    pub fn stand_on(&self, ground: Ground) {
        *self.ground.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(ground);
    }

    /// What this term stands on.
    pub fn ground(&self) -> Arc<Ground> {
        Arc::clone(&self.ground.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The optional columns that are filled.
    pub(super) fn optional(&self) -> trade::Optional {
        *self.optional.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has further optional columns filled; says whether some were not before.
    fn fill(&self, columns: trade::Optional) -> bool {
        let mut optional = self.optional.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *optional;
        *optional = before.and(columns);
        before != *optional
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

/// The optional columns that plugins ask for.
fn columns<'a>(plugins: impl IntoIterator<Item = &'a Running>) -> trade::Optional {
    use crate::plugin::contract::OptionalColumns as Columns;
    plugins.into_iter().fold(trade::Optional::default(), |all, plugin| {
        let columns = plugin.plugin.description().columns;
        all.and(trade::Optional {
            wallet: columns.contains(Columns::WALLET),
            wallet_hash: columns.contains(Columns::WALLET_HASH),
            tx_hash: columns.contains(Columns::TX_HASH),
        })
    })
}

/// Why not everything was written when the workers had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfinished {
    /// The log has said which and why.
    #[error("a worker ended with a panic")]
    Panic,
    /// The store did not take it in time.
    #[error("results that the store did not take")]
    Unwritten,
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
    let intake = Intake {
        shared: Arc::clone(shared),
        workers: handles,
        layout: shared.layout,
        board: Arc::clone(&shared.board),
        front: Arc::clone(&shared.front),
    };
    (intake, workers)
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
    /// have stopped.
    ///
    /// # Errors
    /// Says why not everything was written.
    pub fn stop(self) -> Result<(), Unfinished> {
        for answer in self.intake.stop_taking() {
            // A worker that has died answers by dropping its end.
            answer.recv().ok();
        }
        self.intake.finish();
        self.intake.shared.tap.end();
        // Each is waited for, however the ones before have ended.
        let in_order = self.threads.into_iter().map(joined).fold(true, |all, one| all & one);
        self.intake.shared.log_throughput();
        match self.intake.shared.unwritten.load(Ordering::Relaxed) {
            _ if !in_order => Err(Unfinished::Panic),
            true => Err(Unfinished::Unwritten),
            false => Ok(()),
        }
    }
}
