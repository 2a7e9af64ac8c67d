//! How busy the workers are: whether trades come faster than they can be taken.
//!
//! Each worker counts the time in which it waits for something to do; the rest is work, or waiting for another
//! worker's room. Invariant: the busiest worker decides, since its shards hold the stream up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Two seconds need three samples.
const SAMPLES: usize = 3;
/// From these shares of its time on a worker counts as under some pressure, and under a high one.
const LOW: f64 = 0.6;
const HIGH: f64 = 0.9;

/// How hard it is to keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backpressure {
    /// There is time to spare.
    Ok,
    /// The busiest worker works most of its time.
    Low,
    /// The busiest worker can hardly take more.
    High,
}

impl Backpressure {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Low => "LOW",
            Self::High => "HIGH",
        }
    }

    /// What a share of its time that a worker is busy means.
    #[must_use]
    pub fn of(busy: f64) -> Self {
        match busy {
            HIGH.. => Self::High,
            LOW.. => Self::Low,
            _ => Self::Ok,
        }
    }
}

/// The time of one worker in which it had nothing to do, in nanoseconds.
pub type Idle = Arc<AtomicU64>;

/// The last samples of all workers.
#[derive(Debug, Default)]
pub struct Pressure {
    workers: Mutex<Vec<Idle>>,
    samples: Mutex<VecDeque<(Instant, Vec<u64>)>>,
}

impl Pressure {
    /// Gives a worker what it counts its idle time in.
    pub fn worker(&self) -> Idle {
        let idle = Idle::default();
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&idle));
        idle
    }

    /// Adds a sample; called once a second.
    pub(super) fn sample(&self, at: Instant) {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = workers.iter().map(|idle| idle.load(Ordering::Relaxed)).collect();
        drop(workers);
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back((at, idle));
    }

    /// How hard it was to keep up over the last two seconds.
    pub fn now(&self) -> Backpressure {
        Backpressure::of(self.busy().into_iter().fold(0.0, f64::max))
    }

    /// The share of the last two seconds in which each worker was busy; none before they are over.
    pub fn busy(&self) -> Vec<f64> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some((from, before)), Some((to, after))) = (samples.front(), samples.back()) else {
            return Vec::new();
        };
        let nanos = to.duration_since(*from).as_nanos() as f64;
        if samples.len() < SAMPLES || nanos == 0.0 {
            return Vec::new();
        }
        let busy = |(before, after): (&u64, &u64)| {
            (1.0 - after.saturating_sub(*before) as f64 / nanos).clamp(0.0, 1.0)
        };
        before.iter().zip(after).map(busy).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_busiest_worker_of_the_last_two_seconds_decides() {
        let pressure = Pressure::default();
        let (one, other) = (pressure.worker(), pressure.worker());
        let began = Instant::now();
        let mut told = Vec::new();
        // The idle milliseconds of one worker in each second; the other one has nothing to do.
        for (second, idle_ms) in
            [(0, 0), (1, 1000), (2, 1000), (3, 300), (4, 300), (5, 50), (6, 50), (7, 900)]
        {
            one.fetch_add(idle_ms * 1_000_000, Ordering::Relaxed);
            other.fetch_add(1_000_000_000, Ordering::Relaxed);
            pressure.sample(began + Duration::from_secs(second));
            told.push(pressure.now().as_str());
        }
        assert_eq!(told, ["OK", "OK", "OK", "OK", "LOW", "LOW", "HIGH", "OK"]);
    }
}
