//! The batch line of the log: what has been aggregated since the last one.
//!
//! Invariant: logging never costs throughput: workers only add, and whoever samples rates once a second writes the
//! line. The lines of a run add up to all its trades.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What was aggregated since the last line.
#[derive(Debug, Default)]
pub(super) struct Throughput {
    trades: AtomicU64,
    tokens: AtomicU64,
    busy_ns: AtomicU64,
    /// The period that runs, counted from 1, so that each token is counted once in it.
    period: AtomicU64,
}

impl Throughput {
    /// Starts the first period.
    pub(super) fn new() -> Self {
        Self { period: AtomicU64::new(1), ..Self::default() }
    }

    /// The number of the running period.
    pub(super) fn period(&self) -> u64 {
        self.period.load(Ordering::Relaxed)
    }

    /// Adds what one shard took; `tokens` are those that it took for the first time in this period.
    pub(super) fn add(&self, trades: u64, tokens: u64) {
        self.trades.fetch_add(trades, Ordering::Relaxed);
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Adds the time from taking a batch to all its trades counted.
    pub(super) fn finish(&self, took: Duration) {
        self.busy_ns.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Writes the line, if anything was aggregated since the last one.
    pub(super) fn log(&self) {
        let trades = self.trades.swap(0, Ordering::Relaxed);
        if trades == 0 {
            return;
        }
        self.period.fetch_add(1, Ordering::Relaxed);
        let tokens = self.tokens.swap(0, Ordering::Relaxed);
        let busy_s = Duration::from_nanos(self.busy_ns.swap(0, Ordering::Relaxed)).as_secs_f64();
        let per_second = if busy_s > 0.0 { trades as f64 / busy_s } else { 0.0 };
        tracing::info!(
            total_trades = trades,
            unique_tokens = tokens,
            processing_time = %format!("{:.1}ms", busy_s * 1e3),
            trades_per_sec = per_second.round(),
            "Batch processing completed"
        );
    }
}
