//! The end of a host: one signal drains, a second one ends at once.
//!
//! The invariant: after a drained end Redis holds exactly what the committed offsets cover.

use std::time::Duration;

use aggregator_tests::compare::{self, AGGREGATES};
use aggregator_tests::host::Host;
use aggregator_tests::oracle::Oracle;
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use aggregator_tests::time;
use nix::sys::signal::Signal;

use crate::rig::{DEFAULT_WINDOWS, LIMIT, Rig, wait_drained};

const PARTITIONS: i32 = 4;

/// An oracle of the messages that lie before the committed offsets.
fn committed(rig: &Rig, messages: &[Message]) -> Oracle {
    let ends = rig.broker.committed(&rig.topic, &rig.topic, PARTITIONS).expect("the broker answers");
    let mut oracle = Oracle::new(DEFAULT_WINDOWS).expect("windows");
    let mut offsets = vec![0_i64; PARTITIONS as usize];
    for message in messages {
        let partition = message.partition as usize;
        if offsets[partition] < ends[partition].unwrap_or(0) {
            oracle.take_all([message]).expect("trades");
        }
        offsets[partition] += 1;
    }
    oracle
}

#[test]
fn sigterm_under_load_ends_with_0_within_five_seconds_and_everything_taken_is_written() {
    let options = Options { tokens: 200, ..Options::new(41, Shape::Arrays, 300_000) };
    let messages: Vec<Message> = Stream::new(&options).collect();
    let rig = Rig::new("sigterm", PARTITIONS);
    rig.send(&messages);
    let mut host = Host::start(&rig.event()).unwrap();
    host.wait_metric("aggregator_trades_total", LIMIT, |trades| trades > 10_000.0).unwrap();
    let ended = host.stop(LIMIT).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    assert!(ended.took <= Duration::from_secs(5), "it took {:?}", ended.took);

    let oracle = committed(&rig, &messages);
    assert!(!oracle.is_empty(), "nothing was committed");
    let mut connection = rig.connect();
    for token in oracle.tokens() {
        let row = results::read(&mut connection, token, AGGREGATES, Encoding::Json).unwrap();
        let Some(row) = row else {
            // Only a token whose windows are empty may have no key.
            assert!(!oracle.is_live(token, oracle.newest_ms()), "{token} has no results");
            continue;
        };
        let told = row.cell("1min", "last_update").and_then(|cell| cell.text()).unwrap().to_owned();
        let expected = oracle.values(token, time::parse_ms(&told).unwrap());
        let differences = compare::row_differences(&oracle, &expected, None, &row);
        assert!(differences.is_empty(), "{token} {differences:?}");
    }
}

#[test]
fn an_idle_host_ends_with_0_on_sigint_too() {
    let rig = Rig::new("sigint", 1);
    let mut host = Host::start_ready(&rig.wall()).unwrap();
    host.signal(Signal::SIGINT);
    let ended = host.wait_end(LIMIT).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    assert!(ended.took <= Duration::from_secs(5), "it took {:?}", ended.took);
}

#[test]
fn a_second_signal_ends_at_once_with_75() {
    let options = Options::new(42, Shape::Arrays, 5_000);
    let messages: Vec<Message> = Stream::new(&options).collect();
    let rig = Rig::new("second", PARTITIONS);
    let mut host = Host::start_ready(&rig.event()).unwrap();
    // A Redis that does not answer keeps the drain from ending by itself.
    rig.redis.signal(Signal::SIGSTOP);
    rig.send(&messages);
    wait_drained(&host, 5_000);
    host.signal(Signal::SIGTERM);
    host.wait_line("Draining", LIMIT).unwrap();
    host.signal(Signal::SIGTERM);
    let ended = host.wait_end(LIMIT).unwrap();
    rig.redis.signal(Signal::SIGCONT);
    assert_eq!(ended.status.code(), Some(75), "{}", ended.output);
    assert!(ended.took <= Duration::from_millis(500), "it took {:?}", ended.took);
}
