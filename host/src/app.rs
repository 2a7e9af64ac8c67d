//! The life of the service: build, run, drain.
//!
//! Everything is made here and handed its own part of the configuration; nothing else knows the
//! whole. Invariant: parts end in the order of the data flow, so that what was read is counted and
//! what was counted is written: reading, workers, writers, offsets, dead letters, HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::clock::WallClock;
use crate::config::{Config, Partitioning};
use crate::health::{Health, Part};
use crate::http;
use crate::kafka::{DeadLetterTopic, OutputTopic, Source};
use crate::metrics::Metrics;
use crate::pipeline::board::Board;
use crate::pipeline::rejections::Rejections;
use crate::pipeline::{
    FlushRules, Horizon, Layout, Parts, Pipeline, Publisher, Shared, Tuning, WriterContext,
};
use crate::plugin::catalog::Running;
use crate::results::Ancestor;
use crate::signals;
use crate::store::Store;
use crate::trade;

/// Threads for HTTP and the store; the data path has its own.
const RUNTIME_THREADS: usize = 2;
/// How long results may take to be written at the end.
const WRITE_WITHIN: Duration = Duration::from_millis(3_500);
/// How often rates are sampled and the store is asked whether it is there.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

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

fn internal(error: impl std::fmt::Display) -> AppError {
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
    dead_letters: Option<DeadLetterTopic>,
}

impl App {
    /// Builds the service; nothing is read yet. The store is chosen by the caller.
    pub fn build(config: Config, plugins: Vec<Running>, store: Store) -> Result<Self, AppError> {
        if config.pipeline.partitioning == Partitioning::Repartition {
            let words = "PARTITIONING=repartition is not available in this version; use shuffle or by-token";
            return Err(AppError::Config(words.to_owned()));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .thread_name("tokio")
            .enable_all()
            .build()
            .map_err(internal)?;
        let metrics = Arc::new(Metrics::new().map_err(internal)?);
        let workers = workers(&config);
        let health = Arc::new(Health::new(workers));
        health.ok(Part::Plugins, "");
        let (letters, dead_letters) = match &config.kafka.dead_letter_topic {
            Some(topic) => {
                let (sender, topic) =
                    DeadLetterTopic::start(&config.kafka, topic, Arc::clone(&metrics), Arc::clone(&health))
                        .map_err(internal)?;
                (Some(sender), Some(topic))
            }
            None => (None, None),
        };
        let rejections = Arc::new(Rejections::new(Arc::clone(&metrics), letters));
        let writing = writing(&config, store, metrics, health)?;
        let shared = Arc::new(shared(&config, plugins, workers, rejections, writing, &runtime)?);
        let pipeline = Pipeline::start(Arc::clone(&shared)).map_err(internal)?;
        let started = Arc::new(AtomicBool::new(false));
        let state = http::State::new(pipeline.intake(), Arc::clone(&started));
        let server = runtime
            .block_on(http::Server::bind(&config.http, state))
            .map_err(|error| AppError::Unavailable(error.to_string()))?;
        Ok(Self { config, runtime, shared, server, started, pipeline, dead_letters })
    }

    /// Where HTTP listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.server.address()
    }

    /// Runs until a signal asks for the end, then drains. A second signal ends the process at once.
    pub fn run(self) -> Result<(), AppError> {
        let source =
            Source::start(&self.config, self.pipeline.intake(), Horizon::longest(&self.shared.plugins))
                .map_err(internal)?;
        self.started.store(true, Ordering::Relaxed);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"), topic = %self.config.kafka.topic, workers = self.shared.layout.workers,
            plugins = ?self.shared.plugins.iter().map(Running::name).collect::<Vec<_>>(), address = %self.server.address(),
            "Service started"
        );
        let (end_http, http_ended) = oneshot::channel::<()>();
        let serving = self.runtime.spawn(self.server.serve(async move {
            drop(http_ended.await);
        }));
        let sampling = self.runtime.spawn(sample(Arc::clone(&self.shared)));
        let signal = self.runtime.block_on(signals::first()).map_err(internal)?;
        tracing::info!(signal, "Draining");
        let began = Instant::now();

        source.stop_reading();
        let written = self.pipeline.stop();
        source.close();
        sampling.abort();
        drop(end_http);
        drop(self.runtime.block_on(serving));
        self.runtime.shutdown_timeout(Duration::from_millis(500));
        // The last holder of the dead letters' sender.
        drop(self.shared);
        if let Some(dead_letters) = self.dead_letters {
            dead_letters.close();
        }
        let took = format!("{:?}", began.elapsed());
        if written {
            tracing::info!(%took, "Drained");
            Ok(())
        } else {
            Err(AppError::Internal(format!("ended after {took} with results that the store did not take")))
        }
    }
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
) -> Result<Shared, AppError> {
    let pipeline = &config.pipeline;
    let ancestor = match (&config.kafka.output_topic, plugins.iter().find(|p| p.result_key() == "aggregates"))
    {
        (Some(_), Some(plugin)) => Some(Ancestor::new(&plugin.schema).map_err(|error| {
            AppError::Config(format!("KAFKA_OUTPUT_TOPIC needs the fields of the default plugin: {error}"))
        })?),
        _ => None,
    };
    Ok(Shared::new(Parts {
        layout: Layout { partitioning: pipeline.partitioning, shards: pipeline.shards, workers },
        plugins,
        limits: trade::Limits {
            max_future_ms: i64::try_from(pipeline.max_future.as_millis()).unwrap_or(i64::MAX),
            max_message_bytes: pipeline.max_message_bytes,
        },
        align: pipeline.align,
        rules: FlushRules { encoding: config.output.encoding, clock: pipeline.clock, ancestor, trim: true },
        tuning: Arc::new(Tuning::new(pipeline.flush_interval)),
        clock: Arc::new(WallClock::start()),
        rejections,
        writing,
        runtime: runtime.handle().clone(),
        revoke_deadline: WRITE_WITHIN,
    }))
}

/// Samples rates, and asks the store whether it is there.
async fn sample(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(SAMPLE_EVERY);
    loop {
        tick.tick().await;
        shared.metrics.sample();
        match shared.writing.store.ping().await {
            Ok(()) => shared.health.ok(Part::Redis, ""),
            Err(error) => shared.health.fail(Part::Redis, "", &error.to_string()),
        }
    }
}
