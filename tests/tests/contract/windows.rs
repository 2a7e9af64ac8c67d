//! The main promise: what stands in Redis after a stream is what the oracle computes from it.
//!
//! On event time, so that the end of a stream has one right answer. The invariant: every token, window and field is
//! compared, not a sample.

use std::collections::BTreeMap;

use aggregator_tests::compare::AGGREGATES;
use aggregator_tests::host::Host;
use aggregator_tests::oracle::Oracle;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use redis::Commands as _;

use crate::rig::{DEFAULT_WINDOWS, Rig, oracle, wait_drained, wait_final};

const TRADES: usize = 20_000;

fn options(seed: u64, shape: Shape) -> Options {
    Options { tokens: 200, ..Options::new(seed, shape, TRADES) }.disturbed()
}

#[test]
fn unkeyed_arrays_over_four_partitions_give_the_oracles_results() {
    for seed in [1, 2, 3] {
        // Whole seconds, as block times are, in one of the runs.
        let options = Options { whole_seconds: seed == 2, ..options(seed, Shape::Arrays) };
        let messages: Vec<Message> = Stream::new(&options).collect();
        let rig = Rig::new("arrays", 4);
        rig.send(&messages);
        let oracle = oracle(DEFAULT_WINDOWS, &messages);
        let host = Host::start(&rig.event()).unwrap();
        wait_drained(&host, TRADES);
        wait_final(&oracle, &mut rig.connect(), Encoding::Json, |_| oracle.newest_ms());
    }
}

#[test]
fn keyed_singles_give_the_oracles_results_with_each_partitions_own_clock() {
    for seed in [4, 5] {
        let options = Options { whole_seconds: seed == 5, ..options(seed, Shape::Singles) };
        let messages: Vec<Message> = Stream::new(&options).collect();
        let rig = Rig::new("singles", 4);
        rig.send(&messages);
        let oracle = oracle(DEFAULT_WINDOWS, &messages);
        let host = Host::start(&rig.event().with("PARTITIONING", "by-token")).unwrap();
        wait_drained(&host, TRADES);
        wait_final(&oracle, &mut rig.connect(), Encoding::Json, |token| oracle.newest_of_partition_ms(token));
    }
}

#[test]
fn trades_older_than_the_longest_window_disturb_nobody() {
    let options = Options { late_ms: 3 * 3_600_000, ..options(6, Shape::Arrays) };
    let messages: Vec<Message> = Stream::new(&options).collect();
    let rig = Rig::new("late", 4);
    rig.send(&messages);
    let oracle = oracle(DEFAULT_WINDOWS, &messages);
    let host = Host::start(&rig.event()).unwrap();
    wait_drained(&host, TRADES);
    wait_final(&oracle, &mut rig.connect(), Encoding::Json, |_| oracle.newest_ms());
}

#[test]
fn trades_that_come_after_the_end_of_the_stream_move_the_results_on() {
    let messages: Vec<Message> = Stream::new(&options(7, Shape::Arrays)).collect();
    let (first, second) = messages.split_at(messages.len() / 2);
    let count = |messages: &[Message]| messages.iter().map(|message| message.trades.len()).sum::<usize>();
    let rig = Rig::new("halves", 4);
    rig.send(first);
    let host = Host::start(&rig.event()).unwrap();
    wait_drained(&host, count(first));
    let half = oracle(DEFAULT_WINDOWS, first);
    wait_final(&half, &mut rig.connect(), Encoding::Json, |_| half.newest_ms());
    rig.send(second);
    wait_drained(&host, TRADES);
    let whole = oracle(DEFAULT_WINDOWS, &messages);
    wait_final(&whole, &mut rig.connect(), Encoding::Json, |_| whole.newest_ms());
}

