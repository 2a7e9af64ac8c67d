//! Row 25: messages that are broken in every way, in all codecs, each beside a good one.
//!
//! What must be said of most is known beforehand; of a flipped bit it is known whether JSON is left. The invariant: one
//! outcome for each element, counted under its reason, and good neighbours are exact.

use std::collections::BTreeMap;

use aggregator_tests::broker;
use aggregator_tests::compare;
use aggregator_tests::host::Host;
use aggregator_tests::metrics;
use aggregator_tests::oracle::Oracle;
use aggregator_tests::producer::Producer;
use aggregator_tests::random::Random;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::report::Kept;
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::Message;
use aggregator_tests::trade::Trade;
use aggregator_tests::{time, wait};
use serde::de::IgnoredAny;

use crate::run::{LIMIT, pick, seed};

const CODECS: [&str; 4] = ["gzip", "snappy", "lz4", "zstd"];
const WINDOWS: &str = "1min,5min,15min,30min,1hour";
const REASONS: [&str; 10] = [
    "not_json",
    "wrong_type",
    "missing_field",
    "bad_side",
    "bad_number",
    "out_of_range",
    "bad_time",
    "in_future",
    "too_late",
    "too_large",
];
/// One message in so many is followed by a good trade.
const GOOD_EVERY: usize = 10;

/// What must be said of the messages so far.
#[derive(Default)]
struct Wanted {
    accepted: usize,
    by_reason: BTreeMap<&'static str, usize>,
    /// Elements of which only the number of outcomes is known.
    open: usize,
}

impl Wanted {
    fn reject(&mut self, reason: &'static str) {
        *self.by_reason.entry(reason).or_default() += 1;
    }

    fn rejected(&self) -> usize {
        self.by_reason.values().sum()
    }
}

/// Replaces one value of a trade.
fn with(good: &str, field: &str, value: &str) -> String {
    let from = good.find(&format!("\"{field}\":")).expect("the field") + field.len() + 3;
    let end = from + good[from..].find([',', '}']).expect("its end");
    format!("{}{value}{}", &good[..from], &good[end..])
}

/// Breaks a trade in a way of which all is known, and notes what must be said of it.
fn planted(random: &mut Random, good: &str, wanted: &mut Wanted) -> Vec<u8> {
    let long = "x".repeat(1 << 20);
    let (text, reason) = match random.below(17) {
        0 => (good[..1 + random.below(good.len() as u64 - 1) as usize].to_owned(), Some("not_json")),
        1 => (String::new(), Some("not_json")),
        2 => ("null".to_owned(), Some("wrong_type")),
        3 => ("[".repeat(10_000) + &"]".repeat(10_000), Some("not_json")),
        4 => (with(good, "Token", &("[".repeat(100) + &"]".repeat(100))), Some("wrong_type")),
        5 if random.permille(20) => (with(good, "Token", &format!("\"{long}\"")), Some("out_of_range")),
        5 => (with(good, "Wallet", &format!("\"{}\"", &long[..129])), Some("out_of_range")),
        6 if random.permille(20) => (good.replace('{', &format!("{{\"Unknown\":\"{long}\",")), None),
        6 => (good.replace('{', "{\"Unknown\":{\"deep\":[1,null]},"), None),
        7 => (good.replace('{', "{\"Token\":\"first\",\"SellBuy\":\"hold\","), None),
        8 => (with(good, "PriceUsd", "\"1e400\""), Some("out_of_range")),
        9 => (with(good, "NativeAmount", "\"NaN\""), Some("bad_number")),
        10 => (with(good, "TokenAmount", "\"0x1p3\""), Some("bad_number")),
        11 => (with(good, "PriceUsd", "\"-1\""), Some("bad_number")),
        12 => (with(good, "SellBuy", "\"hold\""), Some("bad_side")),
        13 => (with(good, "TransTime", "\"2026-13-01T00:00:00Z\""), Some("bad_time")),
        14 => (with(good, "TxHash", "null"), Some("missing_field")),
        15 => (format!("{good} {good}"), Some("not_json")),
        _ => (good.replace("Token\"", "to_KEN\""), None),
    };
    match reason {
        Some(reason) => wanted.reject(reason),
        None => wanted.accepted += 1,
    }
    text.into_bytes()
}

/// Flips some bits of a trade.
fn flipped(random: &mut Random, good: &str, wanted: &mut Wanted) -> Vec<u8> {
    let mut bytes = good.as_bytes().to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
    }
    let text = std::str::from_utf8(&bytes).ok();
    match text.is_some_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok()) {
        true => wanted.open += 1,
        false => wanted.reject("not_json"),
    }
    bytes
}

