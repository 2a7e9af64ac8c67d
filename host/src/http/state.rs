//! What handlers share: the places where other parts publish how they are.
//!
//! Invariant: only reading, but for the knobs and orders. What blocks is reached through [`State::live_tokens`] alone, which
//! one thread at a time may wait in.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as Turns;
use tokio::time::sleep_until;

use super::page::{Page, Streams};
use super::plugins::Plugins;
use super::problem::Problem;
use crate::clock::WallClock;
use crate::health::Health;
use crate::log::{self, PluginLines};
use crate::maintenance::Requests;
use crate::members::Members;
use crate::metrics::Metrics;
use crate::pipeline::board::{Board, ShardStatus};
use crate::pipeline::evictions::Evictions;
use crate::pipeline::rejections::Rejections;
use crate::pipeline::status::{Sort, TokenStatus};
use crate::pipeline::tap::Tap;
use crate::pipeline::{Intake, Layout, Tuning};
use crate::plugin::catalog::Running;
use crate::plugin::directory::Directory;
use crate::store::Store;
use crate::swap::Orders;

/// After listing tokens the workers have so many times as long for trades, and so long at most.
const REST: (u32, Duration) = (9, Duration::from_secs(2));

/// Asks the workers for tokens that are alive; blocks until they answer.
type LiveTokens = Arc<dyn Fn(usize, Sort) -> Vec<TokenStatus> + Send + Sync>;

/// Says how the results of all plugins look.
type Shapes = Arc<dyn Fn() -> Vec<ResultShape> + Send + Sync>;

/// What handlers share.
pub struct State {
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) board: Arc<Board>,
    pub(super) sources: Arc<Board>,
    pub(super) rejections: Arc<Rejections>,
    pub(super) tap: Arc<Tap>,
    pub(super) plugin_lines: Arc<PluginLines>,
    pub(super) store: Arc<Store>,
    pub(super) clock: Arc<WallClock>,
    /// How the results of the plugins look that are shown now.
    pub(super) shapes: Shapes,
    /// How partitions, shards and workers belong together.
    pub(super) layout: Layout,
    pub(super) tuning: Arc<Tuning>,
    /// Tokens that lack trades.
    pub(super) evictions: Arc<Evictions>,
    /// Where memory is asked to be given back; none where nobody hears it.
    pub(super) giving_back: Option<Requests>,
    /// The most linear memory of all visible cells; none for no limit.
    pub(super) memory_limit: Option<u64>,
    /// How plugins are, and what may be done with them.
    pub(super) plugins: Plugins,
    /// The hosts of the group.
    pub(super) members: Arc<Members>,
    /// Whether reading has begun.
    pub(super) started: Arc<AtomicBool>,
    /// When the process began.
    pub(super) begun: Instant,
    /// Held while gauges are set and read, so that two scrapes do not mix.
    pub(super) scrape: Mutex<()>,
    pub(super) live_listing: LiveTokens,
    /// Held by whoever has the workers list tokens: until then they are left alone.
    pub(super) listing_turn: Arc<Turns<Instant>>,
    /// What the operator's page keeps between two drawings.
    pub(super) page: Page,
    /// The streams that keep pages fresh.
    pub(super) streams: Arc<Streams>,
}

/// How one plugin's results look: their key, and the order of what is inside.
pub(super) struct ResultShape {
    /// The plugin's name.
    pub(super) plugin: String,
    /// The last part of the Redis keys.
    pub(super) key: Arc<str>,
    /// Window names, in configured order.
    pub(super) groups: Vec<String>,
    /// The fields of each group.
    pub(super) fields: Vec<String>,
}

impl ResultShape {
    fn of(plugin: &Running) -> Self {
        let fields = &plugin.plugin.description().fields;
        Self {
            plugin: plugin.name().to_owned(),
            key: plugin.result_key().into(),
            groups: plugin.settings.groups.clone(),
            fields: fields.iter().map(|field| field.name.clone()).collect(),
        }
    }
}

