//! Rows as MessagePack: the same maps as in JSON.
//!
//! Invariant: a row holds what its JSON form holds; only decimals, which MessagePack has not, become the
//! nearest float.

use rmp::encode;

use super::decimal;
use super::json::places;
use super::schema::{Field, Pieces};
use super::values::{Row, Value};
use crate::clock::rfc3339;
use crate::plugin::contract::Kind;

/// Renders the constant parts of a row: map headers and keys.
pub(super) fn pieces(groups: &[String], fields: &[Field]) -> Pieces {
    Pieces::new(groups, fields, |group, field, out| {
        if field == 0 {
            if group == 0 {
                map(groups.len(), out);
            }
            text(&groups[group], out);
            map(fields.len(), out);
        }
        text(&fields[field].name, out);
    })
}

/// Appends a row.
pub(super) fn row(fields: &[Field], pieces: &Pieces, row: &Row<'_>, clock_ms: i64, out: &mut Vec<u8>) {
    out.reserve(pieces.row_bytes);
    let clock = rfc3339::text(clock_ms);
    for (group, pieces) in pieces.groups(fields.len()).enumerate() {
        for (field, piece) in fields.iter().zip(pieces) {
            piece.append(out);
            match field.column {
                Some(column) => value(&field.kind, row.value(column, group), out),
                None => text(&clock, out),
            }
        }
    }
}

fn value(kind: &Kind, value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Integer(integer) => never_fails(encode::write_sint(out, integer)),
        Value::Decimal(digits) => float(decimal::nearest(digits, places(kind)), out),
        Value::Float(value) => float(value, out),
        Value::Text(value) => text(value, out),
    }
}

fn float(value: f64, out: &mut Vec<u8>) {
    // The sum with 0 turns -0 into 0.
    let written = if value.is_finite() { value + 0.0 } else { 0.0 };
    never_fails(encode::write_f64(out, written));
}

fn text(value: &str, out: &mut Vec<u8>) {
    never_fails(encode::write_str(out, value));
}

fn map(entries: usize, out: &mut Vec<u8>) {
    never_fails(encode::write_map_len(out, u32::try_from(entries).unwrap_or(u32::MAX)));
}

/// A vector takes every byte, so that writing to one has no error to report.
fn never_fails<T, E>(written: Result<T, E>) {
    drop(written.ok());
}
