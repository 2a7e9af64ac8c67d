//! Records that are wrong: each is counted, readable and dead-lettered with its reason, and no neighbour suffers.
//!
//! The payloads are the published cases; each is followed by a good trade. The invariant: nothing is dropped silently.

use std::collections::BTreeMap;

use aggregator_tests::compare;
use aggregator_tests::consume::{Reader, Record};
use aggregator_tests::host::Host;
use aggregator_tests::oracle::Oracle;
use aggregator_tests::random::Random;
use aggregator_tests::stream::Message;
use aggregator_tests::time;
use aggregator_tests::trade::Trade;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;

use crate::rig::{DEFAULT_WINDOWS, LIMIT, Rig, wait_drained};

const CASES: &str = include_str!("../../cases/records.json");
/// The clock and the Kafka timestamp that the cases are written for.
const CLOCK: &str = "2026-03-01T12:00:10.000Z";
/// Longer than every case's message.
const MOST_BYTES: &str = "64KiB";

/// A case's place in the topic and what must be said of it.
struct Planted {
    offset: i64,
    accepted: usize,
    reasons: Vec<String>,
}

/// Makes a topic's worth of cases, each followed by a good trade, and notes where each case stands.
fn plant(oracle: &mut Oracle) -> (Vec<Message>, Vec<Planted>) {
    let clock_ms = time::parse_ms(CLOCK).expect("a time");
    let mut cases: Vec<Value> = serde_json::from_str(CASES).expect("the cases are JSON");
    let too_large = format!("[{}]", " ".repeat(70_000));
    cases.push(serde_json::json!({"payload": too_large, "accepted": 0, "rejected": ["too_large"]}));
    // The first message sets the clock that the cases are judged by.
    let mut messages = vec![Trade::simple("clock", clock_ms).message(0)];
    let mut planted = Vec::new();
    for case in &cases {
        let reasons = case["rejected"].as_array().expect("reasons").iter();
        planted.push(Planted {
            offset: messages.len() as i64,
            accepted: case["accepted"].as_u64().expect("a number") as usize,
            reasons: reasons.map(|reason| reason.as_str().expect("a reason").to_owned()).collect(),
        });
        let payload = case["payload"].as_str().expect("a payload").as_bytes().to_vec();
        messages.push(Message {
            partition: 0,
            key: None,
            payload,
            timestamp_ms: Some(clock_ms),
            trades: Vec::new(),
        });
        let good = Trade::simple("good", clock_ms - messages.len() as i64 * 100);
        oracle.take(0, &good).expect("a trade that the oracle reads");
        messages.push(Message { timestamp_ms: Some(clock_ms), ..good.message(0) });
    }
    (messages, planted)
}

fn counts(planted: &[Planted]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for reason in planted.iter().flat_map(|case| &case.reasons) {
        *counts.entry(reason.clone()).or_insert(0) += 1;
    }
    counts
}

/// Reason and offset of a dead letter, from its headers.
fn letter(record: &Record) -> (i64, String) {
    let header = |name: &str| record.headers.get(name).cloned().unwrap_or_default();
    assert_eq!(header("partition"), "0", "{record:?}");
    (header("offset").parse().expect("an offset"), header("reason"))
}

#[test]
fn each_bad_record_is_counted_readable_and_dead_lettered_and_its_neighbours_count() {
    bad_records_are_told("shuffle");
}

#[test]
fn each_bad_record_of_a_repartitioned_feed_is_told_once_as_of_its_place_in_the_source() {
    bad_records_are_told("repartition");
}

fn bad_records_are_told(partitioning: &str) {
    let mut oracle = Oracle::new(DEFAULT_WINDOWS).unwrap();
    let (messages, planted) = plant(&mut oracle);
    let rig = Rig::new("rejections", 1);
    let dead = rig.broker.topic("dead", 1).unwrap();
    let settings = rig.event().with("KAFKA_DEAD_LETTER_TOPIC", &dead).with("MAX_MESSAGE_BYTES", MOST_BYTES);
    let settings = settings.with("PARTITIONING", partitioning);
    let host = Host::start(&settings).unwrap();
    rig.send(&messages[..1]);
    wait_drained(&host, 1);
    rig.send(&messages[1..]);
    let counts = counts(&planted);
    let rejected: usize = counts.values().sum();
    let accepted: usize = planted.iter().map(|case| case.accepted + 1).sum();
    wait_drained(&host, 1 + accepted + rejected);

    assert_eq!(host.metric("aggregator_trades_total"), Some((1 + accepted) as f64));
    for (reason, count) in &counts {
        let series = format!("aggregator_rejected_total{{reason=\"{reason}\"}}");
        assert_eq!(host.metric(&series), Some(*count as f64), "{series}");
    }
    assert_readable(&host, &planted, rejected);
    assert_dead_letters(&rig, &dead, &planted, rejected);
    assert_neighbours(&rig, &oracle);
}

/// `GET /rejections` shows every one, the latest first.
fn assert_readable(host: &Host, planted: &[Planted], rejected: usize) {
    let answer = host.json("/rejections").expect("an answer");
    let list = answer["rejections"].as_array().expect("a list of rejections").clone();
    assert_eq!(list.len(), rejected.min(100), "{answer}");
    let place = |value: &Value| {
        (value["offset"].as_i64().unwrap_or(-1), value["reason"].as_str().unwrap_or("").to_owned())
    };
    let mut shown: Vec<(i64, String)> = list.iter().map(place).collect();
    // Lateness is judged when a batch is counted, after all of it has been decoded.
    let decoded: Vec<_> = shown.iter().filter(|(_, reason)| reason != "too_late").collect();
    assert!(decoded.is_sorted_by(|newer, older| newer.0 >= older.0), "the latest stand first: {shown:?}");
    shown.reverse();
    let all = expected(planted);
    let mut last = all[all.len() - shown.len()..].to_vec();
    // Within one message the order of listing is free.
    shown.sort();
    last.sort();
    assert_eq!(shown, last);
}

