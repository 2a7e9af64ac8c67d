//! What every fault test begins and ends with: a load that flows meanwhile, and the comparison with the oracle.
//!
//! The invariant: the load goes on whatever happens to hosts and Redis, and everything that the broker acknowledged is
//! in the oracle.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use aggregator_tests::broker::{self, Broker};
use aggregator_tests::compare;
use aggregator_tests::host::Host;
use aggregator_tests::oracle::Oracle;
use aggregator_tests::paths;
use aggregator_tests::producer::Producer;
use aggregator_tests::random::Random;
use aggregator_tests::redis_server::{Memory, RedisServer};
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use aggregator_tests::wait;

/// The windows of every run.
const WINDOWS: &str = "1min,5min,15min,30min,1hour";
/// How long anything may take that takes seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);
/// In how many pieces a load is sent, each acknowledged before the next.
const PIECES: usize = 80;

/// How often a test repeats its fault.
pub(crate) fn runs(quick: u64) -> u64 {
    paths::variable("FAULT_RUNS").and_then(|text| text.parse().ok()).unwrap_or(quick)
}

/// The seed of a run; printed, so that a failing one can be repeated.
#[expect(clippy::print_stderr, reason = "a failing run shows its seed")]
pub(crate) fn seed(of_test: u64, run: u64) -> u64 {
    let seed =
        paths::variable("FAULT_SEED").and_then(|text| text.parse().ok()).unwrap_or(of_test * 1000 + run);
    eprintln!("run {run}: FAULT_SEED={seed}");
    seed
}

/// One run: a topic with a load, a Redis, and the oracle of the whole load.
pub(crate) struct Run {
    pub(crate) broker: &'static Broker,
    pub(crate) redis: RedisServer,
    pub(crate) topic: String,
    pub(crate) random: Random,
    shape: Shape,
    messages: Vec<Message>,
    oracle: Oracle,
}

impl Run {
    /// Prepares a load of keyed singles or unkeyed arrays.
    pub(crate) fn new(name: &str, seed: u64, shape: Shape, memory: Memory) -> Self {
        Self::with_partitions(name, seed, shape, memory, 4)
    }

    /// Prepares a load for a number of partitions, of which the topic may get some later.
    pub(crate) fn with_partitions(
        name: &str,
        seed: u64,
        shape: Shape,
        memory: Memory,
        partitions: i32,
    ) -> Self {
        let broker = broker::shared();
        let topic = broker.topic(name, 4.min(partitions)).expect("the broker makes a topic");
        let options = Options { tokens: 200, partitions, ..Options::new(seed, shape, 60_000) };
        let options = Options { late_permille: 20, late_ms: 2_400_000, disorder_ms: 5_000, ..options };
        let messages: Vec<Message> = Stream::new(&options).collect();
        let mut oracle = Oracle::new(WINDOWS).expect("windows");
        oracle.take_all(&messages).expect("trades");
        let redis = RedisServer::start_with(memory).expect("a redis");
        Self { broker, redis, topic, random: Random::new(seed), shape, messages, oracle }
    }

    /// The settings of a host: event time, so that the end has one right answer.
    pub(crate) fn settings(&self) -> Settings {
        let partitioning = if self.shape == Shape::Singles { "by-token" } else { "shuffle" };
        Settings::of(self.broker, &self.topic, &self.redis)
            .with("CLOCK", "event")
            .with("PARTITIONING", partitioning)
            .with("CHECKPOINT_INTERVAL", "500ms")
            .with("KAFKA_SESSION_TIMEOUT", "6s")
    }

    /// The load in two halves.
    pub(crate) fn halves(&self) -> (&[Message], &[Message]) {
        self.messages.split_at(self.messages.len() / 2)
    }

    /// The tokens with this many trades, and with how many of them.
    pub(crate) fn token_with(&self, trades: std::ops::Range<usize>) -> (String, usize) {
        let mut counts = std::collections::BTreeMap::<&str, usize>::new();
        for trade in self.messages.iter().flat_map(|message| &message.trades) {
            *counts.entry(&trade.token).or_default() += 1;
        }
        let found = counts.into_iter().find(|(_, count)| trades.contains(count));
        found.map(|(token, count)| (token.to_owned(), count)).expect("a token with so many trades")
    }

    /// Waits until the plugin that counts trades (`hostile`) has counted all of them, but for some tokens.
    pub(crate) fn assert_counted(&self, hosts: &[&Host], but: &[&str]) {
        let mut wrong = Vec::new();
        let equal = wait::until_true("exact counts", LIMIT, || {
            let Ok(mut connection) = self.redis.connect() else { return false };
            wrong = self.wrong_counts(&mut connection, but);
            wrong.is_empty()
        });
        let told: Vec<String> = hosts.iter().map(|host| told(host)).collect();
        assert!(
            equal.is_ok(),
            "{} wrong counts: {told:?}\n{}",
            wrong.len(),
            wrong[..wrong.len().min(10)].join("\n")
        );
    }

