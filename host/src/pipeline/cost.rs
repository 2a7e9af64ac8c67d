//! What a plugin costs in one cell: worker time spent in its calls, and what came of it.
//!
//! Only for people, who compare versions and plugins by it. Invariant: nothing is decided by these numbers, since
//! they differ from run to run.

use std::time::{Duration, Instant};

/// Time and work since the cell was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Trades given to the plugin.
    pub trades: u64,
    /// Time in the calls that took them.
    pub process: Duration,
    /// Rows that it gave.
    pub rows: u64,
    /// Time in the calls that gave them, also where they gave none.
    pub flush: Duration,
}

impl Cost {
    /// Counts a call that took so many trades.
    pub(super) fn processed(&mut self, trades: usize, began: Instant) {
        self.trades += trades as u64;
        self.process += began.elapsed();
    }

    /// Counts a call that gave so many rows.
    pub(super) fn flushed(&mut self, rows: usize, began: Instant) {
        self.rows += rows as u64;
        self.flush += began.elapsed();
    }

    /// The cost of two cells together.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            trades: self.trades + other.trades,
            process: self.process + other.process,
            rows: self.rows + other.rows,
            flush: self.flush + other.flush,
        }
    }

    /// Nanoseconds for each trade; none before the first.
    #[must_use]
    pub fn ns_per_trade(&self) -> Option<f64> {
        (self.trades > 0).then(|| self.process.as_nanos() as f64 / self.trades as f64)
    }

    /// Nanoseconds for each row; none before the first.
    #[must_use]
    pub fn ns_per_row(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.flush.as_nanos() as f64 / self.rows as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_together_cost_their_time_for_their_trades() {
        let cost = |trades, ms| Cost { trades, process: Duration::from_millis(ms), ..Cost::default() };
        let both = cost(1_000, 1).and(&cost(3_000, 3));
        assert_eq!((both.ns_per_trade(), both.ns_per_row()), (Some(1_000.0), None));
    }
}
