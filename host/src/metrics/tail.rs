//! How slow the slowest of the last ten seconds were, from the buckets of a histogram.
//!
//! Invariant: what is told is a bound that 99 of 100 kept, never a guess between two buckets.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use prometheus::Histogram;
use prometheus::core::Metric;

/// Ten seconds need eleven samples.
const SAMPLES: usize = 11;
/// The share that keeps the bound.
const SHARE: f64 = 0.99;

/// The last samples of one histogram.
#[derive(Debug, Default)]
pub(super) struct Tail {
    samples: Mutex<VecDeque<Buckets>>,
}

/// Events so far, and how many of them each bound has kept.
#[derive(Debug, Clone, Default)]
struct Buckets {
    events: u64,
    within: Vec<(f64, u64)>,
}

impl Tail {
    /// Adds a sample; called once a second.
    pub(super) fn sample(&self, histogram: &Histogram) {
        let metric = histogram.metric();
        let told = metric.get_histogram();
        let within = told.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
        let now = Buckets { events: told.get_sample_count(), within: within.collect() };
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(now);
    }

    /// The seconds that 99 of 100 events of the last ten seconds did not exceed: infinite where that is more than
    /// the largest bucket holds, none without events.
    pub(super) fn bound_s(&self) -> Option<f64> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, now) = (samples.front()?, samples.back()?);
        let events = now.events - before.events;
        if events == 0 {
            return None;
        }
        let wanted = (events as f64 * SHARE).ceil() as u64;
        let kept = |((bound, now), (_, before)): (&(f64, u64), &(f64, u64))| (*bound, now - before);
        let mut bounds = now.within.iter().zip(&before.within).map(kept);
        let bound = bounds.find(|(_, within)| *within >= wanted);
        Some(bound.map_or(f64::INFINITY, |(bound, _)| bound))
    }
}

#[cfg(test)]
mod tests {
    use prometheus::HistogramOpts;

    use super::*;

    #[test]
    fn ninety_nine_of_a_hundred_of_the_last_ten_seconds_keep_the_bound() {
        let options = HistogramOpts::new("name", "help").buckets(vec![0.01, 0.1, 1.0]);
        let histogram = Histogram::with_opts(options).unwrap();
        let tail = Tail::default();
        tail.sample(&histogram);
        assert_eq!(tail.bound_s(), None);
        (0..99).for_each(|_| histogram.observe(0.005));
        histogram.observe(5.0);
        tail.sample(&histogram);
        assert_eq!(tail.bound_s(), Some(0.01));
        histogram.observe(0.5);
        tail.sample(&histogram);
        assert_eq!(tail.bound_s(), Some(1.0));
        histogram.observe(5.0);
        tail.sample(&histogram);
        assert_eq!(tail.bound_s(), Some(f64::INFINITY));
        (0..SAMPLES).for_each(|_| tail.sample(&histogram));
        assert_eq!(tail.bound_s(), None);
    }
}
