//! What nearly every test begins with: a topic of the shared broker, an empty Redis, and ways to wait for an end.
//!
//! The invariant: two rigs share nothing but the broker.

use std::time::Duration;

use aggregator_tests::broker::{self, Broker};
use aggregator_tests::compare;
use aggregator_tests::host::Host;
use aggregator_tests::metrics;
use aggregator_tests::oracle::Oracle;
use aggregator_tests::producer::Producer;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::results::Encoding;
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::Message;
use aggregator_tests::wait;

/// The windows of a host that is not told any.
pub(crate) const DEFAULT_WINDOWS: &str = "1min,5min,15min,30min,1hour";
/// How long a drain or a change may take on a machine that has other work.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// How many differences a failing test shows.
const SHOWN: usize = 20;

/// A topic, a Redis and the shared broker.
pub(crate) struct Rig {
    /// The shared broker.
    pub(crate) broker: &'static Broker,
    /// This test's Redis.
    pub(crate) redis: RedisServer,
    /// This test's topic.
    pub(crate) topic: String,
}

impl Rig {
    /// Makes a topic whose name begins with `name`.
    pub(crate) fn new(name: &str, partitions: i32) -> Self {
        let broker = broker::shared();
        let topic = broker.topic(name, partitions).expect("the broker makes a topic");
        let redis = RedisServer::start().expect("a redis starts");
        Self { broker, redis, topic }
    }

    /// The settings of a host on event time, which reads the topic from its beginning.
    pub(crate) fn event(&self) -> Settings {
        Settings::of(self.broker, &self.topic, &self.redis).with("CLOCK", "event")
    }

    /// The settings of a host on the wall clock with windows short enough to wait for.
    pub(crate) fn wall(&self) -> Settings {
        Settings::of(self.broker, &self.topic, &self.redis).with("TIME_WINDOWS", "2s,5s")
    }

    /// Sends messages and waits until the broker has them.
    pub(crate) fn send<'a>(&self, messages: impl IntoIterator<Item = &'a Message>) {
        let producer = Producer::new(self.broker, &self.topic).expect("a producer");
        producer.send(messages).expect("the broker takes the messages");
    }

    /// A connection to this test's Redis.
    pub(crate) fn connect(&self) -> redis::Connection {
        self.redis.connect().expect("redis answers")
    }
}

/// An oracle that has taken all trades of these messages.
pub(crate) fn oracle<'a>(windows: &str, messages: impl IntoIterator<Item = &'a Message>) -> Oracle {
    let mut oracle = Oracle::new(windows).expect("windows that the oracle knows");
    oracle.take_all(messages).expect("trades that the oracle reads");
    oracle
}

/// Waits until so many trades have been counted or rejected.
pub(crate) fn wait_drained(host: &Host, trades: usize) {
    let mut last = 0.0;
    let drained = wait::until_true("all trades to be taken", LIMIT, || {
        let Ok(page) = host.get("/metrics") else {
            return false;
        };
        let taken = metrics::value(&page.body, "aggregator_trades_total").unwrap_or(0.0);
        last = taken + metrics::sum(&page.body, "aggregator_rejected_total");
        last >= trades as f64
    });
    drained.unwrap_or_else(|error| panic!("{error}: {last} of {trades} trades were taken"));
    assert_eq!(last, trades as f64, "trades taken");
}

/// Waits until the final results of an event-time run stand in Redis, exactly as the oracle says.
pub(crate) fn wait_final(
    oracle: &Oracle,
    connection: &mut redis::Connection,
    encoding: Encoding,
    clock_of: impl Fn(&str) -> i64,
) {
    let mut differences = Vec::new();
    let equal = wait::until_true("the final results", LIMIT, || {
        differences =
            compare::final_results(oracle, connection, encoding, &clock_of).expect("results can be read");
        differences.is_empty()
    });
    if equal.is_err() {
        let shown = &differences[..differences.len().min(SHOWN)];
        panic!("{} differences from the oracle:\n{}", differences.len(), shown.join("\n"));
    }
}