/// Messages that are heavy: an array with one bad element, and one that is too large once it is unpacked.
fn heavy(good: &str, wanted: &mut Wanted) -> [Vec<u8>; 2] {
    let bad = with(good, "SellBuy", "\"hold\"");
    let elements: Vec<&str> = (0..10_000).map(|index| if index == 7_777 { &*bad } else { good }).collect();
    wanted.accepted += elements.len() - 1;
    wanted.reject("bad_side");
    wanted.reject("too_large");
    [format!("[{}]", elements.join(",")).into_bytes(), vec![b' '; 20 << 20]]
}

/// Broken messages of one kind, with good trades between them, which the oracle takes.
fn messages(
    random: &mut Random,
    count: usize,
    oracle: &mut Oracle,
    wanted: &mut Wanted,
    mutate: fn(&mut Random, &str, &mut Wanted) -> Vec<u8>,
) -> Vec<Message> {
    let clock_ms = time::parse_ms("2026-03-01T12:00:10.000Z").expect("a time");
    let raw = |payload| Message {
        partition: 0,
        key: None,
        payload,
        timestamp_ms: Some(clock_ms),
        trades: Vec::new(),
    };
    let broken = Trade::simple("broken", clock_ms).json();
    let mut messages = Vec::new();
    for number in 0..count {
        messages.push(raw(mutate(random, &broken, wanted)));
        if number % GOOD_EVERY == 0 {
            let trade = Trade::simple("good", clock_ms - 1_000 - random.below(50_000) as i64);
            oracle.take(0, &trade).expect("a trade that the oracle reads");
            messages.push(raw(trade.json().into_bytes()));
            wanted.accepted += 1;
        }
    }
    messages.extend(heavy(&broken, wanted).map(raw));
    messages
}

/// Waits until every element has its outcome, and compares the counts.
fn assert_counts(host: &Host, wanted: &Wanted, codec: &str) {
    let all = (wanted.accepted + wanted.rejected() + wanted.open) as f64;
    let mut page = String::new();
    let done = wait::until_true("an outcome of every element", LIMIT, || {
        page = host.get("/metrics").map(|answer| answer.body).unwrap_or_default();
        let accepted = metrics::value(&page, "aggregator_trades_total").unwrap_or(0.0);
        accepted + metrics::sum(&page, "aggregator_rejected_total") >= all
    });
    let counted = |reason: &str| {
        metrics::value(&page, &format!("aggregator_rejected_total{{reason=\"{reason}\"}}")).unwrap_or(0.0)
    };
    let accepted = metrics::value(&page, "aggregator_trades_total").unwrap_or(0.0);
    let found: Vec<_> = REASONS.iter().map(|reason| (*reason, counted(reason))).collect();
    assert!(done.is_ok(), "{codec}: {accepted} accepted, {found:?} of {all}");
    assert_eq!(accepted + found.iter().map(|(_, count)| count).sum::<f64>(), all, "{codec}: outcomes");
    for (reason, count) in found {
        let planted = wanted.by_reason.get(reason).copied().unwrap_or(0) as f64;
        let exact = wanted.open == 0 || reason == "not_json" || reason == "too_large";
        assert!(
            if exact { count == planted } else { count >= planted },
            "{codec}: {count} {reason}, not {planted}"
        );
    }
}

fn assert_neighbours(oracle: &Oracle, redis: &RedisServer, codec: &str) {
    let mut connection = redis.connect().expect("redis answers");
    assert_eq!(compare::wait_exact(&mut connection, oracle, "good", LIMIT).unwrap(), [""; 0], "{codec}");
}

fn broken_messages(what: &str, of_test: u64, mutate: fn(&mut Random, &str, &mut Wanted) -> Vec<u8>) {
    let mut random = Random::new(seed(of_test, 0));
    let broker = broker::shared();
    for codec in CODECS {
        let _row = Kept::of(&format!("25 {what}, {codec}"));
        let (mut wanted, mut oracle) = (Wanted::default(), Oracle::new(WINDOWS).unwrap());
        let messages = messages(&mut random, pick(800, 12_500), &mut oracle, &mut wanted, mutate);
        let topic = broker.topic("broken", 1).unwrap();
        Producer::with_codec(broker, &topic, codec).unwrap().send(&messages).unwrap();
        let redis = RedisServer::start().unwrap();
        let host = Host::start(&Settings::of(broker, &topic, &redis).with("CLOCK", "event")).unwrap();
        assert_counts(&host, &wanted, codec);
        assert_neighbours(&oracle, &redis, codec);
        assert!(!host.log().iter().any(|line| line.to_string().contains("panic")), "{codec}: a panic");
    }
}

#[test]
fn broken_messages_are_counted_by_reason_and_take_no_neighbour_with_them() {
    broken_messages("messages broken in every way", 251, planted);
}

#[test]
fn messages_with_flipped_bits_have_one_outcome_each() {
    broken_messages("flipped bits", 252, flipped);
}
