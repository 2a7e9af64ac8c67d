//! What every fault test begins and ends with: a load that flows meanwhile, and the comparison with the oracle.
//!
//! The invariant: everything that the broker acknowledged is in the oracle, and each run leaves its figures.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use aggregator_tests::broker::{self, Broker};
use aggregator_tests::compare;
use aggregator_tests::host::Host;
use aggregator_tests::oracle::Oracle;
use aggregator_tests::paths;
use aggregator_tests::producer::Producer;
use aggregator_tests::random::Random;
use aggregator_tests::redis_server::{Memory, RedisServer};
use aggregator_tests::report::Figures;
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use aggregator_tests::wait;
use aggregator_tests::watch::Ends;

/// The windows of every run.
const WINDOWS: &str = "1min,5min,15min,30min,1hour";
/// `KAFKA_SESSION_TIMEOUT` of every run.
pub(crate) const SESSION: Duration = Duration::from_secs(6);
/// How long anything may take that takes seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// Whether the whole suite is asked for, not its quick form.
pub(crate) fn full() -> bool {
    paths::variable("FAULT_FULL").is_some()
}

/// The first of a quick run, the second of a full one.
pub(crate) fn pick<T>(quick: T, whole: T) -> T {
    if full() { whole } else { quick }
}

/// How often a test repeats its fault.
pub(crate) fn runs(quick: u64, whole: u64) -> u64 {
    let asked = paths::variable("FAULT_RUNS").and_then(|text| text.parse().ok());
    asked.unwrap_or(pick(quick, whole))
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
pub(crate) struct Run<'b> {
    pub(crate) broker: &'b Broker,
    pub(crate) redis: RedisServer,
    pub(crate) topic: String,
    pub(crate) random: Random,
    /// What the broker has acknowledged.
    pub(crate) ends: Arc<Ends>,
    shape: Shape,
    /// Whether a token's clock is its partition's at the end, not that of all.
    pub(crate) clock_of_partition: bool,
    messages: Vec<Message>,
    oracle: Oracle,
    figures: Mutex<Figures>,
}

/// The load of a run, and what stands under it.
pub(crate) struct Plan<'a> {
    /// The fault, as it stands in the table.
    pub(crate) fault: &'a str,
    pub(crate) seed: u64,
    pub(crate) shape: Shape,
    /// For how many partitions; the topic has four of them at first.
    pub(crate) partitions: i32,
}

impl<'a> Plan<'a> {
    /// A load of keyed singles or unkeyed arrays for four partitions.
    pub(crate) fn new(fault: &'a str, seed: u64, shape: Shape) -> Self {
        Self { fault, seed, shape, partitions: 4 }
    }
}

impl Run<'static> {
    /// Prepares a load for the shared broker.
    pub(crate) fn new(fault: &str, seed: u64, shape: Shape, memory: Memory) -> Self {
        let redis = RedisServer::start_with(memory).expect("a redis");
        Self::on(broker::shared(), redis, &Plan::new(fault, seed, shape))
    }
}

impl<'b> Run<'b> {
    /// Prepares a load for these servers.
    pub(crate) fn on(broker: &'b Broker, redis: RedisServer, plan: &Plan<'_>) -> Self {
        let &Plan { fault, seed, shape, partitions } = plan;
        let topic = broker.topic("fault", 4.min(partitions)).expect("the broker makes a topic");
        let tokens = pick(200, 500);
        let options = Options { tokens, partitions, ..Options::new(seed, shape, pick(60_000, 200_000)) };
        let options = Options { late_permille: 20, late_ms: 2_400_000, disorder_ms: 5_000, ..options };
        let messages: Vec<Message> = Stream::new(&options).collect();
        let ends = Arc::new(Ends::new(partitions));
        let (random, figures) = (Random::new(seed), Mutex::new(Figures::of(fault)));
        let oracle = oracle(&messages);
        let clock_of_partition = shape == Shape::Singles;
        Self { broker, redis, topic, random, ends, shape, clock_of_partition, messages, oracle, figures }
    }

    /// The whole load.
    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Sends a part of the load and waits until the broker has it.
    pub(crate) fn send(&self, producer: &Producer, piece: &[Message]) {
        producer.send(piece).expect("the broker takes the messages");
        piece.iter().for_each(|message| self.ends.add(message.partition));
    }

    /// Takes records out of the oracle that nobody has read: in each partition those within its spans.
    pub(crate) fn forget(&mut self, spans: &[Vec<Range<i64>>]) {
        let mut next = vec![0; spans.len()];
        let kept = self.messages.iter().filter(|message| {
            let partition = message.partition as usize;
            let offset = next[partition];
            next[partition] += 1;
            !spans[partition].iter().any(|span| span.contains(&offset))
        });
        self.oracle = oracle(kept);
    }

