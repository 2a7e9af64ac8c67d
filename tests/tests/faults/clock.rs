//! Row 26: trades from yesterday and tomorrow, out of order, at equal times, in partitions that are silent or hours
//! ahead.
//!
//! Steps of the system clock need privileges; the clock's own tests cover them. The invariant: the same topic gives the
//! same bytes, however and in how many pieces it is read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aggregator_tests::broker;
use aggregator_tests::compare::{self, AGGREGATES};
use aggregator_tests::host::Host;
use aggregator_tests::oracle::Oracle;
use aggregator_tests::producer::Producer;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::report::Kept;
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use aggregator_tests::trade::Trade;
use aggregator_tests::watch::Falls;
use aggregator_tests::{time, wait};
use nix::sys::signal::Signal;
use redis::Commands as _;

use crate::run::{LIMIT, pick, scaled, seed, wait_serving};

const HOUR_MS: i64 = 3_600_000;
const WINDOWS: &str = "1min,5min,15min,30min,1hour";
/// The partition that is hours ahead, and the one without any trade.
const AHEAD: i32 = 2;
const PARTITIONS: i32 = 4;

/// Keyed trades at whole seconds, a minute out of order, of which one partition is three hours ahead.
fn backlog(seed: u64) -> Vec<Message> {
    let options = Options {
        tokens: 200,
        partitions: PARTITIONS - 1,
        ..Options::new(seed, Shape::Singles, pick(40_000, 200_000))
    };
    let options = Options { disorder_ms: 60_000, whole_seconds: true, ..options };
    let ahead = |mut message: Message| {
        if message.partition == AHEAD {
            message.trades.iter_mut().for_each(|trade| trade.time_ms += 3 * HOUR_MS);
            message.payload = message.trades[0].json().into_bytes();
            message.timestamp_ms = message.timestamp_ms.map(|timestamp_ms| timestamp_ms + 3 * HOUR_MS);
        }
        message
    };
    Stream::new(&options).map(ahead).collect()
}

/// Everything that consumers see of tokens that are alive: the keys of others are all zero, or gone when maintenance has
/// passed.
fn dump(redis: &RedisServer) -> BTreeMap<String, Vec<u8>> {
    let mut connection = redis.connect().expect("redis answers");
    let keys: Vec<String> =
        connection.scan_match("token:*").unwrap().collect::<redis::RedisResult<_>>().unwrap();
    let active: Vec<(String, i64)> = connection.zrange_withscores("tokens:active", 0, -1).unwrap();
    let alive = |key: &String| active.iter().any(|(token, _)| key.starts_with(&format!("token:{token}:")));
    let mut all: BTreeMap<String, Vec<u8>> = keys
        .into_iter()
        .filter(alive)
        .map(|key| {
            let value = connection.get(&key).unwrap();
            (key, value)
        })
        .collect();
    all.insert("tokens:active".to_owned(), format!("{active:?}").into_bytes());
    all
}

/// Waits until Redis holds the final results, and gives them.
fn final_results(oracle: &Oracle, redis: &RedisServer, by_token: bool) -> BTreeMap<String, Vec<u8>> {
    let mut differences = Vec::new();
    let exact = wait::until_true("the final results", LIMIT, || {
        let mut connection = redis.connect().expect("redis answers");
        let clock_of = |token: &str| match by_token {
            true => oracle.newest_of_partition_ms(token),
            false => oracle.newest_ms(),
        };
        differences =
            compare::final_results(oracle, &mut connection, Encoding::Json, clock_of).expect("results");
        differences.is_empty()
    });
    assert!(
        exact.is_ok(),
        "{} differences: {:#?}",
        differences.len(),
        &differences[..differences.len().min(10)]
    );
    dump(redis)
}

fn replay(partitioning: &str) {
    let _row = Kept::of(&format!("26 replay, one partition 3 h ahead, {partitioning}"));
    let seed = seed(261, 0);
    let messages = backlog(seed);
    let mut oracle = Oracle::new(WINDOWS).unwrap();
    oracle.take_all(&messages).unwrap();
    let broker = broker::shared();
    let topic = broker.topic("replay", PARTITIONS).unwrap();
    Producer::new(broker, &topic).unwrap().send(&messages).unwrap();
    let by_token = partitioning == "by-token";
    let settings = |redis: &RedisServer, group: &str| {
        Settings::of(broker, &topic, redis)
            .with("KAFKA_CONSUMER_GROUP", &format!("{topic}-{group}"))
            .with("CLOCK", "event")
            .with("PARTITIONING", partitioning)
    };
    let redis = RedisServer::start().unwrap();
    let host = Host::start(&settings(&redis, "one")).unwrap();
    let falls = Falls::watch(&redis).unwrap();
    let once = final_results(&oracle, &redis, by_token);
    assert_eq!(falls.finish(), Vec::<String>::new(), "{partitioning}: results went back");
    for reason in ["too_late", "in_future"] {
        let series = format!("aggregator_rejected_total{{reason=\"{reason}\"}}");
        assert_eq!(host.metric(&series), Some(0.0), "{partitioning}: {series}");
    }

    let redis = RedisServer::start().unwrap();
    let other = settings(&redis, "two")
        .with("FLUSH_INTERVAL", "7ms")
        .with("CHECKPOINT_INTERVAL", "100ms")
        .with("MAX_WORKERS", "1")
        .with("KAFKA_GROUP_INSTANCE_ID", "host-1");
    let mut killed = Host::start(&other).unwrap();
    wait_serving(&killed);
    killed.signal(Signal::SIGKILL);
    killed.wait_end(LIMIT).unwrap();
    let _host = Host::start(&other).unwrap();
    let again = final_results(&oracle, &redis, by_token);
    assert!(once == again, "{partitioning}: {}", first_difference(&once, &again));
}