fn expected(planted: &[Planted]) -> Vec<(i64, String)> {
    planted.iter().flat_map(|case| case.reasons.iter().map(|reason| (case.offset, reason.clone()))).collect()
}

fn assert_dead_letters(rig: &Rig, dead: &str, planted: &[Planted], rejected: usize) {
    let reader = Reader::new(rig.broker, dead, 1).expect("a reader");
    let letters = reader.read_until(LIMIT, |records| records.len() >= rejected).expect("dead letters");
    let mut found: Vec<(i64, String)> = letters.iter().map(letter).collect();
    let mut wanted = expected(planted);
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    for record in &letters {
        assert_eq!(record.headers.get("topic"), Some(&rig.topic), "{record:?}");
        assert!(record.headers.get("index").is_some_and(|index| index.parse::<u32>().is_ok()), "{record:?}");
    }
}

fn assert_neighbours(rig: &Rig, oracle: &Oracle) {
    assert_eq!(compare::wait_exact(&mut rig.connect(), oracle, "good", LIMIT).unwrap(), [""; 0]);
}

#[test]
fn a_bad_element_is_named_by_its_index_and_does_not_take_the_array_with_it() {
    let rig = Rig::new("element", 1);
    let dead = rig.broker.topic("dead", 1).unwrap();
    let now_ms = time::now_ms();
    let good = Trade::simple("good", now_ms).json();
    let bad = good.replace("\"buy\"", "\"hold\"");
    let payload = format!("[{good},{good},{bad},{good}]").into_bytes();
    rig.send(&[Message { partition: 0, key: None, payload, timestamp_ms: Some(now_ms), trades: Vec::new() }]);
    let host = Host::start(&rig.event().with("KAFKA_DEAD_LETTER_TOPIC", &dead)).unwrap();
    wait_drained(&host, 4);
    assert_eq!(host.metric("aggregator_trades_total"), Some(3.0));
    let reader = Reader::new(rig.broker, &dead, 1).unwrap();
    let letters = reader.read_until(LIMIT, |records| !records.is_empty()).unwrap();
    assert_eq!(letters[0].headers.get("reason").map(String::as_str), Some("bad_side"));
    assert_eq!(letters[0].headers.get("index").map(String::as_str), Some("2"));
    assert_eq!(letters[0].payload, bad.as_bytes());
}

/// A message that is no JSON and that no compression makes much shorter.
fn noise(seed: u64, bytes: usize) -> Message {
    let mut random = Random::new(seed);
    let payload = (0..bytes).map(|_| b'a' + random.below(26) as u8).collect();
    Message { partition: 0, key: None, payload, timestamp_ms: Some(time::now_ms()), trades: Vec::new() }
}

/// The dead letters of some bad messages, in the order of the messages.
fn letters_of(rig: &Rig, dead: &str, messages: &[Message], partitioning: &str) -> Vec<Record> {
    rig.send(messages);
    let settings = rig.event().with("KAFKA_DEAD_LETTER_TOPIC", dead).with("PARTITIONING", partitioning);
    let host = Host::start(&settings).expect("a host");
    let delivered = |count: f64| count >= messages.len() as f64;
    host.wait_metric("aggregator_dead_letters_total", LIMIT, delivered).expect("all letters delivered");
    let reader = Reader::new(rig.broker, dead, 1).expect("a reader");
    let mut letters =
        reader.read_until(LIMIT, |records| records.len() >= messages.len()).expect("dead letters");
    letters.sort_by_key(|record| letter(record).0);
    letters
}

#[test]
fn a_bad_record_of_some_megabytes_is_dead_lettered_whole() {
    let rig = Rig::new("long", 1);
    let dead = rig.broker.topic("dead", 1).unwrap();
    let messages = [noise(51, 900), noise(52, 7_500_000), noise(53, 900)];
    for (record, message) in letters_of(&rig, &dead, &messages, "shuffle").iter().zip(&messages) {
        assert!(record.payload == message.payload, "{} bytes came", record.payload.len());
        assert_eq!(record.headers.get("truncated"), None);
    }
}

#[test]
fn a_dead_letter_that_its_topic_refuses_for_its_length_arrives_without_its_text_and_says_so() {
    long_letters_are_shortened("shuffle");
}

#[test]
fn a_dead_letter_that_is_too_long_does_not_hold_up_the_transaction_it_is_in() {
    long_letters_are_shortened("repartition");
}

fn long_letters_are_shortened(partitioning: &str) {
    let rig = Rig::new("refused", 1);
    let dead = format!("{}-letters", rig.topic);
    let short = NewTopic::new(&dead, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "100000");
    let admin: AdminClient<DefaultClientContext> = rig.broker.client().create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let made = runtime.block_on(admin.create_topics([&short], &AdminOptions::new())).unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");

    let messages = [noise(61, 900), noise(62, 300_000), noise(63, 900), noise(64, 400_000), noise(65, 900)];
    let letters = letters_of(&rig, &dead, &messages, partitioning);
    for (record, message) in letters.iter().zip(&messages) {
        let long = message.payload.len() > 100_000;
        let wanted = long.then(|| message.payload.len().to_string());
        assert_eq!(record.headers.get("truncated"), wanted.as_ref());
        assert_eq!(record.headers.get("reason").map(String::as_str), Some("not_json"));
        assert!(record.payload == if long { &[][..] } else { &message.payload[..] });
    }
}
