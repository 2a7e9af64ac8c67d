//! Rows as JSON.
//!
//! Not for reading JSON. Invariant: what is written is valid JSON whatever the values are; numbers have
//! no `-0`, and floats read back as the same float.

use super::decimal;
use super::schema::{Field, Pieces};
use super::values::{Row, Value};
use crate::clock::rfc3339;
use crate::plugin::contract::Kind;

/// Renders the constant parts of a row: `{"1min":{"sell_count":`, `,"buy_count":`, `},"5min":{…`.
pub(super) fn pieces(groups: &[String], fields: &[Field]) -> Pieces {
    Pieces::new(groups, fields, |group, field, out| {
        if field > 0 {
            out.push(b',');
        } else {
            out.extend_from_slice(if group == 0 { b"{" } else { b"}," });
            text(&groups[group], out);
            out.extend_from_slice(b":{");
        }
        text(&fields[field].name, out);
        out.push(b':');
    })
}

/// Appends a row.
pub(super) fn row(fields: &[Field], pieces: &Pieces, row: &Row<'_>, clock_ms: i64, out: &mut Vec<u8>) {
    out.reserve(pieces.row_bytes);
    let mut clock = [b'"'; rfc3339::LENGTH + 2];
    clock[1..=rfc3339::LENGTH].copy_from_slice(&rfc3339::bytes(clock_ms));
    for (group, pieces) in pieces.groups(fields.len()).enumerate() {
        for (field, piece) in fields.iter().zip(pieces) {
            piece.append(out);
            match field.column {
                Some(column) => value(&field.kind, row.value(column, group), out),
                None => out.extend_from_slice(&clock),
            }
        }
    }
    out.extend_from_slice(b"}}");
}

#[inline]
fn value(kind: &Kind, value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Integer(integer) => out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes()),
        Value::Decimal(digits) => decimal::write(digits, places(kind), out),
        Value::Float(value) => float(value, out),
        Value::Text(value) => text(value, out),
    }
}

/// The places of a decimal kind.
pub(super) fn places(kind: &Kind) -> u32 {
    if let Kind::Decimal(places) = kind { *places } else { 0 }
}

/// Appends the shortest number that reads back as this float; 0 for one that is not finite.
#[inline]
pub(super) fn float(value: f64, out: &mut Vec<u8>) {
    // Also true for -0.
    if value == 0.0 || !value.is_finite() {
        out.push(b'0');
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

/// Appends a text in quotes.
pub(super) fn text(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = value.as_bytes();
    let mut copied = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..index]);
        copied = index + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ => {
                let hex = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}