impl State {
    /// Takes what is shown from a pipeline; `started` says when it reads, `changing` how plugins change, where
    /// they do.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(
        intake: Intake,
        started: Arc<AtomicBool>,
        changing: Option<(Orders, Directory)>,
    ) -> io::Result<Self> {
        let shared = Arc::clone(intake.shared());
        let changes = Arc::clone(&shared);
        Ok(Self {
            metrics: Arc::clone(&shared.metrics),
            health: Arc::clone(&shared.health),
            board: Arc::clone(&shared.board),
            sources: Arc::clone(&shared.source_board),
            rejections: Arc::clone(&shared.rejections),
            tap: Arc::clone(&shared.tap),
            plugin_lines: log::plugin_lines(),
            store: Arc::clone(&shared.writing.store),
            clock: Arc::clone(&shared.clock),
            shapes: Arc::new(move || changes.changes.shown().iter().map(ResultShape::of).collect()),
            layout: shared.layout,
            tuning: Arc::clone(&shared.tuning),
            evictions: Arc::clone(&shared.evictions),
            giving_back: None,
            memory_limit: None,
            plugins: Plugins::of(&shared, changing)?,
            members: Arc::default(),
            started,
            begun: Instant::now(),
            scrape: Mutex::new(()),
            live_listing: Arc::new(move |limit, sort| intake.tokens(limit, sort)),
            listing_turn: Arc::new(Turns::new(Instant::now())),
            page: Page::default(),
            streams: Arc::default(),
        })
    }

    /// The same with what looks after memory.
    #[must_use]
    pub fn kept_by(self, giving_back: Requests, memory_limit: Option<u64>) -> Self {
        Self { giving_back: Some(giving_back), memory_limit, ..self }
    }

    /// The same with what is heard of other hosts.
    #[must_use]
    pub fn among(self, members: Arc<Members>) -> Self {
        Self { members, ..self }
    }

    /// Until which T a token lacks trades since it was once forgotten for its memory; none when it lacks none.
    pub(super) fn incomplete_until_ms(&self, address: &str) -> Option<i64> {
        let until_ms = self.evictions.incomplete_until(address)?;
        let clock_ms = self.board.shards().into_values().filter_map(|shard| shard.clock_ms).min();
        clock_ms.is_none_or(|clock_ms| clock_ms < until_ms).then_some(until_ms)
    }

    /// The first tokens that are alive. One asks at a time, and not without a rest between two: it is the threads of
    /// the trades that answer.
    pub(super) async fn live_tokens(&self, limit: usize, sort: Sort) -> Result<Vec<TokenStatus>, Problem> {
        let mut rests_until = Arc::clone(&self.listing_turn).lock_owned().await;
        sleep_until((*rests_until).into()).await;
        let listing = Arc::clone(&self.live_listing);
        let answer = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let tokens = listing(limit, sort);
            // Given back by the thread itself: a caller that gave up does not free a stuck one.
            *rests_until = Instant::now() + (began.elapsed() * REST.0).min(REST.1);
            tokens
        });
        answer.await.map_err(|ended| match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Problem::unavailable("the service is ending", "ask another instance"),
        })
    }

    /// How the results of all plugins look.
    pub(super) fn results(&self) -> Vec<ResultShape> {
        (self.shapes)()
    }

    pub(super) fn started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    pub(super) fn uptime(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Tokens that are alive in all shards.
    pub(super) fn active_tokens(&self) -> usize {
        self.board.shards().values().map(|shard| shard.tokens).sum()
    }

    /// The workers that make no progress.
    pub(super) fn wedged(&self) -> Vec<usize> {
        self.health.wedged(self.clock.monotonic_ms())
    }

    /// How old the oldest of a shard's checkpoints is, in seconds; none before the first one.
    pub(super) fn checkpoint_age_seconds(&self, shard: &ShardStatus) -> Option<f64> {
        let oldest_ms = shard.checkpoints_ms.values().min()?;
        Some(self.clock.monotonic_ms().saturating_sub(*oldest_ms) as f64 / 1e3)
    }

    /// How far a clock is behind the wall, in seconds.
    pub(super) fn behind_seconds(&self, clock_ms: i64) -> f64 {
        self.clock.now_ms().saturating_sub(clock_ms) as f64 / 1e3
    }
}
