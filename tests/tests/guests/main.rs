//! Hostile guests on the real engine, and what the loader makes of files that are no plugins.
//!
//! Needs no broker and no Redis; needs the service (whose command compiles), and the components of `tests/hostile`
//! and the example built: `tests/run` does that. The invariant: whatever a guest does ends in a typed error within
//! its deadline and its memory, and never in a panic of the host.
#![allow(clippy::unwrap_used, reason = "a test's own functions fail the test, too")]

mod calls;
mod compiling;
mod laws;
mod refusals;
mod stand;
