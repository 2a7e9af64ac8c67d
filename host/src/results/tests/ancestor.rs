//! The message that the ancestor's consumers read.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{CLOCK_MS, decimals, schema, table};
use crate::plugin::contract::{Column, Kind, Table};
use crate::results::{Ancestor, Schema, SchemaError};

const FIELDS: [(&str, Kind); 10] = [
    ("sell_count", Kind::Integer),
    ("buy_count", Kind::Integer),
    ("sell_volume", Kind::Decimal(9)),
    ("buy_volume", Kind::Decimal(9)),
    ("total_volume", Kind::Decimal(9)),
    ("price_change", Kind::Float),
    ("start_price", Kind::Float),
    ("end_price", Kind::Float),
    ("volume_usd", Kind::Float),
    ("last_update", Kind::Clock),
];

fn of_one_window() -> (Schema, Table) {
    let float = |value| Column::Floats(vec![value]);
    let columns = vec![
        Column::Integers(vec![2]),
        Column::Integers(vec![3]),
        decimals(&[1_500_000_000]),
        decimals(&[1]),
        decimals(&[1_500_000_001]),
        float(-12.5),
        float(1.25e-12),
        float(300.0),
        float(1_234.567_890_1),
    ];
    (schema(&["1min"], &FIELDS), table(1, columns))
}

#[test]
fn the_message_has_the_ancestors_shape() {
    let (schema, table) = of_one_window();
    let token: Arc<str> = "tok\"en".into();
    let message = Ancestor::new(&schema).unwrap().message(&token, &table, 0, CLOCK_MS);
    let read: Value = serde_json::from_slice(&message.value).unwrap();
    let expected = json!({
        "token": "tok\"en",
        "aggregate_data": [{
            "time_window": "1min",
            "sell_count": 2,
            "buy_count": 3,
            "total_trades": 5,
            "sell_volume": "1.500000",
            "buy_volume": "0.000000",
            "total_volume": "1.500000",
            "volume_usd": "1234.567890",
            "price_change": -12.5,
            "open_price": "0.00000000000125",
            "close_price": "300",
            "timestamp": "2026-03-01T12:00:10.123Z",
        }],
        "generated_at": "2026-03-01T12:00:10.123Z",
        "version": "1.0",
    });
    assert_eq!(read, expected);
    assert_eq!(message.key, token);
}

#[test]
fn headers_say_what_it_is_and_how_long_it_is_worth_reading() {
    let (schema, table) = of_one_window();
    let message = Ancestor::new(&schema).unwrap().message(&"t".into(), &table, 0, CLOCK_MS);
    let headers: Vec<(&str, &str)> = message.headers.iter().map(|(name, value)| (*name, &**value)).collect();
    assert_eq!(
        headers,
        [
            ("content-type", "application/json"),
            ("ttl", "20000"),
            ("expires-at", "1772366430123"),
            ("version", "1.0"),
            ("token", "t"),
        ]
    );
}

#[test]
fn the_smallest_price_is_not_zero() {
    let (schema, mut table) = of_one_window();
    table.columns[6] = Column::Floats(vec![5e-324]);
    let message = Ancestor::new(&schema).unwrap().message(&"t".into(), &table, 0, CLOCK_MS);
    let read: Value = serde_json::from_slice(&message.value).unwrap();
    let price = read["aggregate_data"][0]["open_price"].as_str().unwrap();
    assert_eq!(price.parse::<f64>(), Ok(5e-324));
    assert!(!price.contains('e'), "{price}");
}

#[test]
fn a_schema_without_the_fields_is_refused_by_name() {
    let lacking = schema(&["1min"], &FIELDS[1..]);
    let refused = Ancestor::new(&lacking).unwrap_err();
    assert_eq!(refused, SchemaError::NoField { field: "sell_count", kind: "integer" });
}
