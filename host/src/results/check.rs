//! Whether a table keeps to its plugin's schema.
//!
//! A plugin may be hostile: every length, kind and boundary that later code relies on is checked here,
//! before a row is used. Not for the declarations, which [`super::Schema::new`] checks.
//!
//! Invariant: a table that passes has one row for each token and, in every column, one value for each
//! row and group.

use super::error::TableError;
use super::schema::{Field, Schema};
use crate::plugin::contract::{Column, Kind, Table, TextColumn};

/// The most rows that a table may have; `flush` asks for no more.
pub const MAX_ROWS: usize = 256;

/// Checks a table.
pub(super) fn table(schema: &Schema, table: &Table) -> Result<(), TableError> {
    let rows = table.tokens.len();
    at_most("rows", rows, MAX_ROWS)?;
    if rows == 0 && table.more {
        return Err(TableError::MoreOfNothing);
    }
    at_most("forgotten tokens", table.forgotten.len(), rows)?;
    for token in &table.forgotten {
        if !table.tokens.contains(token) {
            return Err(TableError::ForgottenWithoutRow(*token));
        }
    }
    exactly("gauges", table.gauges.len(), schema.gauges)?;
    exactly("counters", table.counters.len(), schema.counters)?;
    exactly("columns", table.columns.len(), schema.columns)?;
    let fields = schema.fields.iter().filter(|field| field.column.is_some());
    for (field, column) in fields.zip(&table.columns) {
        check_column(field, column, rows * schema.groups.len())?;
    }
    Ok(())
}

fn check_column(field: &Field, column: &Column, values: usize) -> Result<(), TableError> {
    let (found, expected) = match (&field.kind, column) {
        (Kind::Integer, Column::Integers(integers)) => (integers.len(), values),
        (Kind::Decimal(_), Column::Decimals(words)) => (words.len(), 2 * values),
        (Kind::Float, Column::Floats(floats)) => (floats.len(), values),
        (Kind::Text, Column::Texts(texts)) => {
            check_texts(field, texts)?;
            (texts.ends.len(), values)
        }
        (declared, _) => {
            let (field, declared) = (field.name.clone(), kind_word(declared));
            return Err(TableError::Kind { field, declared, found: column_word(column) });
        }
    };
    if found == expected { Ok(()) } else { Err(length(format!("values of {}", field.name), found, expected)) }
}

/// The ends must rise, lie between two characters, and use all bytes.
fn check_texts(field: &Field, texts: &TextColumn) -> Result<(), TableError> {
    let Ok(all) = std::str::from_utf8(&texts.bytes) else {
        return Err(TableError::NotUtf8 { field: field.name.clone() });
    };
    let mut start = 0;
    for (index, &end) in texts.ends.iter().enumerate() {
        let end = end as usize;
        if end < start || !all.is_char_boundary(end) {
            return Err(TableError::TextEnd { field: field.name.clone(), index });
        }
        start = end;
    }
    if start == all.len() {
        Ok(())
    } else {
        Err(length(format!("bytes of {}", field.name), all.len(), start))
    }
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), TableError> {
    if found <= limit { Ok(()) } else { Err(TableError::TooMany { what, found, limit }) }
}

fn exactly(what: &str, found: usize, expected: usize) -> Result<(), TableError> {
    if found == expected { Ok(()) } else { Err(length(what.to_owned(), found, expected)) }
}

fn length(what: String, found: usize, expected: usize) -> TableError {
    TableError::Length { what, found, expected }
}

fn kind_word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Integer => "integer",
        Kind::Decimal(_) => "decimal",
        Kind::Float => "float",
        Kind::Text => "text",
        Kind::Clock => "clock",
    }
}

fn column_word(column: &Column) -> &'static str {
    match column {
        Column::Integers(_) => "integers",
        Column::Decimals(_) => "decimals",
        Column::Floats(_) => "floats",
        Column::Texts(_) => "texts",
    }
}
