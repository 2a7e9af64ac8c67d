//! The contract's types, generated from `wit/`: what crosses between the host and a plugin.
//!
//! Not for behaviour: everything here is data. The pipeline names these types, never wasmtime.
//! Invariant: this is the only copy of the contract on the host's side.
#![allow(missing_docs, reason = "the words stand in wit/plugin.wit")]
#![allow(unreachable_pub, reason = "generated code")]
#![allow(unsafe_code, reason = "generated code reads and writes linear memory")]
#![allow(clippy::large_futures, clippy::too_many_lines, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "plugin",
    ownership: Borrowing { duplicate_if_necessary: true },
});

pub use aggregator::plugin::host::Level;
pub use aggregator::plugin::types::{
    Batch, Column, Counter, Description, EntriesParam, EntriesResult, Field, Fold, Gauge, Kind, NewToken,
    OptionalColumns, Page, RemovalsParam, RemovalsResult, Settings, Table, TextColumnParam,
    TextColumnResult as TextColumn,
};
