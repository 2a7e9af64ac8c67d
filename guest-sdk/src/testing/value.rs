//! Values read back from a table, to be compared.
//!
//! Not the contract's form, which is columns. The invariant: exact kinds are compared exactly, and
//! only floats with a tolerance.

use crate::contract::{Column, Table};
use crate::trade::text_at;

/// One value of a result.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of the kind integer.
    Integer(i64),
    /// Of the kind decimal, in units of its scale.
    Decimal(i128),
    /// Of the kind float.
    Float(f64),
    /// Of the kind text.
    Text(String),
}

/// A row: for each group the values of its fields.
pub type Groups = Vec<Vec<Value>>;

impl Value {
    /// Whether two values are the same within the accuracy that results promise: 1e-9 relative or
    /// 1e-12 absolute for floats, exact for everything else. What is no finite number is written as 0.
    #[must_use]
    pub fn is_close(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(one), Self::Float(other)) => {
                let [one, other] = [one, other].map(|value| if value.is_finite() { *value } else { 0.0 });
                let apart = (one - other).abs();
                one == other || apart <= 1e-12 || apart <= 1e-9 * one.abs().max(other.abs())
            }
            _ => self == other,
        }
    }
}

/// Whether two rows are the same within [`Value::is_close`].
#[must_use]
pub fn rows_are_close(one: &Groups, other: &Groups) -> bool {
    let close = |one: &Vec<Value>, other: &Vec<Value>| {
        one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_close(other))
    };
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| close(one, other))
}

/// Gives the values in one cell of each column.
pub(super) fn cell(columns: &[Column], at: usize) -> Vec<Value> {
    let value = |column: &Column| match column {
        Column::Integers(values) => Value::Integer(values[at]),
        Column::Decimals(words) => {
            let (low, high) = (words[2 * at], words[2 * at + 1]);
            Value::Decimal((u128::from(high) << 64 | u128::from(low)).cast_signed())
        }
        Column::Floats(values) => Value::Float(values[at]),
        Column::Texts(texts) => Value::Text(text_at(texts, at).to_owned()),
    };
    columns.iter().map(value).collect()
}

/// Gives the rows of a table with their tokens.
pub(super) fn rows(table: &Table, groups: usize) -> impl Iterator<Item = (u32, Groups)> + '_ {
    table.tokens.iter().enumerate().map(move |(row, &token)| {
        let cells = (0..groups).map(|group| cell(&table.columns, row * groups + group));
        (token, cells.collect())
    })
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn what_is_no_number_is_what_the_host_writes_for_it() {
        let nan = Value::Float(f64::NAN);
        assert!(nan.is_close(&nan) && nan.is_close(&Value::Float(0.0)));
        assert!(Value::Float(f64::INFINITY).is_close(&nan));
        assert!(!nan.is_close(&Value::Float(1.0)));
    }
}
