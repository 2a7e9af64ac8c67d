//! A pipeline on the test stand: built like the service's, with a store in memory and nothing around it.
//!
//! Invariant: what is read back is what the store has, never what the pipeline believes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use xxhash_rust::xxh3::xxh3_64;

use super::counter::{FIELD, GROUP, Manner, counter};
use super::{Counts, PATIENCE, wait_until};
use crate::clock::WallClock;
use crate::config::{ClockMode, Encoding, Partitioning};
use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::pipeline::board::Board;
use crate::pipeline::rejections::{Rejections, Undelivered};
use crate::pipeline::trial::{Stage, Trial};
use crate::pipeline::{FlushRules, Intake, Layout, Parts, Pipeline, Shared, Tuning, WriterContext};
use crate::plugin::catalog::Running;
use crate::store::{Store, TokenResults};
use crate::trade::{Limits, Reason};

/// The result key of the plugin that leads.
pub(super) const LEADING: &str = "aggregates";

/// How a stand is set up.
pub(super) struct Setup {
    pub(super) partitioning: Partitioning,
    pub(super) workers: usize,
    pub(super) plugins: Vec<Running>,
    pub(super) align: Duration,
    pub(super) flush_interval: Duration,
    pub(super) inbox: usize,
    pub(super) checkpoint_interval: Option<Duration>,
}

impl Default for Setup {
    /// Two workers with inboxes for one event, as many shards, one counter, results written at once.
    fn default() -> Self {
        Self {
            partitioning: Partitioning::Shuffle,
            workers: 2,
            plugins: vec![counter("counter", LEADING, Manner::Sound)],
            align: Duration::from_secs(10),
            flush_interval: Duration::from_millis(1),
            inbox: 1,
            checkpoint_interval: None,
        }
    }
}

impl Setup {
    /// Who takes what.
    pub(super) fn layout(&self) -> Layout {
        Layout { partitioning: self.partitioning, shards: self.workers as u32, workers: self.workers }
    }
}

/// The names of the first tokens that belong to the shards of a worker.
pub(super) fn tokens_of(layout: Layout, worker: usize, count: usize) -> Vec<String> {
    let names = (0..).map(|number| format!("token-{number}"));
    let owner = |token: &String| layout.worker(layout.shard(xxh3_64(token.as_bytes()), 0));
    names.filter(|token| owner(token) == worker).take(count).collect()
}

/// What a pipeline shares that is set up like this.
pub(super) fn shared(setup: Setup, runtime: &tokio::runtime::Handle) -> Arc<Shared> {
    let metrics = Arc::new(Metrics::new().unwrap());
    let health = Arc::new(Health::new(setup.workers, Duration::from_secs(1)));
    health.ok(Part::Plugins, "");
    Arc::new(Shared::new(Parts {
        layout: setup.layout(),
        plugins: setup.plugins,
        limits: Limits { max_future_ms: 0, max_message_bytes: 1 << 20 },
        align: setup.align,
        rules: FlushRules {
            encoding: Encoding::Json,
            clock: ClockMode::Event,
            messages: false,
            trim: setup.checkpoint_interval.is_none(),
        },
        tuning: Arc::new(Tuning::new(setup.flush_interval)),
        clock: Arc::new(WallClock::start()),
        rejections: Arc::new(Rejections::new(Arc::clone(&metrics), None, Undelivered::default())),
        writing: Arc::new(WriterContext {
            store: Arc::new(Store::memory()),
            publisher: None,
            metrics,
            health,
            board: Arc::new(Board::default()),
            owner_id: 7,
            fenced: tokio::sync::Notify::new(),
        }),
        runtime: runtime.clone(),
        revoke_deadline: PATIENCE,
        checkpoint_interval: setup.checkpoint_interval,
        layout_name: "stand".into(),
    }))
}

/// The running pipeline.
pub(super) struct Stand {
    pub(super) shared: Arc<Shared>,
    pub(super) intake: Intake,
    /// None once it has been stopped.
    pipeline: Option<Pipeline>,
    /// Runs the writers.
    runtime: Runtime,
}

