//! From a plugin's typed result table to bytes: values for the store and messages for Kafka.
//!
//! [`Schema`] is made once per plugin and configuration; it checks what the plugin declared, then
//! whether each table keeps to it, and writes a row in either encoding. [`Ancestor`] writes the
//! message that consumers of the ancestor's topic read.
//!
//! Not for aggregates: nothing here knows what a field means, except [`Ancestor`], which looks for
//! fields by their names.
//!
//! Invariant: a table that passed [`Schema::check`] is written as declared, and one that did not is
//! still written without a panic: a missing value becomes 0 or an empty text.

mod ancestor;
mod check;
mod decimal;
mod error;
mod json;
mod msgpack;
mod names;
mod schema;
mod values;

#[cfg(test)]
mod tests;

pub use ancestor::{Ancestor, Header, LEADING_KEY, Message};
pub use check::MAX_ROWS;
pub use error::{SchemaError, TableError};
pub use schema::Schema;
