//! The default plugin: counts, volumes and prices of each token over sliding windows.
//!
//! Not the windows themselves, which are the SDK's. The invariant: names, kinds and order of the
//! fields are what consumers of `token:{address}:aggregates` read.

mod candle;
mod packed;

pub use candle::Candle;

aggregator_sdk::export_pane!(Candle);
