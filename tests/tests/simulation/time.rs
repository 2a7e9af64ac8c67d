//! The time of a simulated world: it stands still until the world moves it.
//!
//! Invariant: sleepers wake in the order of their times, and among equal ones in the order in which they lay down.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aggregator::clock::{Sleep, Source};

/// The time, shared by everything in the world.
#[derive(Debug)]
pub(crate) struct Time {
    /// The system clock at the beginning, unix milliseconds.
    start_ms: i64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    passed: Duration,
    sleepers: BTreeMap<(Duration, u64), Waker>,
    lain_down: u64,
}

impl Time {
    pub(crate) fn starting_at(start_ms: i64) -> Arc<Self> {
        Arc::new(Self { start_ms, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the beginning.
    pub(crate) fn passed(&self) -> Duration {
        self.lock().passed
    }

    /// The system clock.
    pub(crate) fn now_ms(&self) -> i64 {
        self.start_ms + self.passed().as_millis() as i64
    }

    /// Moves on, and wakes whose time has come.
    pub(crate) fn advance(&self, by: Duration) {
        let mut state = self.lock();
        state.passed += by;
        let passed = state.passed;
        let later = state.sleepers.split_off(&(passed, u64::MAX));
        let woken = std::mem::replace(&mut state.sleepers, later);
        drop(state);
        woken.into_values().for_each(Waker::wake);
    }

    /// Resolves when that much time has passed.
    pub(crate) fn sleep(self: &Arc<Self>, time: Duration) -> Sleeper {
        Sleeper { until: self.passed() + time, number: None, time: Arc::clone(self) }
    }
}

/// Somebody who waits for a time.
pub(crate) struct Sleeper {
    until: Duration,
    /// Its place among the sleepers, once it has one.
    number: Option<u64>,
    time: Arc<Time>,
}

impl Future for Sleeper {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let time = Arc::clone(&self.time);
        let mut state = time.lock();
        if state.passed >= self.until {
            return Poll::Ready(());
        }
        let number = *self.number.get_or_insert_with(|| {
            state.lain_down += 1;
            state.lain_down
        });
        state.sleepers.insert((self.until, number), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.time.lock().sleepers.remove(&(self.until, number));
        }
    }
}

/// The clocks of one process.
pub(crate) struct Clocks(pub(crate) Arc<Time>);

impl Source for Clocks {
    fn system_ms(&self) -> i64 {
        self.0.now_ms()
    }

    fn monotonic(&self) -> Duration {
        self.0.passed()
    }

    fn sleep(&self, time: Duration) -> Sleep {
        Box::pin(self.0.sleep(time))
    }
}
