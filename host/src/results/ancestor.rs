//! The ancestor's Kafka message, made from a row of a table. The ancestor is the Go service that this one succeeds.
//!
//! Consumers of the ancestor read it: names, order and types are theirs. All times in it are the clock
//! of the flush, so that a replay gives the same messages.
//!
//! Invariant: a price that is not 0 is not written as 0, however small it is.

use std::sync::Arc;

use super::error::SchemaError;
use super::schema::Schema;
use super::values::{Row, Value};
use super::{decimal, json};
use crate::clock::rfc3339;
use crate::plugin::contract::{Kind, Table};

/// The result key whose rows become messages, carry `last_update` and stand on the active list.
pub const LEADING_KEY: &str = "aggregates";
/// How long a message is worth reading.
const TTL_MS: i64 = 20_000;
/// The version of the message's form.
const VERSION: &str = "1.0";
/// The places of volumes.
const VOLUME_PLACES: u32 = 6;

/// A header of a message.
pub type Header = (&'static str, String);

/// A message of the Kafka output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The key: the token.
    pub key: Arc<str>,
    /// The JSON text.
    pub value: Vec<u8>,
    /// What the ancestor's consumers look at before they read the value.
    pub headers: Vec<Header>,
}

/// Writes the ancestor's messages from the tables of one schema.
#[derive(Debug, Clone)]
pub struct Ancestor {
    /// The JSON text that begins each window's object: `{"time_window":"1min"`.
    windows: Vec<Vec<u8>>,
    sell_count: usize,
    buy_count: usize,
    /// `sell_volume`, `buy_volume` and `total_volume`: column and places.
    volumes: [(&'static str, usize, u32); 3],
    volume_usd: usize,
    price_change: usize,
    start_price: usize,
    end_price: usize,
}

impl Ancestor {
    /// Looks for the fields that the message is made of.
    ///
    /// # Errors
    /// Names the field that the schema does not have.
    pub fn new(schema: &Schema) -> Result<Self, SchemaError> {
        let integer =
            |name| column(schema, name, "integer", |kind| matches!(kind, Kind::Integer)).map(|(at, _)| at);
        let float =
            |name| column(schema, name, "float", |kind| matches!(kind, Kind::Float)).map(|(at, _)| at);
        let volume = |name| {
            column(schema, name, "decimal", |kind| matches!(kind, Kind::Decimal(_)))
                .map(|(at, places)| (name, at, places))
        };
        let windows = schema.groups.iter().map(|group| {
            let mut begin = b"{\"time_window\":".to_vec();
            json::text(group, &mut begin);
            begin
        });
        Ok(Self {
            windows: windows.collect(),
            sell_count: integer("sell_count")?,
            buy_count: integer("buy_count")?,
            volumes: [volume("sell_volume")?, volume("buy_volume")?, volume("total_volume")?],
            volume_usd: float("volume_usd")?,
            price_change: float("price_change")?,
            start_price: float("start_price")?,
            end_price: float("end_price")?,
        })
    }

    /// Makes the message of one row.
    #[must_use]
    pub fn message(&self, token: &Arc<str>, table: &Table, row: usize, clock_ms: i64) -> Message {
        let time = rfc3339::text(clock_ms);
        let values = Row::new(table, row, self.windows.len());
        let mut value = b"{\"token\":".to_vec();
        json::text(token, &mut value);
        value.extend_from_slice(b",\"aggregate_data\":[");
        for group in 0..self.windows.len() {
            if group > 0 {
                value.push(b',');
            }
            self.window(&values, group, &time, &mut value);
        }
        value.extend_from_slice(b"]");
        quoted("generated_at", &time, &mut value);
        quoted("version", VERSION, &mut value);
        value.push(b'}');
        Message { key: Arc::clone(token), value, headers: headers(token, clock_ms) }
    }

    fn window(&self, row: &Row<'_>, group: usize, time: &str, out: &mut Vec<u8>) {
        let integer = |at| {
            if let Value::Integer(integer) = row.value(at, group) { integer } else { 0 }
        };
        let float = |at| match row.value(at, group) {
            Value::Float(float) if float.is_finite() => float + 0.0,
            _ => 0.0,
        };
        let (sells, buys) = (integer(self.sell_count), integer(self.buy_count));
        out.extend_from_slice(&self.windows[group]);
        for (name, count) in
            [("sell_count", sells), ("buy_count", buys), ("total_trades", sells.saturating_add(buys))]
        {
            key(name, out);
            out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
        }
        for (name, at, places) in self.volumes {
            let digits = if let Value::Decimal(digits) = row.value(at, group) { digits } else { 0 };
            quoted(name, &decimal::rounded(digits, places, VOLUME_PLACES), out);
        }
        quoted("volume_usd", &format!("{:.6}", float(self.volume_usd)), out);
        key("price_change", out);
        json::float(float(self.price_change), out);
        // Display gives the shortest digits that read back as the same float, and no exponent.
        quoted("open_price", &float(self.start_price).to_string(), out);
        quoted("close_price", &float(self.end_price).to_string(), out);
        quoted("timestamp", time, out);
        out.push(b'}');
    }
}

fn headers(token: &str, clock_ms: i64) -> Vec<Header> {
    vec![
        ("content-type", "application/json".to_owned()),
        ("ttl", TTL_MS.to_string()),
        ("expires-at", clock_ms.saturating_add(TTL_MS).to_string()),
        ("version", VERSION.to_owned()),
        ("token", token.to_owned()),
    ]
}

/// The column of a field and, for a decimal, its places.
fn column(
    schema: &Schema,
    name: &'static str,
    kind: &'static str,
    fits: impl Fn(&Kind) -> bool,
) -> Result<(usize, u32), SchemaError> {
    let found = schema.fields.iter().find(|field| field.name == name && fits(&field.kind));
    let column = found.and_then(|field| Some((field.column?, json::places(&field.kind))));
    column.ok_or(SchemaError::NoField { field: name, kind })
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends a text that needs no escapes.
fn quoted(name: &str, text: &str, out: &mut Vec<u8>) {
    key(name, out);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}
