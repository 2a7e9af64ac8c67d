//! Exact sliding windows over token trades: Kafka in, Redis out, WebAssembly plugins between.
//!
//! Start at [`cli`] and [`app`], then follow one trade: [`kafka`] reads it, [`pipeline`] carries it
//! (its module page is the map), [`trade`] decodes it, [`plugin`] counts it, [`results`] writes it
//! down, [`store`] keeps it, [`http`] shows it. [`swap`] replaces plugins meanwhile. [`author`] is for
//! those who write one, [`top`] for those who watch.

mod allocator;
pub mod app;
pub mod author;
mod backoff;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod digest;
pub mod figure;
pub mod health;
pub mod http;
pub mod kafka;
mod layout;
mod lease;
pub mod log;
pub mod maintenance;
pub mod members;
pub mod metrics;
pub mod pipeline;
pub mod plugin;
pub mod probe;
mod request;
pub mod results;
pub mod sampling;
pub mod signals;
pub mod store;
pub mod swap;
mod terms;
mod threads;
pub mod top;
pub mod traces;
pub mod trade;
