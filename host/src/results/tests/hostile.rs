//! Tables that break their schema are refused, and never panic.

use proptest::prelude::*;

use super::{CLOCK_MS, decimals, schema, table, texts};
use crate::config::Encoding;
use crate::plugin::contract::{Column, Kind, Table, TextColumn};
use crate::results::{Schema, TableError};

const FIELDS: [(&str, Kind); 5] = [
    ("i", Kind::Integer),
    ("d", Kind::Decimal(9)),
    ("f", Kind::Float),
    ("t", Kind::Text),
    ("c", Kind::Clock),
];

fn of_two_groups() -> Schema {
    schema(&["a", "b"], &FIELDS)
}

/// One row that keeps to the schema.
fn good() -> Table {
    table(
        1,
        vec![
            Column::Integers(vec![1, 2]),
            decimals(&[1, 2]),
            Column::Floats(vec![1.0, 2.0]),
            texts(&["é", ""]),
        ],
    )
}

fn broken(change: impl FnOnce(&mut Table)) -> TableError {
    let mut table = good();
    change(&mut table);
    of_two_groups().check(&table).unwrap_err()
}

#[test]
fn a_table_that_keeps_to_the_schema_passes() {
    assert_eq!(of_two_groups().check(&good()), Ok(()));
    assert_eq!(of_two_groups().check(&Table { forgotten: vec![0], ..good() }), Ok(()));
}

#[test]
fn wrong_numbers_of_anything_are_refused() {
    assert!(matches!(broken(|t| drop(t.columns.pop())), TableError::Length { .. }));
    assert!(matches!(broken(|t| t.columns.push(texts(&[]))), TableError::Length { .. }));
    assert!(matches!(broken(|t| t.tokens.push(7)), TableError::Length { .. }));
    assert!(matches!(broken(|t| t.gauges.push(0.0)), TableError::Length { .. }));
    assert!(matches!(broken(|t| t.counters.push(0)), TableError::Length { .. }));
    assert!(matches!(broken(|t| t.columns[1] = decimals(&[1])), TableError::Length { .. }));
    assert!(matches!(broken(|t| t.tokens = vec![0; 257]), TableError::TooMany { .. }));
}

#[test]
fn a_column_of_another_kind_is_refused() {
    let wrong = broken(|t| t.columns[0] = Column::Floats(vec![1.0, 2.0]));
    assert_eq!(wrong.to_string(), "field i is declared as integer, its column holds floats");
}

#[test]
fn texts_must_be_divided_between_characters() {
    let with_ends = |bytes: &[u8], ends: &[u32]| {
        let column = TextColumn { bytes: bytes.to_vec(), ends: ends.to_vec() };
        broken(|t| t.columns[3] = Column::Texts(column))
    };
    let accent = "é".as_bytes();
    assert!(matches!(with_ends(accent, &[1, 2]), TableError::TextEnd { index: 0, .. }));
    assert!(matches!(with_ends(accent, &[2, 0]), TableError::TextEnd { index: 1, .. }));
    assert!(matches!(with_ends(accent, &[2, u32::MAX]), TableError::TextEnd { index: 1, .. }));
    assert!(matches!(with_ends(accent, &[0, 0]), TableError::Length { .. }));
    assert!(matches!(with_ends(&[0xff], &[0, 1]), TableError::NotUtf8 { .. }));
}

#[test]
fn only_a_token_with_a_row_is_forgotten() {
    assert_eq!(broken(|t| t.forgotten = vec![9]), TableError::ForgottenWithoutRow(9));
    assert!(matches!(broken(|t| t.forgotten = vec![0, 0]), TableError::TooMany { .. }));
}

fn any_column() -> impl Strategy<Value = Column> {
    let text = (any::<Vec<u8>>(), any::<Vec<u32>>());
    prop_oneof![
        any::<Vec<i64>>().prop_map(Column::Integers),
        any::<Vec<u64>>().prop_map(Column::Decimals),
        any::<Vec<f64>>().prop_map(Column::Floats),
        text.prop_map(|(bytes, ends)| Column::Texts(TextColumn { bytes, ends })),
    ]
}

proptest! {
    #[test]
    fn no_table_panics_and_what_is_written_is_valid(
        columns in prop::collection::vec(any_column(), 0..6),
        rows in 0_u32..4,
        row in prop_oneof![0_usize..4, Just(usize::MAX)],
    ) {
        let schema = of_two_groups();
        let table = table(rows, columns);
        drop(schema.check(&table));
        let mut out = Vec::new();
        schema.encode_row(Encoding::Json, &table, row, CLOCK_MS, &mut out);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        out.clear();
        schema.encode_row(Encoding::Msgpack, &table, row, CLOCK_MS, &mut out);
        prop_assert!(rmp_serde::from_slice::<serde_json::Value>(&out).is_ok());
    }
}
