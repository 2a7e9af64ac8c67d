//! Reads values out of a table's columns.
//!
//! Not for judging a table. Invariant: no index and no kind that a guest chose can panic here; what is
//! not there reads as 0 or as an empty text.

use crate::plugin::contract::{Column, Table, TextColumn};

/// One row of a table.
pub(super) struct Row<'a> {
    columns: &'a [Column],
    /// The index of the first group's value in every column.
    first: usize,
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    /// A whole number.
    Integer(i64),
    /// The digits of a decimal.
    Decimal(i128),
    /// A float, perhaps not finite.
    Float(f64),
    /// A text.
    Text(&'a str),
}

impl<'a> Row<'a> {
    /// Looks at row `row` of a table with `groups` values for each row and column.
    pub(super) fn new(table: &'a Table, row: usize, groups: usize) -> Self {
        Self { columns: &table.columns, first: row.saturating_mul(groups) }
    }

    /// The value of a column for a group.
    #[inline]
    pub(super) fn value(&self, column: usize, group: usize) -> Value<'a> {
        let index = self.first.saturating_add(group);
        match self.columns.get(column) {
            Some(Column::Integers(values)) => Value::Integer(values.get(index).copied().unwrap_or(0)),
            Some(Column::Decimals(words)) => Value::Decimal(decimal(words, index)),
            Some(Column::Floats(values)) => Value::Float(values.get(index).copied().unwrap_or(0.0)),
            Some(Column::Texts(texts)) => Value::Text(text(texts, index)),
            None => Value::Integer(0),
        }
    }
}

/// Puts the two halves of a decimal together.
fn decimal(words: &[u64], index: usize) -> i128 {
    let first = index.saturating_mul(2);
    match words.get(first..first.saturating_add(2)) {
        Some(&[low, high]) => (u128::from(high) << 64 | u128::from(low)).cast_signed(),
        _ => 0,
    }
}

fn text(texts: &TextColumn, index: usize) -> &str {
    let end_at = |i: usize| texts.ends.get(i).map_or(0, |&end| end as usize);
    let start = index.checked_sub(1).map_or(0, end_at);
    let bytes = texts.bytes.get(start..end_at(index)).unwrap_or_default();
    std::str::from_utf8(bytes).unwrap_or_default()
}
