//! The last five minutes, second by second, for charts.
//!
//! Not for rates over ten seconds, nor for monitoring, which keeps longer. Invariant: a bounded number of moments,
//! sampled whether anybody looks or not.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Snapshot;

/// How far back it reaches.
pub const SPAN: Duration = Duration::from_secs(300);
/// One moment a second, and one more for the left edge.
const MOMENTS: usize = 301;

/// What happened between two samples.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// When it ended.
    pub at: Instant,
    /// Trades counted for each second.
    pub trades_per_second: f64,
    /// Milliseconds from taking a batch to all its trades counted, on average; none without a batch.
    pub batch_ms: Option<f64>,
    /// Milliseconds of a call of the store, on average; none without a call.
    pub store_ms: Option<f64>,
    /// Records not yet aggregated and written, at its end.
    pub lag: u64,
}

/// The last moments.
#[derive(Debug, Default)]
pub struct History {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    before: Option<(Instant, Snapshot)>,
    moments: VecDeque<Moment>,
}

impl History {
    /// Adds a sample.
    pub(super) fn push(&self, at: Instant, now: Snapshot, lag: u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((from, before)) = kept.before.replace((at, now)) else {
            return;
        };
        let seconds = at.duration_since(from).as_secs_f64().max(1e-3);
        let average_ms = |spent: f64, events: u64| (events > 0).then(|| spent * 1e3 / events as f64);
        if kept.moments.len() == MOMENTS {
            kept.moments.pop_front();
        }
        kept.moments.push_back(Moment {
            at,
            trades_per_second: (now.trades - before.trades) as f64 / seconds,
            batch_ms: average_ms(now.batch_seconds - before.batch_seconds, now.batches - before.batches),
            store_ms: average_ms(
                now.store_seconds - before.store_seconds,
                now.store_calls - before.store_calls,
            ),
            lag,
        });
    }

    /// The moments that are there, oldest first.
    pub fn moments(&self) -> Vec<Moment> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).moments.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_what_lies_between_two_samples_and_the_oldest_go() {
        let (history, began) = (History::default(), Instant::now());
        for second in 0..400 {
            let trades = second * 50;
            let batches = second / 2;
            let now =
                Snapshot { trades, batches, batch_seconds: batches as f64 * 0.004, ..Snapshot::default() };
            history.push(began + Duration::from_secs(second), now, second);
        }
        let moments = history.moments();
        assert_eq!(moments.len(), MOMENTS);
        let (first, last) = (moments[0], moments[MOMENTS - 1]);
        assert_eq!(last.at - first.at, SPAN);
        assert_eq!((last.trades_per_second, last.lag, last.store_ms), (50.0, 399, None));
        assert!(moments.iter().any(|moment| moment.batch_ms.is_some_and(|ms| (ms - 4.0).abs() < 1e-6)));
        assert!(moments.iter().any(|moment| moment.batch_ms.is_none()));
    }
}
