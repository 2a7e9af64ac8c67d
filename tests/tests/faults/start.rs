//! Starts while something is away: a topic that is not there yet, a broker or a Redis that does not answer.
//!
//! The invariant: the host stays, names what it waits for, and begins by itself when that is there.

use std::time::Duration;

use aggregator_tests::broker::{self, Broker, Options};
use aggregator_tests::host::Host;
use aggregator_tests::producer::Producer;
use aggregator_tests::redis_server::{Memory, RedisServer};
use aggregator_tests::report::Kept;
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::{self, Message, Shape, Stream};

use crate::run::{LIMIT, scaled, seed, wait_unready};

/// How long something may take to be found that is looked for every ten seconds.
const FOUND_WITHIN: Duration = Duration::from_secs(20);

fn messages(seed: u64) -> Vec<Message> {
    // A span that no window minds: partitions that stood at their end come in any order.
    Stream::new(&stream::Options { span_ms: 60_000, ..stream::Options::new(seed, Shape::Singles, 1_000) })
        .collect()
}

#[test]
fn a_topic_that_is_missing_is_named_and_read_when_it_is_made() {
    let _row = Kept::of("start: topic missing");
    let broker = broker::shared();
    for partitioning in ["shuffle", "by-token"] {
        let topic = format!("later-{partitioning}");
        let redis = RedisServer::start().unwrap();
        let settings =
            Settings::of(broker, &topic, &redis).with("CLOCK", "event").with("PARTITIONING", partitioning);
        let host = Host::start(&settings).unwrap();
        let named = format!("kafka: topic {topic} does not exist");
        wait_unready(&host, &named, LIMIT);
        broker.create_topic(&topic, 4).unwrap();
        let messages = messages(seed(141, 0));
        Producer::new(broker, &topic).unwrap().send(&messages).unwrap();
        let all = |trades: f64| trades == messages.len() as f64;
        host.wait_metric("aggregator_trades_total", scaled(FOUND_WITHIN), all).unwrap();
        host.wait_ready(LIMIT).unwrap();
    }
}

#[test]
fn a_broker_and_a_redis_behind_links_that_are_down_at_the_start_are_named_and_used_when_they_are_there() {
    let _row = Kept::of("start: links to broker and redis down");
    let broker = Broker::start(&Options { proxied: true, ..Options::default() }).unwrap();
    for hold in [true, false] {
        let redis = RedisServer::start_proxied(Memory::Volatile).unwrap();
        let topic = broker.topic("away", 4).unwrap();
        let messages = messages(seed(142, 0));
        Producer::new(&broker, &topic).unwrap().send(&messages).unwrap();
        for link in [broker.link(), redis.link()] {
            if hold { link.hold() } else { link.refuse() }
        }
        let host = Host::start(&Settings::of(&broker, &topic, &redis).with("CLOCK", "event")).unwrap();
        wait_unready(&host, "redis: redis", LIMIT);
        assert_eq!(host.get("/health/live").unwrap().status, 200);
        redis.link().heal();
        // The lease is taken first; then Kafka is asked.
        wait_unready(&host, "kafka: ", LIMIT);
        host.wait_metric("aggregator_kafka_errors_total", LIMIT, |errors| errors > 0.0).unwrap();
        broker.link().heal();
        let all = |trades: f64| trades == messages.len() as f64;
        host.wait_metric("aggregator_trades_total", scaled(FOUND_WITHIN), all).unwrap();
        host.wait_ready(LIMIT).unwrap();
    }
}
