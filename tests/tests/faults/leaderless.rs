//! A partition without a leader when a host starts: its broker is away, the others' is there.
//!
//! The invariant: what can be read is read, and what cannot is named.

use std::time::Duration;

use aggregator_tests::broker::{Broker, Options};
use aggregator_tests::companion;
use aggregator_tests::host::Host;
use aggregator_tests::producer::Producer;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::report::Kept;
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::Message;
use aggregator_tests::trade::Trade;
use aggregator_tests::{time, wait};

use crate::run::{LIMIT, SESSION, trades, wait_unready};

/// Trades of now in every partition that is named.
fn now(partitions: &[i32]) -> Vec<Message> {
    let now_ms = time::now_ms();
    let message = |&partition: &i32| {
        let trades = vec![Trade::simple(&format!("token-of-{partition}"), now_ms)];
        let payload = trades[0].json().into_bytes();
        Message { partition, key: None, payload, timestamp_ms: Some(now_ms), trades }
    };
    partitions.iter().map(message).collect()
}

#[test]
fn a_partition_without_a_leader_at_the_start_is_named_and_the_others_are_read() {
    let _row = Kept::of("start: partition without a leader");
    let broker = Broker::start(&Options::default()).unwrap();
    let mut companion = broker.start_companion().unwrap();
    let topic = "half";
    companion::spread_topic(&broker, topic).unwrap();
    let producer = Producer::new(&broker, topic).unwrap();
    producer.send(&now(&[0, 1])).unwrap();
    companion.kill();
    companion::wait_leader(&broker, topic, 1, |leader| leader < 0).unwrap();
    producer.send(&now(&[0])).unwrap();

    let redis = RedisServer::start().unwrap();
    let settings = Settings::of(&broker, topic, &redis)
        .with("KAFKA_SESSION_TIMEOUT", &format!("{}s", SESSION.as_secs()))
        .with("CHECKPOINT_INTERVAL", "500ms");
    let host = Host::start(&settings).unwrap();
    host.wait_metric("aggregator_trades_total", LIMIT, |trades| trades == 2.0).unwrap();
    wait_unready(&host, "half[1] does not answer", LIMIT);
    // After a session the clock goes without it: there are results, and checkpoints.
    wait::until_true("results of the other partition", LIMIT, || {
        host.json("/tokens/token-of-0").is_ok_and(|token| token["results"]["aggregates"].is_object())
    })
    .unwrap();
    host.wait_metric("aggregator_checkpoints_total", LIMIT, |stored| stored > 0.0).unwrap();
    producer.send(&now(&[0])).unwrap();
    host.wait_metric("aggregator_trades_total", Duration::from_secs(5), |trades| trades == 3.0).unwrap();

    companion.restart().unwrap();
    host.wait_metric("aggregator_trades_total", LIMIT, |trades| trades == 4.0).unwrap();
    host.wait_ready(LIMIT).unwrap();
    assert_eq!(trades(&host), 4.0);
}
