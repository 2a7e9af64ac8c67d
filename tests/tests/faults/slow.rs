//! Messages that take a host longer to read than it takes a broker to have them, so that a backlog is soon there.
//!
//! The invariant: all messages are alike, so that their number says what each token must come to.

use std::sync::Arc;

use aggregator_tests::broker::Broker;
use aggregator_tests::compare::AGGREGATES;
use aggregator_tests::producer::Producer;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::stream::Message;
use aggregator_tests::trade::Trade;
use aggregator_tests::watch::Ends;
use aggregator_tests::{time, wait};

use crate::run::LIMIT;

const PARTITIONS: i32 = 4;
/// Of each partition.
const TOKENS: usize = 25;
/// Trades in a message.
const TRADES: usize = 1_000;
/// Trades in a round of messages, one for each partition.
pub(crate) const ROUND: usize = TRADES * PARTITIONS as usize;

/// A topic of such messages.
pub(crate) struct SlowTopic {
    pub(crate) name: String,
    /// What the broker has acknowledged.
    pub(crate) ends: Arc<Ends>,
    producer: Producer,
    messages: Vec<Message>,
}

impl SlowTopic {
    /// Makes an empty one. A token trades in one partition only.
    pub(crate) fn new(broker: &Broker) -> Self {
        let name = broker.topic("slow", PARTITIONS).expect("the broker makes a topic");
        let producer = Producer::new(broker, &name).expect("a producer");
        let messages = (0..PARTITIONS).map(message).collect();
        Self { name, ends: Arc::new(Ends::new(PARTITIONS)), producer, messages }
    }

    /// Sends some rounds and waits until the broker has them; `ends` does not say so yet.
    pub(crate) fn send_unsaid(&self, rounds: usize) {
        for _ in 0..rounds {
            self.messages
                .iter()
                .for_each(|message| self.producer.queue(message).expect("a client that takes it"));
            self.producer.poll();
        }
        self.producer.flush().expect("the broker takes the messages");
    }

    /// Says of some rounds that the broker has them.
    pub(crate) fn say(&self, rounds: usize) {
        (0..rounds).for_each(|_| (0..PARTITIONS).for_each(|partition| self.ends.add(partition)));
    }

    /// Sends some rounds and waits until the broker has them.
    pub(crate) fn send(&self, rounds: usize) {
        self.send_unsaid(rounds);
        self.say(rounds);
    }

    /// How many trades the broker is said to have.
    pub(crate) fn trades(&self) -> f64 {
        self.ends.all().iter().sum::<i64>() as f64 * TRADES as f64
    }

    /// Waits until every token has its share of what was sent.
    pub(crate) fn assert_exact(&self, redis: &RedisServer) {
        let each = self.trades() / (TOKENS as f64 * f64::from(PARTITIONS));
        let mut connection = redis.connect().expect("a redis");
        let tokens =
            (0..PARTITIONS).flat_map(|partition| (0..TOKENS).map(move |index| token(partition, index)));
        for token in tokens {
            let mut found = None;
            let exact = wait::until_true("the exact count", LIMIT, || {
                let row = results::read(&mut connection, &token, AGGREGATES, Encoding::Json)
                    .expect("redis answers");
                found = row.and_then(|row| row.cell("1hour", "buy_count")?.number());
                found == Some(each)
            });
            assert!(exact.is_ok(), "{token} has {found:?}, not {each}");
        }
    }
}

fn token(partition: i32, index: usize) -> String {
    format!("token-{partition}-{index}")
}

/// A message of many trades whose keys are escaped, so that no fast way reads it.
fn message(partition: i32) -> Message {
    let clock_ms = time::parse_ms("2026-03-01T12:00:10.000Z").expect("a time");
    let trade = |index| {
        let json = Trade::simple(&token(partition, index % TOKENS), clock_ms).json();
        json.replace("Wallet", "\\u0057allet")
    };
    let elements: Vec<String> = (0..TRADES).map(trade).collect();
    let payload = format!("[{}]", elements.join(",")).into_bytes();
    Message { partition, key: None, payload, timestamp_ms: Some(clock_ms), trades: Vec::new() }
}
