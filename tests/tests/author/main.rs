//! The way of a plugin's author, command by command, as a user calls them.
//!
//! Needs no broker and no Redis; needs the service built, and cargo with the plugins' target: `tests/run` sees to it.
//! The invariant: what is asserted is what stands on the terminal, in a file, or on a running host.
#![allow(clippy::unwrap_used, reason = "a test's own functions fail the test, too")]

mod checks;
mod desk;
mod journey;
mod languages;
mod logs;
mod remote;
mod tap;
