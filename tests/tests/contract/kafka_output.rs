//! Results as Kafka messages, in the shape that the ancestor's consumers read.
//!
//! The invariant: field names and kinds are the ancestor's; only values are ours.

use std::time::Duration;

use aggregator_tests::consume::{Reader, Record};
use aggregator_tests::host::Host;
use aggregator_tests::plugins_dir::PluginsDir;
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::trade::Trade;
use aggregator_tests::{http, time, wait};
use serde_json::Value;

use crate::rig::{LIMIT, Rig, wait_drained};

const TEXTS: [&str; 6] =
    ["sell_volume", "buy_volume", "total_volume", "volume_usd", "open_price", "close_price"];
const START_MS: i64 = 1_772_366_400_000;

fn value(record: &Record) -> Value {
    serde_json::from_slice(&record.payload).expect("a message that is JSON")
}

fn window<'a>(message: &'a Value, name: &str) -> &'a Value {
    let windows = message["aggregate_data"].as_array().expect("windows");
    windows
        .iter()
        .find(|window| window["time_window"] == name)
        .unwrap_or_else(|| panic!("no {name} in {message}"))
}

#[test]
fn a_changed_token_is_sent_in_the_ancestors_shape() {
    let rig = Rig::new("output", 2);
    let output = rig.broker.topic("results", 1).unwrap();
    let host = Host::start_ready(&rig.event().with("KAFKA_OUTPUT_TOPIC", &output)).unwrap();
    rig.send(&[
        Trade::simple("MINT", START_MS).price("0.000000000123").message(0),
        Trade::simple("MINT", START_MS + 1000).sell().native("1.5").price("0.000000000246").message(0),
    ]);
    wait_drained(&host, 2);
    let reader = Reader::new(rig.broker, &output, 1).unwrap();
    let complete = |records: &[Record]| {
        records.last().is_some_and(|record| {
            let minute = window(&value(record), "1min").clone();
            record.key.as_deref() == Some("MINT") && minute["total_trades"] == 2
        })
    };
    let records = reader.read_until(LIMIT, complete).unwrap();
    let last = records.last().unwrap();
    assert_shape(&value(last));
    assert_headers(last);
}

