//! The published cases of windows: the oracle agrees with them, and the service with the oracle.
//!
//! The invariant: the cases are data that others can use; nothing of them is repeated here.

use aggregator_tests::host::Host;
use aggregator_tests::oracle::{Oracle, Values, price_change};
use aggregator_tests::results::Encoding;
use aggregator_tests::stream::Message;
use aggregator_tests::trade::Trade;
use aggregator_tests::{compare, decimal, time};
use serde_json::{Map, Value};

use crate::rig::{DEFAULT_WINDOWS, Rig, oracle, wait_drained, wait_final};

const CASES: &str = include_str!("../../cases/windows.json");

struct Case {
    name: String,
    trades: Vec<Trade>,
    clock_ms: i64,
    expected: Map<String, Value>,
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is no text in {value}")).to_owned()
}

fn trade(value: &Value) -> Trade {
    Trade {
        token: text(value, "Token"),
        wallet: text(value, "Wallet"),
        buy: text(value, "SellBuy") == "buy",
        native: text(value, "NativeAmount"),
        amount: text(value, "TokenAmount"),
        price: text(value, "PriceUsd"),
        time_ms: time::parse_ms(&text(value, "TransTime")).expect("a time"),
        tx_hash: text(value, "TxHash"),
    }
}

fn cases() -> Vec<Case> {
    let cases: Vec<Value> = serde_json::from_str(CASES).expect("the cases are JSON");
    let case = |case: Value| Case {
        name: text(&case, "name"),
        trades: case["trades"].as_array().expect("trades").iter().map(trade).collect(),
        clock_ms: time::parse_ms(&text(&case, "clock")).expect("a time"),
        expected: case["expected"].as_object().expect("windows").clone(),
    };
    cases.into_iter().map(case).collect()
}

/// Compares one window of the oracle with the decimal texts of a case.
fn assert_values(name: &str, values: &Values, expected: &Value) {
    let number = |field: &str| text(expected, field).parse::<f64>().expect("a number");
    let volume = |field: &str| decimal::billionths(&text(expected, field)).expect("a decimal");
    assert_eq!(Some(values.sell_count), expected["sell_count"].as_u64(), "{name} sell_count");
    assert_eq!(Some(values.buy_count), expected["buy_count"].as_u64(), "{name} buy_count");
    assert_eq!(values.sell_volume, volume("sell_volume"), "{name} sell_volume");
    assert_eq!(values.buy_volume, volume("buy_volume"), "{name} buy_volume");
    assert_eq!(values.start_prices, [number("start_price")], "{name} start_price");
    assert_eq!(values.end_prices, [number("end_price")], "{name} end_price");
    assert_eq!(values.high_price, number("high_price"), "{name} high_price");
    assert_eq!(values.low_price, number("low_price"), "{name} low_price");
    let change = price_change(values.start_prices[0], values.end_prices[0]);
    for (field, value) in [("price_change", change), ("vwap", values.vwap), ("volume_usd", values.volume_usd)]
    {
        assert!(compare::close(value, number(field)), "{name} {field} is {value}, not {}", number(field));
    }
}

#[test]
fn the_oracle_gives_the_values_of_every_case() {
    for case in cases() {
        let names: Vec<&str> = case.expected.keys().map(String::as_str).collect();
        let mut oracle = Oracle::new(&names.join(",")).unwrap();
        for trade in &case.trades {
            oracle.take(0, trade).unwrap();
        }
        for (window, values) in oracle.windows().iter().zip(oracle.values("TOKEN", case.clock_ms)) {
            assert_values(&format!("{}, {}:", case.name, window.name), &values, &case.expected[&window.name]);
        }
    }
}

#[test]
fn the_service_gives_the_values_of_every_case_at_noon() {
    let noon_ms = time::parse_ms("2026-03-01T12:00:00.000Z").unwrap();
    // Each case has a token of its own; cases with another clock or trades ahead of it need a stream of their own.
    let at_noon =
        |case: &Case| case.clock_ms == noon_ms && case.trades.iter().all(|trade| trade.time_ms <= noon_ms);
    let mut messages: Vec<Message> = Vec::new();
    for (index, case) in cases().into_iter().filter(at_noon).enumerate() {
        for mut trade in case.trades {
            trade.token = format!("case-{index}");
            messages.push(Message { timestamp_ms: Some(noon_ms), ..trade.message(0) });
        }
    }
    // The clock trade comes last and moves the clock to noon.
    messages.push(Trade::simple("clock", noon_ms).message(0));
    let rig = Rig::new("cases", 1);
    rig.send(&messages);
    let oracle = oracle(DEFAULT_WINDOWS, &messages);
    let host = Host::start(&rig.event()).unwrap();
    wait_drained(&host, messages.len());
    wait_final(&oracle, &mut rig.connect(), Encoding::Json, |_| noon_ms);
}
