//! The life of the service: build, run, drain.
//!
//! Everything is made here and handed its own part of the configuration; nothing else but the terms in which
//! it serves knows the whole. Invariant: parts end in the order of the data flow, so that what was read is
//! counted and what was counted is written: reading, workers, writers, offsets, the lease, HTTP, dead letters.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::clock::WallClock;
use crate::config::{Config, Partitioning};
use crate::health::{Health, Part};
use crate::http;
use crate::kafka::{DeadLetterTopic, OutputTopic, Topics};
use crate::layout;
use crate::lease::LeaseKeeper;
use crate::maintenance::{self, Maintenance};
use crate::members::Members;
use crate::metrics::Metrics;
use crate::pipeline::board::Board;
use crate::pipeline::rejections::{Rejections, Undelivered};
use crate::pipeline::{
    FlushRules, Intake, Layout, Parts, Pipeline, Publisher, Shared, Tuning, WriterContext,
};
use crate::plugin::catalog::{Lineup, Running};
use crate::plugin::directory::{Directory, Watcher};
use crate::plugin::workshop::Workshop;
use crate::plugin::{Candidate, Loader};
use crate::sampling;
use crate::store::Store;
use crate::swap::{self, Conductor, Records};
use crate::terms::Terms;
use crate::traces;
use crate::trade;

/// Threads for HTTP and the store; the data path has its own.
const RUNTIME_THREADS: usize = 2;
/// How long results may take to be written at the end.
const WRITE_WITHIN: Duration = Duration::from_millis(3_500);
/// How long giving the lease back may take at the end.
const RELEASE_WITHIN: Duration = Duration::from_millis(500);

/// Why the service could not start or ended; who must act is said by the exit code.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration asks for something that cannot be: exit 64.
    #[error("{0}")]
    Config(String),
    /// An address cannot be listened on: exit 69.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of the program or the machine: exit 70.
    #[error("{0}")]
    Internal(String),
}

impl AppError {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Config(_) => 64,
            Self::Unavailable(_) => 69,
            Self::Internal(_) => 70,
        }
    }
}

pub(crate) fn internal(error: impl std::fmt::Display) -> AppError {
    AppError::Internal(error.to_string())
}

/// The service, built and ready to run.
pub struct App {
    config: Config,
    runtime: Runtime,
    shared: Arc<Shared>,
    server: http::Server,
    started: Arc<AtomicBool>,
    pipeline: Pipeline,
    /// None where plugins stay as they are.
    conductor: Option<Conductor>,
    maintenance: Maintenance,
    members: Arc<Members>,
    dead_letters: Option<DeadLetterTopic>,
}

impl App {
    /// Builds the service; nothing is read yet. The store is chosen by the caller.
    pub fn build(config: Config, plugins: Lineup, store: Store) -> Result<Self, AppError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .thread_name("tokio")
            .enable_all()
            .build()
            .map_err(internal)?;
        let metrics = Arc::new(Metrics::new().map_err(internal)?);
        let workers = workers(&config);
        let health = Arc::new(Health::new(workers, config.plugins.deadline));
        health.ok(Part::Plugins, "");
        let undelivered = Undelivered::default();
        let (letters, dead_letters) = match &config.kafka.dead_letter_topic {
            Some(topic) => {
                let (metrics, health) = (Arc::clone(&metrics), Arc::clone(&health));
                let started =
                    DeadLetterTopic::start(&config.kafka, topic, metrics, health, undelivered.clone());
                let (sender, topic) = started.map_err(internal)?;
                (Some(sender), Some(topic))
            }
            None => (None, None),
        };
        let rejections = Rejections::new(Arc::clone(&metrics), letters, undelivered);
        let rejections = match config.pipeline.partitioning {
            Partitioning::Repartition => Arc::new(rejections.of_parcels()),
            Partitioning::Shuffle | Partitioning::ByToken => Arc::new(rejections),
        };
        let writing = writing(&config, store, metrics, health)?;
        let shared = Arc::new(shared(&config, plugins.running, workers, rejections, writing, &runtime));
        let pipeline = Pipeline::start(Arc::clone(&shared)).map_err(internal)?;
        let directory = Directory::new(&config.plugins);
        let conductor = match plugins.loading {
            Some(loading) => {
                Some(conductor(&config, &directory, loading, pipeline.intake()).map_err(internal)?)
            }
            None => None,
        };
        let maintenance = Maintenance::start(maintenance::Parts {
            intake: pipeline.intake(),
            orders: conductor.as_ref().map(Conductor::orders),
            interval: config.maintenance.interval,
            stale_threshold: config.maintenance.stale_threshold,
            memory_limit: config.pipeline.memory_limit,
        })
        .map_err(internal)?;
        let started = Arc::new(AtomicBool::new(false));
        let changing = conductor.as_ref().map(|conductor| (conductor.orders(), directory));
        let state = http::State::new(pipeline.intake(), Arc::clone(&started), changing).map_err(internal)?;
        let members =
            Arc::new(Members::new(config.kafka.group_instance_id.as_deref(), shared.writing.owner_id));
        let state = state.kept_by(maintenance.requests(), config.pipeline.memory_limit);
        let state = state.among(Arc::clone(&members));
        let server = runtime
            .block_on(http::Server::bind(&config.http, state))
            .map_err(|error| AppError::Unavailable(error.to_string()))?;
        Ok(Self {
            config,
            runtime,
            shared,
            server,
            started,
            pipeline,
            conductor,
            maintenance,
            members,
            dead_letters,
        })
    }

    /// Where HTTP listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.server.address()
    }

    /// Runs until a signal asks for the end, then drains. A second signal ends the process at once.
    pub fn run(self) -> Result<(), AppError> {
        let _traces = traces::init(&self.config.traces).map_err(internal)?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"), topic = %self.config.kafka.topic, workers = self.shared.layout.workers,
            plugins = ?names(&self.shared.changes.running()), address = %self.server.address(),
            "Service started"
        );
        let (end_http, http_ended) = oneshot::channel::<()>();
        let serving = self.runtime.spawn(self.server.serve(async move {
            drop(http_ended.await);
        }));
        let sampling = self.runtime.spawn(sampling::every_second(self.pipeline.intake(), self.members));
        let mut terms = Terms {
            config: &self.config,
            shared: &self.shared,
            pipeline: &self.pipeline,
            started: &self.started,
            keeper: keeper(&self.config, &self.shared),
            orders: self.conductor.as_ref().map(Conductor::orders),
        };
        let (signal, mut term) = self.runtime.block_on(terms.serve())?;
        let keeper = terms.keeper;
        tracing::info!(signal, "Draining");
        let began = Instant::now();
        let (mut conductor, mut maintenance) = (self.conductor, self.maintenance);
        conductor.iter_mut().for_each(Conductor::stop);
        maintenance.stop();

        if let Some(term) = &mut term {
            term.source.stop_reading();
        }
        let written = self.pipeline.stop();
        if let Some(term) = term {
            term.source.close();
            if let (Some(lease), Some(keeper)) = (&term.lease, &keeper) {
                let release = async { tokio::time::timeout(RELEASE_WITHIN, keeper.release(lease)).await };
                drop(self.runtime.block_on(release));
            }
        }
        drop(maintenance);
        drop(conductor);
        sampling.abort();
        drop(end_http);
        drop(self.runtime.block_on(serving));
        self.runtime.shutdown_timeout(Duration::from_millis(500));
        // The last holders of the dead letters' sender.
        drop(keeper);
        drop(self.shared);
        if let Some(dead_letters) = self.dead_letters {
            dead_letters.close();
        }
        let took = format!("{:?}", began.elapsed());
        written.map_err(|why| AppError::Internal(format!("ended after {took}: {why}")))?;
        tracing::info!(%took, "Drained");
        Ok(())
    }
}

