//! The contract's types under short names, with empty values.
//!
//! Not a second set of types: everything here is generated from `wit/plugin.wit`. The invariant:
//! [`VERSION`] is the version in that file.

pub use crate::bindings::aggregator::plugin::host::Level;
pub use crate::bindings::aggregator::plugin::types::{
    Batch, Column, Counter, Description, Entries, Field, Fold, Gauge, Kind, NewToken, OptionalColumns, Page,
    Removals, Settings, Table, TextColumn,
};

/// The contract's version; a component carries it in the custom section `aggregator-contract`.
pub const VERSION: &str = "0.1.0";

#[cfg(test)]
mod tests {
    use super::VERSION;

    #[test]
    fn the_version_is_that_of_the_wit_file() {
        let wit = include_str!("../wit/plugin.wit");
        assert!(wit.contains(&format!("package aggregator:plugin@{VERSION};")));
    }
}
