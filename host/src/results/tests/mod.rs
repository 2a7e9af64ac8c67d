//! The promises of this folder: what is refused, what is written, and that both encodings agree.

mod ancestor;
mod declared;
mod hostile;
mod numbers;
mod rows;

use super::Schema;
use crate::plugin::contract::{
    Column, Description, Field, Kind, OptionalColumns, Settings, Table, TextColumn,
};

/// 2026-03-01T12:00:10.123Z
const CLOCK_MS: i64 = 1_772_366_410_123;

/// A description with these fields and result key `aggregates`.
fn description(fields: &[(&str, Kind)]) -> Description {
    Description {
        name: "test".to_owned(),
        version: "1".to_owned(),
        state_version: 1,
        columns: OptionalColumns::empty(),
        result_key: "aggregates".to_owned(),
        fields: fields.iter().map(|&(name, kind)| Field { name: name.to_owned(), kind }).collect(),
        gauges: Vec::new(),
        counters: Vec::new(),
    }
}

fn settings(groups: &[&str]) -> Settings {
    Settings {
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        horizon_ms: 3_600_000,
        step_ms: 1000,
    }
}

fn schema(groups: &[&str], fields: &[(&str, Kind)]) -> Schema {
    Schema::new(&description(fields), &settings(groups)).unwrap()
}

/// A table of so many rows, numbered from 0.
fn table(rows: u32, columns: Vec<Column>) -> Table {
    Table {
        tokens: (0..rows).collect(),
        columns,
        forgotten: Vec::new(),
        more: false,
        gauges: Vec::new(),
        counters: Vec::new(),
    }
}

fn decimals(values: &[i128]) -> Column {
    let words = values.iter().flat_map(|&value| {
        let bits = value.cast_unsigned();
        [bits as u64, (bits >> 64) as u64]
    });
    Column::Decimals(words.collect())
}

fn texts(values: &[&str]) -> Column {
    let mut column = TextColumn { bytes: Vec::new(), ends: Vec::new() };
    for value in values {
        column.bytes.extend_from_slice(value.as_bytes());
        column.ends.push(u32::try_from(column.bytes.len()).unwrap());
    }
    Column::Texts(column)
}