/// Starts what replaces plugins while the service runs.
fn conductor(
    config: &Config,
    directory: &Directory,
    (loader, candidates): (Loader, Vec<Candidate>),
    intake: Intake,
) -> std::io::Result<Conductor> {
    let shared = intake.shared();
    let running = shared.changes.running();
    let known = candidates.iter().map(|candidate| (candidate.name.to_string(), candidate.identity()));
    let files = Watcher::start(directory.clone(), known)?;
    let records = Records { store: Arc::clone(&shared.writing.store), runtime: shared.runtime.clone() };
    Conductor::start(swap::Parts {
        workshop: Workshop::start(Arc::new(loader))?,
        records,
        running: candidates.into_iter().zip(running).collect(),
        probation: config.plugins.probation,
        memory_limit: config.pipeline.memory_limit,
        files: Some(files),
        intake,
    })
}

/// What holds the lease, where there is one.
fn keeper(config: &Config, shared: &Shared) -> Option<LeaseKeeper> {
    (config.pipeline.partitioning == Partitioning::Shuffle).then(|| LeaseKeeper {
        store: Arc::clone(&shared.writing.store),
        health: Arc::clone(&shared.health),
        id: shared.writing.owner_id,
        session: config.kafka.session_timeout,
        instance: config.kafka.group_instance_id.clone(),
    })
}

/// One worker for each core, or fewer where asked for.
fn workers(config: &Config) -> usize {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    config.pipeline.max_workers.map_or(cores, |most| most.min(cores)).max(1)
}

fn writing(
    config: &Config,
    store: Store,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
) -> Result<Arc<WriterContext>, AppError> {
    let publisher = match &config.kafka.output_topic {
        Some(topic) => {
            Some(Arc::new(OutputTopic::new(&config.kafka, topic).map_err(internal)?) as Arc<dyn Publisher>)
        }
        None => None,
    };
    Ok(Arc::new(WriterContext {
        store: Arc::new(store),
        publisher,
        metrics,
        health,
        board: Arc::new(Board::default()),
        owner_id: owner_id(),
        fenced: tokio::sync::Notify::new(),
    }))
}

/// A number that no other process has: from the operating system's randomness.
fn owner_id() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(std::process::id()));
    half() << 64 | half()
}

fn shared(
    config: &Config,
    plugins: Vec<Running>,
    workers: usize,
    rejections: Arc<Rejections>,
    writing: Arc<WriterContext>,
    runtime: &Runtime,
) -> Shared {
    let pipeline = &config.pipeline;
    Shared::new(Parts {
        layout: Layout { partitioning: pipeline.partitioning, shards: pipeline.shards, workers },
        plugins,
        limits: trade::Limits {
            max_future_ms: i64::try_from(pipeline.max_future.as_millis()).unwrap_or(i64::MAX),
            max_message_bytes: pipeline.max_message_bytes,
        },
        align: pipeline.align,
        rules: FlushRules {
            encoding: config.output.encoding,
            clock: pipeline.clock,
            messages: config.kafka.output_topic.is_some(),
            trim: pipeline.checkpoint_interval.is_none(),
        },
        tuning: Arc::new(Tuning::new(pipeline.flush_interval)),
        clock: Arc::new(WallClock::start()),
        rejections,
        writing,
        runtime: runtime.handle().clone(),
        revoke_deadline: WRITE_WITHIN,
        checkpoint_interval: pipeline.checkpoint_interval,
        layout_name: layout::own(config, &Topics::default()).name().into(),
    })
}

fn names(plugins: &[Running]) -> Vec<&str> {
    plugins.iter().map(Running::name).collect()
}
