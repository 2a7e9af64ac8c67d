//! What a plugin declared about its results, checked, and ready for writing rows.
//!
//! Everything of a row that is the same in all rows (braces, group names, field names) is rendered
//! once, here; writing a row then copies these pieces and puts numbers between them.
//!
//! Not for the tables themselves, which [`Schema::check`] judges. Invariant: there is at least one
//! group and one field, and one piece for each pair of them, in the order in which they are written.

use std::collections::HashSet;

use super::error::{SchemaError, TableError};
use super::values::Row;
use super::{check, json, msgpack, names};
use crate::config::Encoding;
use crate::plugin::contract::{Description, Kind, Settings, Table};

/// The most groups, the most fields, and the most values that a row may have.
const LIMITS: (usize, usize, usize) = (1024, 1024, 16_384);
/// The most places of a decimal: 128 bits hold 38 digits whatever they are.
const MAX_PLACES: u32 = 38;

/// How many bytes of a piece are copied at once.
const HEAD: usize = 32;
/// More than most values need.
const VALUE_BYTES: usize = 24;

/// How the results of one plugin under one configuration are written.
#[derive(Debug)]
pub struct Schema {
    /// The fields of a group, in the order in which they are written.
    pub(super) fields: Vec<Field>,
    /// The names of the groups, in the order in which they are written.
    pub(super) groups: Vec<String>,
    /// How many columns a table must have.
    pub(super) columns: usize,
    /// How many gauges a table must have.
    pub(super) gauges: usize,
    /// How many counters a table must have.
    pub(super) counters: usize,
    json: Pieces,
    msgpack: Pieces,
}

/// One declared value.
#[derive(Debug)]
pub(super) struct Field {
    /// Its key.
    pub(super) name: String,
    /// What it is.
    pub(super) kind: Kind,
    /// Which column holds it; none for a clock.
    pub(super) column: Option<usize>,
}

/// The constant parts of a row: the one before each value, group after group.
#[derive(Debug)]
pub(super) struct Pieces {
    pieces: Vec<Piece>,
    /// About how many bytes a row takes.
    pub(super) row_bytes: usize,
}

/// One constant part. Its first bytes have a fixed size, because copying that many is much faster
/// than copying as many as there are.
#[derive(Debug)]
pub(super) struct Piece {
    head: [u8; HEAD],
    /// How many bytes of the head are text.
    used: usize,
    /// What did not fit; nearly always empty.
    tail: Vec<u8>,
}

impl Schema {
    /// Checks what a plugin declared.
    ///
    /// # Errors
    /// Says which name, number or kind is not allowed.
    pub fn new(description: &Description, settings: &Settings) -> Result<Self, SchemaError> {
        if !names::is_result_key(&description.result_key) {
            return Err(SchemaError::ResultKey(names::quoted(&description.result_key)));
        }
        let groups = groups(&settings.groups)?;
        let (fields, columns) = fields(description)?;
        count("values of a row", groups.len() * fields.len(), LIMITS.2)?;
        Ok(Self {
            json: json::pieces(&groups, &fields),
            msgpack: msgpack::pieces(&groups, &fields),
            fields,
            groups,
            columns,
            gauges: description.gauges.len(),
            counters: description.counters.len(),
        })
    }

    /// Checks that a table keeps to the schema.
    ///
    /// # Errors
    /// Says what the plugin did wrong; the table must then not be used.
    pub fn check(&self, table: &Table) -> Result<(), TableError> {
        check::table(self, table)
    }

    /// Appends one row: an object of groups, each an object of fields.
    ///
    /// `clock_ms` is the clock of the flush that gave the table.
    pub fn encode_row(
        &self,
        encoding: Encoding,
        table: &Table,
        row: usize,
        clock_ms: i64,
        out: &mut Vec<u8>,
    ) {
        let values = Row::new(table, row, self.groups.len());
        match encoding {
            Encoding::Json => json::row(&self.fields, &self.json, &values, clock_ms, out),
            Encoding::Msgpack => msgpack::row(&self.fields, &self.msgpack, &values, clock_ms, out),
        }
    }
}

impl Pieces {
    /// Makes the pieces of all pairs; `write` appends the one before field `f` of group `g`.
    pub(super) fn new(
        groups: &[String],
        fields: &[Field],
        mut write: impl FnMut(usize, usize, &mut Vec<u8>),
    ) -> Self {
        let mut pieces = Vec::with_capacity(groups.len() * fields.len());
        let mut row_bytes = 0;
        for group in 0..groups.len() {
            for field in 0..fields.len() {
                let mut text = Vec::new();
                write(group, field, &mut text);
                row_bytes += text.len() + VALUE_BYTES;
                pieces.push(Piece::new(&text));
            }
        }
        Self { pieces, row_bytes }
    }

    /// The pieces of each group.
    pub(super) fn groups(&self, fields: usize) -> impl Iterator<Item = &[Piece]> {
        self.pieces.chunks(fields)
    }
}

impl Piece {
    fn new(text: &[u8]) -> Self {
        let (start, tail) = text.split_at(text.len().min(HEAD));
        let mut head = [0; HEAD];
        head[..start.len()].copy_from_slice(start);
        Self { head, used: start.len(), tail: tail.to_vec() }
    }

    /// Appends the piece.
    #[inline]
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.used;
        out.extend_from_slice(&self.head);
        out.truncate(end);
        if !self.tail.is_empty() {
            out.extend_from_slice(&self.tail);
        }
    }
}

fn groups(declared: &[String]) -> Result<Vec<String>, SchemaError> {
    count("groups", declared.len(), LIMITS.0)?;
    let mut seen = HashSet::new();
    for name in declared {
        if !names::is_group(name) {
            return Err(SchemaError::GroupName(names::quoted(name)));
        }
        if !seen.insert(name) {
            return Err(SchemaError::GroupTwice(names::quoted(name)));
        }
    }
    Ok(declared.to_vec())
}

/// The fields, and how many columns they have.
fn fields(description: &Description) -> Result<(Vec<Field>, usize), SchemaError> {
    count("fields", description.fields.len(), LIMITS.1)?;
    let mut seen = HashSet::new();
    let mut columns = 0;
    let mut fields = Vec::with_capacity(description.fields.len());
    for declared in &description.fields {
        let name = declared.name.clone();
        if !names::is_field(&name) {
            return Err(SchemaError::FieldName(names::quoted(&name)));
        }
        if !seen.insert(&declared.name) {
            return Err(SchemaError::FieldTwice(name));
        }
        let kind = match declared.kind {
            Kind::Decimal(places) if places > MAX_PLACES => {
                return Err(SchemaError::Places { field: name, places, limit: MAX_PLACES });
            }
            Kind::Decimal(places) => Kind::Decimal(places),
            Kind::Integer => Kind::Integer,
            Kind::Float => Kind::Float,
            Kind::Text => Kind::Text,
            Kind::Clock => Kind::Clock,
        };
        let column = (!matches!(kind, Kind::Clock)).then_some(columns);
        columns += usize::from(column.is_some());
        fields.push(Field { name, kind, column });
    }
    Ok((fields, columns))
}

fn count(what: &'static str, found: usize, limit: usize) -> Result<(), SchemaError> {
    if (1..=limit).contains(&found) { Ok(()) } else { Err(SchemaError::Count { what, found, limit }) }
}