#[test]
fn messages_have_the_windows_of_the_version_that_runs() {
    let rig = Rig::new("output-swap", 2);
    let output = rig.broker.topic("results-swap", 1).unwrap();
    let plugins = PluginsDir::new().unwrap();
    let settings = rig
        .event()
        .with("KAFKA_OUTPUT_TOPIC", &output)
        .with("PLUGINS_DIR", &plugins.path().display().to_string())
        .with("PLUGIN_PROBATION", "0s");
    let host = Host::start_ready(&settings).unwrap();
    rig.send(&[
        Trade::simple("MINT", START_MS).message(0),
        Trade::simple("MINT", START_MS + 100_000).message(0),
        Trade::simple("COIN", START_MS + 100_000).message(0),
    ]);
    wait_drained(&host, 3);
    let body = br#"{"windows": ["10s", "2min"]}"#;
    let answer = http::send("PUT", host.port(), "/plugins/sliding-window/config", "", body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let windows = |record: &Record| -> Vec<(String, i64)> {
        let message = value(record);
        let windows = message["aggregate_data"].as_array().expect("windows").iter();
        windows
            .map(|window| {
                let name = window["time_window"].as_str().expect("a name").to_owned();
                (name, window["total_trades"].as_i64().expect("a count"))
            })
            .collect()
    };
    let reader = Reader::new(rig.broker, &output, 1).unwrap();
    let swapped = |records: &[Record]| {
        let last = |token| records.iter().rev().find(|record| record.key.as_deref() == Some(token));
        ["MINT", "COIN"].iter().all(|token| last(token).is_some_and(|record| windows(record).len() == 2))
    };
    let records = reader.read_until(LIMIT, swapped).unwrap();
    let counts = |token: &str| {
        windows(records.iter().rev().find(|record| record.key.as_deref() == Some(token)).unwrap())
    };
    assert_eq!(counts("MINT"), [("10s".to_owned(), 1), ("2min".to_owned(), 2)]);
    assert_eq!(counts("COIN"), [("10s".to_owned(), 1), ("2min".to_owned(), 1)]);
}

#[test]
fn rows_do_not_wait_for_messages_that_kafka_does_not_take() {
    let rig = Rig::new("output-away", 1);
    let output = "results-made-later";
    let settings = rig.wall().with("KAFKA_OUTPUT_TOPIC", output).with("TIME_WINDOWS", "1hour");
    let host = Host::start(&settings).unwrap();
    let mut connection = rig.connect();
    let mut sent = 0.0;
    let mut send = |limit: Duration| {
        sent += 1.0;
        rig.send(&[Trade::simple("MINT", time::now_ms()).message(0)]);
        wait::until_true("the row", limit, || {
            let row = results::read(&mut connection, "MINT", "aggregates", Encoding::Json).unwrap();
            row.and_then(|row| row.cell("1hour", "buy_count")?.number()) == Some(sent)
        })
    };
    send(LIMIT).unwrap();
    wait::until_true("the lost message to be told", LIMIT, || {
        host.get("/health/ready").is_ok_and(|answer| answer.body.contains("results not delivered"))
    })
    .unwrap();
    for _ in 0..3 {
        send(Duration::from_secs(5)).unwrap();
    }
    rig.broker.create_topic(output, 1).unwrap();
    wait::until_true("messages to be taken again", LIMIT, || {
        send(LIMIT).unwrap();
        host.get("/health/ready").is_ok_and(|answer| answer.status == 200)
    })
    .unwrap();
    let reader = Reader::new(rig.broker, output, 1).unwrap();
    let records = reader.read_until(LIMIT, |records| !records.is_empty()).unwrap();
    assert_eq!(records[0].key.as_deref(), Some("MINT"));
}

fn assert_shape(message: &Value) {
    assert_eq!(message["token"], "MINT");
    assert_eq!(message["version"], "1.0");
    assert!(message["generated_at"].as_str().is_some_and(|time| time.contains('T')), "{message}");
    let minute = window(message, "1min");
    assert_eq!(minute["buy_count"], 1);
    assert_eq!(minute["sell_count"], 1);
    assert_eq!(minute["sell_volume"], "1.500000");
    assert_eq!(minute["buy_volume"], "2.000000");
    assert_eq!(minute["total_volume"], "3.500000");
    assert!(minute["price_change"].as_f64().is_some_and(|change| (change - 100.0).abs() < 1e-6), "{minute}");
    assert!(minute["timestamp"].as_str().is_some_and(|time| time.contains('T')), "{minute}");
    for field in TEXTS {
        assert!(
            minute[field].as_str().is_some_and(|text| text.parse::<f64>().is_ok()),
            "{field} in {minute}"
        );
    }
    // Six places would make a meme coin's price 0.
    assert_eq!(minute["open_price"].as_str().and_then(|price| price.parse().ok()), Some(0.000000000123));
    assert_eq!(minute["close_price"].as_str().and_then(|price| price.parse().ok()), Some(0.000000000246));
    assert_eq!(message["aggregate_data"].as_array().map(Vec::len), Some(5));
}

fn assert_headers(record: &Record) {
    let header = |name: &str| record.headers.get(name).map(String::as_str);
    assert!(
        header("content-type").is_some_and(|kind| kind.starts_with("application/json")),
        "{:?}",
        record.headers
    );
    assert_eq!(header("ttl"), Some("20000"));
    assert_eq!(header("version"), Some("1.0"));
    assert_eq!(header("token"), Some("MINT"));
    assert!(header("expires-at").is_some_and(|time| time.parse::<i64>().is_ok()), "{:?}", record.headers);
}
