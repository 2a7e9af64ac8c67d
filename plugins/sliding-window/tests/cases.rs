//! The cases that every implementation of the windows must give, read from `tests/cases/windows.json`.
//!
//! Not random (see `laws`). The invariant: expected values are decimal texts and integers and decimals
//! are compared exactly.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its input has failed")]

use aggregator_sdk::testing::{Host, Sample, Value};
use aggregator_sdk::{PanePlugin, Side};
use serde_json::Value as Json;
use sliding_window::Candle;

/// The fields that have a column, in order.
const FIELDS: [&str; 12] = [
    "sell_count",
    "buy_count",
    "sell_volume",
    "buy_volume",
    "total_volume",
    "price_change",
    "start_price",
    "end_price",
    "high_price",
    "low_price",
    "vwap",
    "volume_usd",
];

#[test]
fn every_case_gives_what_it_expects() {
    let cases: Json = serde_json::from_str(include_str!("../../../tests/cases/windows.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 15);
    for case in cases {
        let windows: Vec<_> = case["expected"].as_object().unwrap().iter().collect();
        let mut names: Vec<_> = windows.iter().map(|(name, _)| name.as_str()).collect();
        // The longest window decides when a token is forgotten.
        if !names.contains(&"1hour") {
            names.push("1hour");
        }
        let config = serde_json::json!({ "windows": names }).to_string();
        let mut host = Host::<PanePlugin<Candle>>::new(&config);
        let trades = case["trades"].as_array().unwrap();
        host.process(&trades.iter().map(sample).collect::<Vec<_>>());
        host.flush(time_ms(case["clock"].as_str().unwrap()), 100);
        let row = &host.results["TOKEN"];
        for ((window, expected), values) in windows.iter().zip(row) {
            for (field, value) in FIELDS.iter().zip(values) {
                let name = &case["name"];
                let expected = &expected[field];
                assert!(equals(value, expected), "{name}, {window} {field}: {value:?}, expected {expected}");
            }
        }
    }
}

fn equals(value: &Value, expected: &Json) -> bool {
    match value {
        Value::Integer(value) => expected.as_i64() == Some(*value),
        Value::Decimal(value) => billionths(expected.as_str().unwrap()) == *value,
        Value::Float(_) => value.is_close(&Value::Float(float(expected))),
        Value::Text(_) => false,
    }
}

fn sample(trade: &Json) -> Sample {
    let text = |key: &str| trade[key].as_str().unwrap().to_owned();
    Sample {
        token: text("Token"),
        time_ms: time_ms(&text("TransTime")),
        side: if text("SellBuy") == "buy" { Side::Buy } else { Side::Sell },
        native: billionths(&text("NativeAmount")) as i64,
        amount: float(&trade["TokenAmount"]),
        price: float(&trade["PriceUsd"]),
        wallet: text("Wallet"),
        tx_hash: text("TxHash"),
    }
}

fn float(text: &Json) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}

/// Reads a decimal like `0.3` or `1E-9` in billionths, exactly.
fn billionths(text: &str) -> i128 {
    let (digits, exponent) = text.split_once('E').unwrap_or((text, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number: i128 = format!("{whole}{fraction}").parse().unwrap();
    let places = 9 + exponent.parse::<i32>().unwrap() - fraction.len() as i32;
    match u32::try_from(places) {
        Ok(places) => number * 10i128.pow(places),
        Err(_) => number / 10i128.pow(places.unsigned_abs()),
    }
}

/// Reads `2026-03-01T12:00:00.000Z` (the cases' only form), by Howard Hinnant's `days_from_civil`.
fn time_ms(text: &str) -> i64 {
    let numbers: Vec<i64> = text
        .trim_end_matches('Z')
        .split(['-', 'T', ':', '.'])
        .map(|number| number.parse().unwrap())
        .collect();
    let [year, month, day, hour, minute, second, ms] = numbers[..] else {
        panic!("{text} has another form");
    };
    let shifted = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year - 719_468;
    (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms
}
