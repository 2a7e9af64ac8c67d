//! Whole rows: order, names, escapes, and both encodings.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{CLOCK_MS, decimals, schema, table, texts};
use crate::config::Encoding;
use crate::plugin::contract::{Column, Kind, Table};
use crate::results::Schema;

fn encoded(schema: &Schema, encoding: Encoding, table: &Table, row: usize) -> Vec<u8> {
    let mut out = b"before".to_vec();
    schema.encode_row(encoding, table, row, CLOCK_MS, &mut out);
    out.split_off(6)
}

fn json(schema: &Schema, table: &Table, row: usize) -> String {
    String::from_utf8(encoded(schema, Encoding::Json, table, row)).unwrap()
}

#[test]
fn a_row_has_its_groups_and_fields_in_the_declared_order() {
    let fields =
        [("z", Kind::Integer), ("last_update", Kind::Clock), ("a", Kind::Decimal(9)), ("f", Kind::Float)];
    let schema = schema(&["5min", "1min"], &fields);
    let columns = vec![
        Column::Integers(vec![1, -2, 3, 4]),
        decimals(&[300_000_000_000, 1, 2, 0]),
        Column::Floats(vec![0.5, f64::NAN, -0.0, 1e-7]),
    ];
    let table = table(2, columns);
    assert_eq!(schema.check(&table), Ok(()));
    assert_eq!(
        json(&schema, &table, 0),
        r#"{"5min":{"z":1,"last_update":"2026-03-01T12:00:10.123Z","a":300,"f":0.5},"1min":{"z":-2,"last_update":"2026-03-01T12:00:10.123Z","a":0.000000001,"f":0}}"#
    );
    let second: Value = serde_json::from_str(&json(&schema, &table, 1)).unwrap();
    assert_eq!(second["1min"]["f"], 1e-7);
    assert_eq!(second["5min"]["z"], 3);
}

#[test]
fn names_and_texts_are_escaped() {
    let schema = schema(&["a\"b\\c ü"], &[("t", Kind::Text)]);
    let text = "quote \" slash \\ line\n tab\t nul\0 ü 😀";
    let table = table(1, vec![texts(&[text])]);
    let read: Value = serde_json::from_str(&json(&schema, &table, 0)).unwrap();
    assert_eq!(read["a\"b\\c ü"]["t"], text);
}

#[test]
fn only_clocks_need_no_columns() {
    let schema = schema(&["1min"], &[("at", Kind::Clock)]);
    let table = table(1, Vec::new());
    assert_eq!(schema.check(&table), Ok(()));
    assert_eq!(json(&schema, &table, 0), r#"{"1min":{"at":"2026-03-01T12:00:10.123Z"}}"#);
}

/// A row as groups of fields; numbers of JSON stay text, because reading them may miss the nearest float.
type Row<V> = BTreeMap<String, BTreeMap<String, V>>;

/// Whether both hold the same value, however a number is written.
fn same(json: &RawValue, msgpack: &Value) -> bool {
    match msgpack {
        Value::Number(number) if number.is_f64() => json.get().parse().ok() == number.as_f64(),
        Value::Number(number) => json.get() == number.to_string(),
        other => serde_json::from_str::<Value>(json.get()).ok().as_ref() == Some(other),
    }
}

proptest! {
    #[test]
    fn both_encodings_hold_what_the_table_holds(
        integers in any::<[i64; 4]>(),
        digits in any::<[i128; 4]>(),
        floats in any::<[f64; 4]>(),
        strings in any::<[String; 4]>(),
        row in 0_usize..2,
        places in 0_u32..=38,
    ) {
        let fields = [
            ("i", Kind::Integer),
            ("d", Kind::Decimal(places)),
            ("f", Kind::Float),
            ("t", Kind::Text),
            ("c", Kind::Clock),
        ];
        let schema = schema(&["1min", "\"x\""], &fields);
        let strings = strings.each_ref().map(String::as_str);
        let columns = vec![
            Column::Integers(integers.to_vec()),
            decimals(&digits),
            Column::Floats(floats.to_vec()),
            texts(&strings),
        ];
        let table = table(2, columns);
        prop_assert_eq!(schema.check(&table), Ok(()));
        let text = encoded(&schema, Encoding::Json, &table, row);
        let json: Row<&RawValue> = serde_json::from_slice(&text).unwrap();
        let packed = encoded(&schema, Encoding::Msgpack, &table, row);
        let msgpack: Row<Value> = rmp_serde::from_slice(&packed).unwrap();
        for (group, fields) in &msgpack {
            prop_assert_eq!(fields.len(), json[group].len());
            for (field, value) in fields {
                prop_assert!(same(json[group][field], value), "{} {} {}", field, json[group][field], value);
            }
        }
        prop_assert_eq!(msgpack.len(), json.len());
        let second = &msgpack["\"x\""];
        let at = 2 * row + 1;
        let float = if floats[at].is_finite() { floats[at] } else { 0.0 };
        prop_assert_eq!(second["i"].as_i64(), Some(integers[at]));
        prop_assert_eq!(second["f"].as_f64(), Some(float));
        prop_assert_eq!(second["t"].as_str(), Some(strings[at]));
    }
}
