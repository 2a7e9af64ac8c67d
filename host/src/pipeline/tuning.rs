//! What an operator may change while the service runs.
//!
//! Invariant: every value is read afresh where it is used; no part keeps a copy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The knobs.
#[derive(Debug)]
pub struct Tuning {
    flush_interval_us: AtomicU64,
}

impl Tuning {
    /// The knobs as configured.
    pub fn new(flush_interval: Duration) -> Self {
        Self { flush_interval_us: AtomicU64::new(flush_interval.as_micros() as u64) }
    }

    /// How often changed rows are written.
    pub fn flush_interval(&self) -> Duration {
        Duration::from_micros(self.flush_interval_us.load(Ordering::Relaxed))
    }
}