fn first_difference(one: &BTreeMap<String, Vec<u8>>, other: &BTreeMap<String, Vec<u8>>) -> String {
    let text = |bytes: Option<&Vec<u8>>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let keys = one.keys().chain(other.keys());
    let differs = |key: &&String| one.get(*key) != other.get(*key);
    let shown = |key: &String| format!("{key}: {:?} and {:?}", text(one.get(key)), text(other.get(key)));
    keys.into_iter().find(differs).map(shown).unwrap_or_default()
}

#[test]
fn a_replay_gives_the_same_bytes_whatever_the_flushes_and_restarts_in_shuffle() {
    replay("shuffle");
}

#[test]
fn a_replay_gives_the_same_bytes_whatever_the_flushes_and_restarts_by_token() {
    replay("by-token");
}

#[test]
fn trades_of_other_days_are_counted_as_such_and_idle_windows_decay_within_a_second() {
    let _row = Kept::of("26 trades of other days, idle windows");
    let trades = 50;
    let broker = broker::shared();
    let topic = broker.topic("days", PARTITIONS).unwrap();
    let redis = RedisServer::start().unwrap();
    let host =
        Host::start_ready(&Settings::of(broker, &topic, &redis).with("TIME_WINDOWS", "2s,5s")).unwrap();
    let falls = Falls::watch(&redis).unwrap();
    let producer = Producer::new(broker, &topic).unwrap();
    // Sent now, whenever they were made.
    let sent = |token: &str, time_ms: i64| Message {
        timestamp_ms: None,
        ..Trade::simple(token, time_ms).message(1)
    };
    let now_ms = time::now_ms();
    for (token, ahead_ms) in [("yesterday", -24 * HOUR_MS), ("tomorrow", 24 * HOUR_MS), ("soon", 60_000)] {
        let messages: Vec<Message> = (0..trades).map(|_| sent(token, now_ms + ahead_ms)).collect();
        producer.send(&messages).unwrap();
    }
    for (reason, count) in [("too_late", trades), ("in_future", trades), ("bad_time", 0)] {
        let series = format!("aggregator_rejected_total{{reason=\"{reason}\"}}");
        host.wait_metric(&series, LIMIT, |found| found == f64::from(count)).unwrap();
    }
    host.wait_metric("aggregator_trades_total", LIMIT, |found| found == f64::from(trades)).unwrap();

    let mut connection = redis.connect().unwrap();
    let mut buys = |token: &str, window: &str| {
        let row =
            results::read(&mut connection, token, AGGREGATES, Encoding::Json).expect("redis answers")?;
        row.cell(window, "buy_count")?.number()
    };
    // A trade ahead of the clock counts at once.
    wait::until_true("the trades ahead", LIMIT, || buys("soon", "2s") == Some(f64::from(trades))).unwrap();
    // One partition trades, three are idle; then all are.
    let made_ms = time::now_ms();
    producer.send(&[sent("idle", made_ms)]).unwrap();
    wait::until_true("the trade", LIMIT, || buys("idle", "5s") == Some(1.0)).unwrap();
    for (window, length_ms) in [("2s", 2000), ("5s", 5000)] {
        wait::until_true("the window to be empty", LIMIT, || {
            buys("idle", window).is_none_or(|count| count == 0.0)
        })
        .unwrap();
        let late_ms = time::now_ms() - (made_ms.div_euclid(1000) * 1000 + length_ms);
        let most_ms = scaled(Duration::from_secs(1)).as_millis() as i64;
        assert!((0..=most_ms).contains(&late_ms), "{window} was empty {late_ms} ms after its time");
    }
    assert_eq!(falls.finish(), Vec::<String>::new(), "results went back");
}

#[test]
fn no_value_of_a_rising_token_falls_on_the_way_when_hosts_are_killed() {
    let _row = Kept::of("01 host killed 3 times, values on the way");
    let broker = broker::shared();
    let topic = broker.topic("rising", PARTITIONS).unwrap();
    let redis = RedisServer::start().unwrap();
    let settings = Settings::of(broker, &topic, &redis)
        .with("TIME_WINDOWS", "1hour")
        .with("CHECKPOINT_INTERVAL", "500ms")
        .with("KAFKA_GROUP_INSTANCE_ID", "host-1");
    let falls = Falls::watch(&redis).unwrap();
    let producer = Producer::new(broker, &topic).unwrap();
    let (mut sent, mut last) = (0, 0.0);
    let mut connection = redis.connect().unwrap();
    for _ in 0..pick(3, 10) {
        let mut host = Host::start(&settings).unwrap();
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            let trade = |partition| Trade::simple("rising", time::now_ms()).message(partition);
            producer.send(&(0..PARTITIONS).map(trade).collect::<Vec<_>>()).unwrap();
            sent += PARTITIONS;
            let row = results::read(&mut connection, "rising", AGGREGATES, Encoding::Json).unwrap();
            let count = row.and_then(|row| row.cell("1hour", "buy_count")?.number()).unwrap_or(0.0);
            assert!(count >= last, "{last} trades became {count}");
            last = count;
        }
        host.signal(Signal::SIGKILL);
        host.wait_end(LIMIT).unwrap();
    }
    let _host = Host::start(&settings).unwrap();
    wait::until_true("every trade", LIMIT, || {
        let row = results::read(&mut connection, "rising", AGGREGATES, Encoding::Json).unwrap();
        row.and_then(|row| row.cell("1hour", "buy_count")?.number()) == Some(f64::from(sent))
    })
    .unwrap();
    assert_eq!(falls.finish(), Vec::<String>::new(), "results went back");
}
