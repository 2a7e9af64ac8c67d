//! The results of one token as they stand in Redis, in either encoding.
//!
//! The invariant: the order of windows and fields is kept, and numbers of JSON keep their text.

use std::fmt;
use std::marker::PhantomData;

use anyhow::{Context, Result, bail};
use redis::Commands as _;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How results are encoded (`OUTPUT_ENCODING`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    Json,
    /// MessagePack.
    MessagePack,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A number of JSON, as it was written.
    Number(String),
    /// An integer of MessagePack.
    Integer(i64),
    /// A float of MessagePack.
    Float(f64),
    /// A text.
    Text(String),
}

impl Cell {
    /// The number as a float.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(text) => text.parse().ok(),
            Self::Integer(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Text(_) => None,
        }
    }

    /// The text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::Integer(_) | Self::Float(_) => None,
        }
    }
}

/// Groups in their order, each with its fields in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Group by group.
    pub groups: Vec<(String, Vec<(String, Cell)>)>,
}

impl Row {
    /// One field of one group.
    pub fn cell(&self, group: &str, field: &str) -> Option<&Cell> {
        let fields = &self.groups.iter().find(|(name, _)| name == group)?.1;
        fields.iter().find(|(name, _)| name == field).map(|(_, cell)| cell)
    }
}

/// The key of a token's results of one plugin.
pub fn key(token: &str, result_key: &str) -> String {
    format!("token:{token}:{result_key}")
}

/// Reads the bytes of a token's results; none where there is no such key.
///
/// # Errors
/// Fails where Redis does not answer.
pub fn read_bytes(
    connection: &mut redis::Connection,
    token: &str,
    result_key: &str,
) -> Result<Option<Vec<u8>>> {
    connection.get(key(token, result_key)).with_context(|| format!("reading {}", key(token, result_key)))
}

/// Reads a token's results; none where there is no such key.
///
/// # Errors
/// Fails where Redis does not answer or holds something else.
pub fn read(
    connection: &mut redis::Connection,
    token: &str,
    result_key: &str,
    encoding: Encoding,
) -> Result<Option<Row>> {
    let bytes = read_bytes(connection, token, result_key)?;
    bytes.map(|bytes| parse(&bytes, encoding)).transpose()
}

/// Reads encoded results.
///
/// # Errors
/// Fails where the bytes are something else.
pub fn parse(bytes: &[u8], encoding: Encoding) -> Result<Row> {
    let groups = match encoding {
        Encoding::Json => {
            let groups: Ordered<Ordered<Box<RawValue>>> =
                serde_json::from_slice(bytes).with_context(|| String::from_utf8_lossy(bytes).into_owned())?;
            let fields = |fields: Ordered<Box<RawValue>>| fields.map(|value| json_cell(&value));
            groups.map(fields)?
        }
        Encoding::MessagePack => {
            let groups: Ordered<Ordered<Packed>> =
                rmp_serde::from_slice(bytes).context("reading MessagePack")?;
            groups.map(|fields| fields.map(|value| Ok(value.cell())))?
        }
    };
    Ok(Row { groups })
}

fn json_cell(value: &RawValue) -> Result<Cell> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => Ok(Cell::Text(serde_json::from_str(text)?)),
        Some(b'-' | b'0'..=b'9') => Ok(Cell::Number(text.to_owned())),
        _ => bail!("{text} is neither a number nor a text"),
    }
}

/// A value of MessagePack.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Packed {
    Integer(i64),
    Float(f64),
    Text(String),
}

impl Packed {
    fn cell(self) -> Cell {
        match self {
            Self::Integer(number) => Cell::Integer(number),
            Self::Float(number) => Cell::Float(number),
            Self::Text(text) => Cell::Text(text),
        }
    }
}

/// A map that keeps the order in which it was written.
struct Ordered<T>(Vec<(String, T)>);

impl<T> Ordered<T> {
    fn map<U>(self, each: impl Fn(T) -> Result<U>) -> Result<Vec<(String, U)>> {
        self.0.into_iter().map(|(name, value)| Ok((name, each(value)?))).collect()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OrderedVisitor(PhantomData))
    }
}

struct OrderedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OrderedVisitor<T> {
    type Value = Ordered<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Ordered(entries))
    }
}
