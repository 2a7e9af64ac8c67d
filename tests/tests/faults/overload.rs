//! Row 27: more comes than can be taken, for a while.
//!
//! Every message is written in a way that is slow to read, and there is one worker. The invariant: the host says
//! truthfully how far behind it is and that it cannot keep up, stays within its memory, and catches up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aggregator_tests::broker;
use aggregator_tests::compare::AGGREGATES;
use aggregator_tests::host::Host;
use aggregator_tests::producer::Producer;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::report::Kept;
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::Message;
use aggregator_tests::trade::Trade;
use aggregator_tests::watch::Ends;
use aggregator_tests::{metrics, process, time, wait};
use nix::sys::signal::Signal;

use crate::run::{LIMIT, pick, scaled};

const PARTITIONS: i32 = 4;
const TOKENS: usize = 100;
/// Trades in a message.
const TRADES: usize = 1_000;
/// How long pressure may take to be shown, and to be gone.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
/// How late the host may know where a partition ends.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// What a host may grow by: what is read ahead of four partitions, and as much again for the work.
const GROWTH_BYTES: u64 = 128 << 20;

/// A message of many trades whose keys are escaped, so that no fast way reads it.
fn slow_message(partition: i32, clock_ms: i64) -> Message {
    let trade = |index| {
        Trade::simple(&format!("token-{}", index % TOKENS), clock_ms).json().replace("Wallet", "\\u0057allet")
    };
    let elements: Vec<String> = (0..TRADES).map(trade).collect();
    let payload = format!("[{}]", elements.join(",")).into_bytes();
    Message { partition, key: None, payload, timestamp_ms: Some(clock_ms), trades: Vec::new() }
}

/// What was seen while the host could not keep up.
#[derive(Default)]
struct Seen {
    /// From the first record until the pressure was shown to be high.
    high_after: Option<Duration>,
    /// The most memory.
    resident_bytes: u64,
    /// Moments at which the host did not know of records that had been there for long enough.
    blind: Vec<String>,
}

/// Looks at a host until it is told to end.
fn watch(host: &Host, ends: &Ends, ended: &AtomicBool) -> Seen {
    let (began, known_within) = (Instant::now(), scaled(KNOWN_WITHIN));
    let (mut seen, mut acknowledged) = (Seen::default(), Vec::new());
    while !ended.load(Ordering::Relaxed) {
        acknowledged.push((Instant::now(), ends.all()));
        let page = host.get("/metrics").map(|answer| answer.body).unwrap_or_default();
        if metrics::value(&page, "aggregator_backpressure") == Some(2.0) {
            seen.high_after.get_or_insert(began.elapsed());
        }
        seen.resident_bytes = seen.resident_bytes.max(process::resident_bytes(host.pid()).unwrap_or(0));
        let stood = acknowledged.iter().rev().find(|(at, _)| at.elapsed() >= known_within);
        for partition in
            host.json("/partitions").iter().flat_map(|page| page["partitions"].as_array().cloned()).flatten()
        {
            let (id, end) =
                (partition["partition"].as_u64().unwrap_or(0) as usize, partition["end"].as_i64());
            if let Some((at, ends)) = stood.filter(|(_, ends)| end < Some(ends[id])) {
                seen.blind.push(format!("{id}: {end:?}, not {} since {:?}", ends[id], at.elapsed()));
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
    seen
}

#[test]
fn a_host_that_cannot_keep_up_says_so_truthfully_and_catches_up() {
    let _row = Kept::of("27 more than can be taken");
    let (broker, redis) = (broker::shared(), RedisServer::start().unwrap());
    let topic = broker.topic("overload", PARTITIONS).unwrap();
    let settings = Settings::of(broker, &topic, &redis).with("CLOCK", "event").with("MAX_WORKERS", "1");
    let host = Host::start(&settings).unwrap();
    let clock_ms = time::parse_ms("2026-03-01T12:00:10.000Z").unwrap();
    let producer = Producer::new(broker, &topic).unwrap();
    let messages: Vec<Message> = (0..PARTITIONS).map(|partition| slow_message(partition, clock_ms)).collect();
    producer.send(&messages).unwrap();
    host.wait_metric("aggregator_trades_total", LIMIT, |trades| trades >= (4 * TRADES) as f64).unwrap();
    host.wait_ready(LIMIT).unwrap();
    let resident = process::resident_bytes(host.pid()).unwrap();

    let rounds = pick(1_000, 4_000);
    let (ends, ended) = (Ends::new(PARTITIONS), AtomicBool::new(false));
    messages.iter().for_each(|message| ends.add(message.partition));
    let wanted = ((rounds + 1) * 4 * TRADES) as f64;
    // The burst is there at once: while it is sent the host is frozen.
    host.signal(Signal::SIGSTOP);
    for _ in 0..rounds {
        messages.iter().for_each(|message| producer.queue(message).unwrap());
        producer.poll();
    }
    producer.flush().unwrap();
    let seen = thread::scope(|scope| {
        host.signal(Signal::SIGCONT);
        (0..rounds).for_each(|_| messages.iter().for_each(|message| ends.add(message.partition)));
        let watching = scope.spawn(|| watch(&host, &ends, &ended));
        host.wait_metric("aggregator_trades_total", LIMIT * 4, |trades| trades >= wanted).unwrap();
        ended.store(true, Ordering::Relaxed);
        watching.join().unwrap()
    });
    let calm = Instant::now();
    host.wait_metric("aggregator_backpressure", LIMIT, |pressure| pressure == 0.0).unwrap();
    assert!(calm.elapsed() < scaled(SHOWN_WITHIN), "pressure was shown for {:?} too long", calm.elapsed());
    let high_after = seen.high_after.expect("a pressure that is high");
    assert!(high_after < scaled(SHOWN_WITHIN), "pressure was shown after {high_after:?}");
    assert!(seen.blind.is_empty(), "ends were not known: {:#?}", &seen.blind[..seen.blind.len().min(10)]);
    let grown = seen.resident_bytes.saturating_sub(resident);
    assert!(grown <= GROWTH_BYTES, "it grew by {} MiB", grown >> 20);
    assert_eq!(host.metric("aggregator_trades_total"), Some(wanted));
    let each = wanted / TOKENS as f64;
    let mut connection = redis.connect().unwrap();
    for token in (0..TOKENS).map(|index| format!("token-{index}")) {
        wait::until_true("the exact count", LIMIT, || {
            let row =
                results::read(&mut connection, &token, AGGREGATES, Encoding::Json).expect("redis answers");
            row.is_some_and(|row| row.cell("1hour", "buy_count").and_then(|cell| cell.number()) == Some(each))
        })
        .unwrap();
    }
}