impl Stand {
    pub(super) fn start(setup: Setup) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let inbox = setup.inbox;
        let shared = shared(setup, runtime.handle());
        let pipeline = Pipeline::start_with(Arc::clone(&shared), inbox).unwrap();
        let intake = pipeline.intake();
        for answer in intake.open(&[0, 1, 2, 3]) {
            answer.recv_timeout(PATIENCE).unwrap();
        }
        Self { shared, intake, pipeline: Some(pipeline), runtime }
    }

    /// Stops the pipeline, as the service does when its source has stopped.
    pub(super) fn stop(&mut self) {
        self.stop_while(|| ());
    }

    /// Stops the pipeline and does something as soon as that has begun.
    pub(super) fn stop_while(&mut self, act: impl FnOnce()) {
        let pipeline = self.pipeline.take().unwrap();
        let (begins, begun) = crossbeam_channel::bounded(1);
        let (said, written) = crossbeam_channel::bounded(1);
        thread::spawn(move || {
            begins.send(()).unwrap();
            said.send(pipeline.stop()).ok();
        });
        begun.recv_timeout(PATIENCE).unwrap();
        act();
        let written = written.recv_timeout(PATIENCE);
        assert_eq!(written, Ok(Ok(())), "the pipeline did not stop, or gave results up");
    }

    /// Puts a value into the store behind the pipeline's back.
    pub(super) fn plant(&self, token: &str, key: &str, value: &[u8]) {
        match &*self.shared.writing.store {
            Store::Memory(store) => store.plant(token, key, value),
            Store::Redis(_) => panic!("a stand has its store in memory"),
        }
    }

    /// Waits until that many trades have been counted by the plugins.
    pub(super) fn wait_for_trades(&self, expected: i64) {
        let trades = || self.shared.metrics.trades.get() as i64;
        wait_until(&format!("{expected} trades are counted"), || trades() >= expected);
        assert_eq!(trades(), expected);
    }

    /// Waits until the clock of every shard shows this time.
    pub(super) fn wait_for_clock(&self, expected_ms: i64) {
        let shards = self.shared.layout.shards as usize;
        wait_until("all clocks are at the end", || {
            let posted = self.shared.board.shards();
            posted.len() == shards && posted.values().all(|shard| shard.clock_ms == Some(expected_ms))
        });
    }

    /// Waits until every shard has come so far in a trial.
    pub(super) fn wait_for_stage(&self, trial: &Trial, stage: Stage) {
        let shards = self.shared.layout.shards as usize;
        let reached = trial.wait(PATIENCE, |reports| {
            reports.stages.len() == shards && reports.stages.values().all(|reached| *reached >= stage)
        });
        assert!(reached, "not every shard has reached {stage:?}");
    }

    /// The largest event time that was taken of a partition.
    pub(super) fn newest_ms(&self, partition: i32) -> Option<i64> {
        self.shared.board.partitions()[&partition].newest_ms
    }

    /// Trades that no window could hold any more.
    pub(super) fn too_late(&self) -> u64 {
        self.shared.metrics.rejected(Reason::TooLate).get()
    }

    /// What the store has of these tokens under a result key; those it does not have are left out.
    pub(super) fn stored(&self, key: &str, tokens: &Counts) -> BTreeMap<String, TokenResults> {
        let keys: [Arc<str>; 1] = [key.into()];
        let read =
            |token: &String| self.runtime.block_on(self.shared.writing.store.token(token, &keys)).unwrap();
        let found = tokens.keys().filter_map(|token| Some((token.clone(), read(token)?)));
        found.filter(|(_, stored)| !stored.results.is_empty()).collect()
    }

    /// The counts that the store has of these tokens.
    pub(super) fn stored_counts(&self, key: &str, tokens: &Counts) -> Counts {
        let trades = |stored: &TokenResults| stored.results[key][GROUP][FIELD].as_i64().unwrap();
        self.stored(key, tokens).iter().map(|(token, stored)| (token.clone(), trades(stored))).collect()
    }

    /// Compares the leading plugin's results with a count: these tokens with these numbers, and no others.
    pub(super) fn assert_stored(&self, expected: &Counts) {
        assert_eq!(self.stored_counts(LEADING, expected), *expected);
        let active = self.runtime.block_on(self.shared.writing.store.active(usize::MAX)).unwrap();
        assert_eq!(active.len(), expected.len(), "tokens in the active list");
    }
}
