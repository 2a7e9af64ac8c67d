//! The one place that reads the system clock.
//!
//! [`WallClock`] gives unix time in milliseconds that runs on the monotonic clock: where the system
//! clock steps, it follows at a bounded speed, so that windows neither jump nor run backwards.
//! [`rfc3339`] writes such a time as text. [`system_ms`] is the system clock as it is, for the
//! timestamps of log lines.
//!
//! Not here: the clock T of a cell, which is computed from marks.
//!
//! Invariant: what [`WallClock::now_ms`] gives never goes back, on any thread; what the pipeline does next never
//! depends on another clock, so that a simulation can set the time.

pub mod rfc3339;
mod wall;

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use wall::WallClock;

/// Where a [`WallClock`] takes its times from.
pub trait Source: Send + Sync {
    /// The system clock in unix milliseconds; it may step.
    fn system_ms(&self) -> i64;

    /// The time since some fixed moment; it never goes back and never steps.
    fn monotonic(&self) -> Duration;

    /// Resolves when that much time has passed by the monotonic clock.
    fn sleep(&self, time: Duration) -> Sleep;
}

/// What a task waits for while time passes.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The clocks of the operating system.
#[derive(Debug)]
struct Os {
    /// When the process asked first.
    start: Instant,
}

impl Source for Os {
    fn system_ms(&self) -> i64 {
        system_ms()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, time: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(time))
    }
}

/// Gives the system clock in unix nanoseconds, with every step that it makes, for the spans of traces.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this module is the home of the system clock")]
pub fn system_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Gives the system clock in unix milliseconds, with every step that it makes.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this module is the home of the system clock")]
pub fn system_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |before_ms| -before_ms),
    }
}