#[test]
fn windows_of_any_length_and_order_are_kept_under_their_names() {
    let windows = "4h,90s,10min,1min";
    let messages: Vec<Message> = Stream::new(&options(8, Shape::Arrays)).collect();
    let rig = Rig::new("names", 4);
    rig.send(&messages);
    let oracle = oracle(windows, &messages);
    let host = Host::start(&rig.event().with("TIME_WINDOWS", windows)).unwrap();
    wait_drained(&host, TRADES);
    wait_final(&oracle, &mut rig.connect(), Encoding::Json, |_| oracle.newest_ms());
}

#[test]
fn message_pack_holds_the_same_values_with_the_nearest_floats() {
    let messages: Vec<Message> = Stream::new(&options(9, Shape::Arrays)).collect();
    let rig = Rig::new("msgpack", 4);
    rig.send(&messages);
    let oracle = oracle(DEFAULT_WINDOWS, &messages);
    let host = Host::start(&rig.event().with("OUTPUT_ENCODING", "msgpack")).unwrap();
    wait_drained(&host, TRADES);
    wait_final(&oracle, &mut rig.connect(), Encoding::MessagePack, |_| oracle.newest_ms());
}

#[test]
fn final_results_have_the_same_bytes_whatever_the_batches_flushes_and_shards() {
    let messages: Vec<Message> = Stream::new(&options(10, Shape::Arrays)).collect();
    let rig = Rig::new("bytes", 4);
    rig.send(&messages);
    let oracle = oracle(DEFAULT_WINDOWS, &messages);
    let one = rig.event().with("FLUSH_INTERVAL", "10ms").with("SHARDS", "1").with("MAX_WORKERS", "1");
    let other =
        rig.event().with("FLUSH_INTERVAL", "700ms").with("SHARDS", "7").with("KAFKA_CONSUMER_GROUP", "other");
    let first = final_bytes(&rig, &rig.redis, &one, &oracle);
    let empty = RedisServer::start().unwrap();
    let second = final_bytes(&rig, &empty, &other, &oracle);
    assert_eq!(first.len(), second.len());
    for (token, bytes) in first {
        assert_eq!(Some(&bytes), second.get(&token), "the results of {token}");
    }
}

/// Runs a host to the end of the topic and gives the bytes of every live token.
fn final_bytes(
    rig: &Rig,
    redis: &RedisServer,
    settings: &Settings,
    oracle: &Oracle,
) -> BTreeMap<String, Vec<u8>> {
    let host = Host::start(&settings.clone().with("REDIS_ADDR", &redis.address())).expect("a host starts");
    wait_drained(&host, TRADES);
    let mut connection = redis.connect().expect("redis answers");
    let clock_ms = oracle.newest_ms();
    wait_final(oracle, &mut connection, Encoding::Json, |_| clock_ms);
    assert!(!rig.topic.is_empty());
    let live = oracle.tokens().into_iter().filter(|token| oracle.is_live(token, clock_ms));
    let bytes = |token: &str| {
        let bytes = results::read_bytes(&mut connection, token, AGGREGATES).expect("redis answers");
        (token.to_owned(), bytes.unwrap_or_default())
    };
    live.map(bytes).collect()
}

#[test]
fn keys_of_an_event_time_run_never_expire() {
    let messages: Vec<Message> = Stream::new(&Options::new(11, Shape::Arrays, 500)).collect();
    let rig = Rig::new("forever", 4);
    rig.send(&messages);
    let oracle = oracle(DEFAULT_WINDOWS, &messages);
    let host = Host::start(&rig.event()).unwrap();
    wait_drained(&host, 500);
    let mut connection = rig.connect();
    wait_final(&oracle, &mut connection, Encoding::Json, |_| oracle.newest_ms());
    for token in oracle.tokens() {
        for key in [AGGREGATES, "last_update"] {
            let ttl: i64 = connection.ttl(results::key(token, key)).unwrap();
            // -1: no expiry; -2: no such key, for a forgotten token.
            assert!(ttl < 0, "{token} {key} expires in {ttl} s");
        }
    }
}