    /// The figures of this run so far.
    pub(crate) fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings of a host: event time, so that the end has one right answer.
    pub(crate) fn settings(&self) -> Settings {
        let partitioning = if self.shape == Shape::Singles { "by-token" } else { "shuffle" };
        Settings::of(self.broker, &self.topic, &self.redis)
            .with("CLOCK", "event")
            .with("PARTITIONING", partitioning)
            .with("CHECKPOINT_INTERVAL", "500ms")
            .with("MAINTENANCE_INTERVAL", "1s")
            .with("KAFKA_SESSION_TIMEOUT", &format!("{}s", SESSION.as_secs()))
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
        let equal = wait::until_true("exact results", LIMIT, || {
            let Ok(mut connection) = self.redis.connect() else { return false };
            let clock_of = |token: &str| self.clock_ms(token);
            match compare::final_results(&self.oracle, &mut connection, Encoding::Json, clock_of) {
                Ok(found) => {
                    differences = found;
                    differences.is_empty()
                }
                Err(_) => false,
            }
        });
        if equal.is_err() {
            self.count_differences();
        }
        let shown = differences[..differences.len().min(10)].join("\n");
        let told: Vec<String> = hosts.iter().map(|host| told(host)).collect();
        assert!(equal.is_ok(), "{} differences: {told:?}\n{shown}", differences.len());
        // What maintenance mends was wrong for a while.
        let mended: Vec<_> = hosts.iter().flat_map(|host| host.log()).filter(is_difference).collect();
        assert!(mended.is_empty(), "results that differed from memory: {mended:?}");
    }

    /// The clock of a token's shard at the end.
    fn clock_ms(&self, token: &str) -> i64 {
        match self.clock_of_partition {
            true => self.oracle.newest_of_partition_ms(token),
            false => self.oracle.newest_ms(),
        }
    }

    /// Counts trades that are missing, or too many, in the longest window.
    fn count_differences(&self) {
        let Ok(mut connection) = self.redis.connect() else { return };
        let (mut lost, mut doubled) = (0, 0);
        for token in self.oracle.tokens() {
            let wanted = self.oracle.values(token, self.clock_ms(token));
            let wanted = wanted.last().map_or(0, |values| values.sell_count + values.buy_count);
            let row =
                results::read(&mut connection, token, compare::AGGREGATES, Encoding::Json).ok().flatten();
            let count = |field| row.as_ref()?.cell("1hour", field)?.number();
            let found = (count("sell_count").unwrap_or(0.0) + count("buy_count").unwrap_or(0.0)) as u64;
            lost += wanted.saturating_sub(found);
            doubled += found.saturating_sub(wanted);
        }
        let mut figures = self.figures();
        (figures.lost, figures.doubled) = (lost, doubled);
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut figures = self.figures();
        figures.failed = std::thread::panicking();
        figures.keep().ok();
    }
}

fn oracle<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Oracle {
    let mut oracle = Oracle::new(WINDOWS).expect("windows");
    oracle.take_all(messages).expect("trades");
    oracle
}

/// Whether a line of the log tells of a result in Redis that was not the one in memory; a key that a test has planted in
/// its place is none.
pub(crate) fn is_difference(line: &serde_json::Value) -> bool {
    line["level"] == "ERROR"
        && line["message"].as_str().is_some_and(|words| words.starts_with("The store has another"))
        && line["store"] != "something of another type"
}

/// What a host says of trades and rejections, for the words of a failure.
pub(crate) fn told(host: &Host) -> String {
    let page = host.get("/metrics").map_or_else(|error| error.to_string(), |page| page.body);
    let told = ["aggregator_trades_total", "aggregator_replayed_total", "aggregator_rejected_total", "_gap_"];
    let lines = page.lines().filter(|line| told.iter().any(|name| line.contains(name)));
    lines.filter(|line| !line.starts_with('#') && !line.ends_with(" 0")).collect::<Vec<_>>().join("; ")
}

/// Waits until a host has finished everything that the broker has acknowledged.
pub(crate) fn wait_finished(host: &Host, run: &Run<'_>) {
    wait::until_true("everything to be finished", LIMIT, || {
        let Ok(page) = host.json("/partitions") else { return false };
        let partitions = page["partitions"].as_array().cloned().unwrap_or_default();
        let processed = |end: (usize, i64)| {
            let of_end = |one: &&serde_json::Value| one["partition"].as_u64() == Some(end.0 as u64);
            partitions.iter().find(of_end).is_some_and(|one| one["processed"].as_i64() >= Some(end.1))
        };
        run.ends.all().into_iter().enumerate().all(processed)
    })
    .expect("a host that finishes");
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

/// Waits until readiness names the culprit, and says how long that took.
pub(crate) fn wait_unready(host: &Host, named: &str, limit: Duration) -> Duration {
    let began = Instant::now();
    let mut last = String::new();
    let told = wait::until_true("readiness to name the culprit", limit, || {
        let Ok(answer) = host.get("/health/ready") else { return false };
        last = answer.body;
        answer.status == 503 && last.contains(named)
    });
    told.unwrap_or_else(|error| panic!("{error}: {last}"));
    began.elapsed()
}

/// A limit in time, longer where the machine was found to be slower than the one for which it was written.
pub(crate) fn scaled(limit: Duration) -> Duration {
    /// How long a host takes on a quiet machine from its start until it is ready: a second of it until the
    /// Kafka client first says that a broker is connected.
    const CALM: Duration = Duration::from_millis(1_300);
    static SLOWNESS: OnceLock<f64> = OnceLock::new();
    let slowness = SLOWNESS.get_or_init(|| {
        let redis = RedisServer::start().expect("a redis");
        let topic = broker::shared().topic("calm", 1).expect("the broker makes a topic");
        let host = Host::start(&Settings::of(broker::shared(), &topic, &redis)).expect("a host");
        host.wait_ready(LIMIT).expect("a host that becomes ready");
        host.started().elapsed().as_secs_f64() / CALM.as_secs_f64()
    });
    limit.mul_f64(slowness.max(1.0))
}
