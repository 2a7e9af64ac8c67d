//! The pipeline in one process: no broker, no Redis, and a plugin of a few lines.
//!
//! A test feeds partitions by a script, which says what stands at an offset, and compares the store with a
//! plain count of the same script. Not for windows (the plugins' own tests) nor for the broker (the black-box
//! tests). Invariant: nothing here waits without a limit, so that two threads which wait for each other are a
//! failure in words.

mod backlog;
mod counter;
mod exchange;
mod faults;
mod feed;
mod flush;
mod hostile;
mod leaving;
mod stand;
mod swap;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::Shared;
use crate::plugin::catalog::Running;

/// How long anything may take that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// A flush interval that no test lives to see the end of.
const NEVER: Duration = Duration::from_hours(1);
/// The event time at which the scripts begin: 2026-03-01T12:00:00Z.
const BEGIN_MS: i64 = 1_772_366_400_000;
/// An hour of event time.
const HOUR_MS: i64 = 3_600_000;

/// Trades by token.
type Counts = BTreeMap<String, i64>;

/// Waits until something is so, and fails with its words when that takes too long.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A plugin that only has to be there.
pub(super) fn running() -> Running {
    version("counter", "first")
}

/// A version of a plugin that only has to be there.
pub(crate) fn version(name: &str, digest: &str) -> Running {
    counter::version(name, name, counter::Manner::Sound, digest)
}

/// What a pipeline of one shard shares at which nobody works.
pub(crate) fn idle(runtime: &Handle) -> Arc<Shared> {
    stand::shared(stand::Setup { workers: 1, plugins: Vec::new(), ..stand::Setup::default() }, runtime)
}