    fn wrong_counts(&self, connection: &mut redis::Connection, but: &[&str]) -> Vec<String> {
        let clock_ms = self.oracle.newest_ms();
        let mut wrong = Vec::new();
        for token in self.oracle.tokens().into_iter().filter(|token| !but.contains(token)) {
            let row = results::read(connection, token, "hostile", Encoding::Json).ok().flatten();
            for (window, values) in self.oracle.windows().iter().zip(self.oracle.values(token, clock_ms)) {
                let expected = values.sell_count + values.buy_count;
                let cell = row.as_ref().and_then(|row| row.cell(&window.name, "trades")?.number());
                if cell.unwrap_or(0.0) != expected as f64 {
                    wrong.push(format!("{token} {}: {cell:?}, not {expected}", window.name));
                }
            }
        }
        wrong
    }

    /// Waits until every result in Redis is what the oracle says.
    pub(crate) fn assert_exact(&self, hosts: &[&Host]) {
        let mut differences = Vec::new();
        let by_token = self.shape == Shape::Singles;
        let clock_of = |token: &str| match by_token {
            true => self.oracle.newest_of_partition_ms(token),
            false => self.oracle.newest_ms(),
        };
        let equal = wait::until_true("exact results", LIMIT, || {
            let Ok(mut connection) = self.redis.connect() else { return false };
            match compare::final_results(&self.oracle, &mut connection, Encoding::Json, clock_of) {
                Ok(found) => {
                    differences = found;
                    differences.is_empty()
                }
                Err(_) => false,
            }
        });
        let shown = differences[..differences.len().min(10)].join("\n");
        let told: Vec<String> = hosts.iter().map(|host| told(host)).collect();
        assert!(equal.is_ok(), "{} differences: {told:?}\n{shown}", differences.len());
    }
}

/// A load that flows in the background.
pub(crate) struct Load<'scope> {
    sent: &'scope AtomicUsize,
    size: usize,
    hurry: &'scope AtomicBool,
    thread: ScopedJoinHandle<'scope, ()>,
}

/// What a load shares with its thread.
#[derive(Default)]
pub(crate) struct Pace {
    sent: AtomicUsize,
    hurry: AtomicBool,
}

impl<'scope> Load<'scope> {
    /// Begins to send everything over about `span`.
    pub(crate) fn start(
        scope: &'scope Scope<'scope, '_>,
        run: &'scope Run,
        pace: &'scope Pace,
        span: Duration,
    ) -> Self {
        Self::of(scope, run, pace, &run.messages, span)
    }

    /// Begins to send a part of the load.
    pub(crate) fn of(
        scope: &'scope Scope<'scope, '_>,
        run: &'scope Run,
        pace: &'scope Pace,
        messages: &'scope [Message],
        span: Duration,
    ) -> Self {
        let pause = span / PIECES as u32;
        let piece = messages.len().div_ceil(PIECES).max(1);
        let thread = scope.spawn(move || {
            let producer = Producer::new(run.broker, &run.topic).expect("a producer");
            for piece in messages.chunks(piece) {
                producer.send(piece).expect("the broker takes the messages");
                pace.sent.fetch_add(piece.len(), Ordering::Relaxed);
                if !pace.hurry.load(Ordering::Relaxed) {
                    std::thread::sleep(pause);
                }
            }
        });
        Self { sent: &pace.sent, size: messages.len(), hurry: &pace.hurry, thread }
    }

    /// Waits until a share of the load has been sent.
    pub(crate) fn wait_for(&self, share: f64) {
        let wanted = (self.size as f64 * share) as usize;
        wait::until_true("the load to be sent so far", LIMIT, || self.sent.load(Ordering::Relaxed) >= wanted)
            .expect("a load that flows");
    }

    /// Waits for its end.
    pub(crate) fn wait(self) {
        self.thread.join().expect("a load without a failure");
    }

    /// Sends the rest at once and waits for its end.
    pub(crate) fn finish(self) {
        self.hurry.store(true, Ordering::Relaxed);
        self.wait();
    }
}

/// What a host says of trades and rejections, for the words of a failure.
pub(crate) fn told(host: &Host) -> String {
    let page = host.get("/metrics").map_or_else(|error| error.to_string(), |page| page.body);
    let told = ["aggregator_trades_total", "aggregator_replayed_total", "aggregator_rejected_total", "_gap_"];
    let lines = page.lines().filter(|line| told.iter().any(|name| line.contains(name)));
    lines.filter(|line| !line.starts_with('#') && !line.ends_with(" 0")).collect::<Vec<_>>().join("; ")
}

/// The trades that a host has counted itself.
pub(crate) fn trades(host: &Host) -> f64 {
    host.metric("aggregator_trades_total").unwrap_or(0.0)
}

/// Waits until a host has counted some trades and stored a checkpoint of them.
pub(crate) fn wait_serving(host: &Host) {
    host.wait_metric("aggregator_trades_total", LIMIT, |trades| trades > 0.0).expect("a host that counts");
    host.wait_metric("aggregator_checkpoints_total", LIMIT, |stored| stored > 0.0)
        .expect("a host that stores checkpoints");
}
