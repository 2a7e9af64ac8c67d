//! Rates and averages over the last ten seconds, from counters sampled once a second.
//!
//! Invariant: a bounded number of samples; a page that is never read costs nothing more.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Ten seconds need eleven samples.
const SAMPLES: usize = 11;

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Snapshot {
    /// Trades counted.
    pub trades: u64,
    /// Batches through.
    pub batches: u64,
    /// Time they took.
    pub batch_seconds: f64,
    /// Flushes.
    pub flushes: u64,
    /// Time they took.
    pub flush_seconds: f64,
    /// Rows written.
    pub rows: u64,
    /// Calls of the store.
    pub store_calls: u64,
    /// Those that failed.
    pub store_errors: u64,
    /// Time they took.
    pub store_seconds: f64,
}

/// When each kind of thing was seen to have happened last; none before it has. True to a second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Last {
    /// Trades counted.
    pub trades: Option<Instant>,
    /// Rows written.
    pub rows: Option<Instant>,
    /// Calls of the store.
    pub store_calls: Option<Instant>,
}

/// The last samples.
#[derive(Debug, Default)]
pub struct Rates {
    samples: Mutex<Samples>,
}

#[derive(Debug, Default)]
struct Samples {
    kept: VecDeque<(Instant, Snapshot)>,
    last: Last,
}

/// The oldest and the newest of the last samples.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recent {
    /// The counters ten seconds ago.
    pub before: Snapshot,
    /// The counters now.
    pub now: Snapshot,
    /// Seconds between them.
    pub seconds: f64,
    /// When things happened last.
    pub last: Last,
}

impl Rates {
    /// Adds a sample.
    pub fn push(&self, snapshot: Snapshot) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        let before = samples.kept.back().map(|(_, snapshot)| *snapshot).unwrap_or_default();
        let last = &mut samples.last;
        for (seen, before, now) in [
            (&mut last.trades, before.trades, snapshot.trades),
            (&mut last.rows, before.rows, snapshot.rows),
            (&mut last.store_calls, before.store_calls, snapshot.store_calls),
        ] {
            if before != now {
                *seen = Some(at);
            }
        }
        if samples.kept.len() == SAMPLES {
            samples.kept.pop_front();
        }
        samples.kept.push_back((at, snapshot));
    }

    /// What lies between the oldest and the newest sample.
    pub fn recent(&self) -> Recent {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        match (samples.kept.front(), samples.kept.back()) {
            (Some((from, before)), Some((to, now))) => Recent {
                before: *before,
                now: *now,
                seconds: to.duration_since(*from).as_secs_f64(),
                last: samples.last,
            },
            _ => Recent::default(),
        }
    }
}

impl Recent {
    /// A counter's growth per second.
    pub fn per_second(&self, of: impl Fn(&Snapshot) -> u64) -> f64 {
        if self.seconds > 0.0 { (of(&self.now) - of(&self.before)) as f64 / self.seconds } else { 0.0 }
    }

    /// Milliseconds per event.
    pub fn average_ms(&self, seconds: impl Fn(&Snapshot) -> f64, events: impl Fn(&Snapshot) -> u64) -> f64 {
        let count = events(&self.now) - events(&self.before);
        if count > 0 { (seconds(&self.now) - seconds(&self.before)) * 1e3 / count as f64 } else { 0.0 }
    }

    /// Calls of the store that succeeded, in percent; 100 while there were none.
    pub fn success_percent(&self) -> f64 {
        let calls = self.now.store_calls - self.before.store_calls;
        let errors = self.now.store_errors - self.before.store_errors;
        if calls > 0 { 100.0 * (calls - errors) as f64 / calls as f64 } else { 100.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_over_the_events_between_the_samples() {
        let before = Snapshot { batches: 2, batch_seconds: 1.0, ..Snapshot::default() };
        let now = Snapshot {
            batches: 4,
            batch_seconds: 2.0,
            trades: 50,
            store_calls: 4,
            store_errors: 1,
            ..before
        };
        let recent = Recent { before, now, seconds: 10.0, ..Recent::default() };
        assert_eq!(recent.average_ms(|s| s.batch_seconds, |s| s.batches), 500.0);
        assert_eq!(recent.per_second(|s| s.trades), 5.0);
        assert_eq!(recent.success_percent(), 75.0);
        assert_eq!(Recent::default().success_percent(), 100.0);
    }
}
