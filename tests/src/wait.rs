//! Waiting for a condition with a deadline: the only pause in the tests.
//!
//! The invariant: a condition that comes true ends the wait at once, and one that never does fails with its name.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a condition is left alone between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `probe` gives something.
///
/// # Errors
/// Fails when `limit` has passed, naming what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited {limit:?} in vain for: {what}");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Looks until `probe` is true.
///
/// # Errors
/// Fails when `limit` has passed, naming what was waited for.
pub fn until_true(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) -> Result<()> {
    until(what, limit, || probe().then_some(()))
}
