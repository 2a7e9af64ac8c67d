//! What an operator may change while the service runs.
//!
//! Invariant: every value is read afresh where it is used; no part keeps a copy.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use serde::Serialize;

/// What matters most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Mode {
    /// As configured.
    Balanced = 0,
    /// Few writes and large batches: a backlog is read sooner, results come later.
    Throughput = 1,
    /// Results come as soon as can be; each costs more.
    Latency = 2,
}

/// How much is taken from the Kafka client at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSize {
    /// How many bytes a batch should have: enough trades for every shard, few enough to stay in cache.
    pub bytes: usize,
    /// The most messages in a batch.
    pub messages: usize,
}

impl BatchSize {
    /// How many messages of this size a batch has.
    #[must_use]
    pub fn messages_of(self, message_bytes: usize) -> usize {
        (self.bytes / message_bytes.max(1)).clamp(1, self.messages)
    }
}

/// What a mode means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knobs {
    /// How often changed rows are written.
    pub flush_interval: Duration,
    /// How much is taken at once.
    pub batch: BatchSize,
}

/// Flushed no more often than this for throughput.
const FEW_FLUSHES: Duration = Duration::from_millis(500);
/// Flushed at least this often for latency.
const SOON: Duration = Duration::from_millis(3);

/// The knobs.
#[derive(Debug)]
pub struct Tuning {
    /// As configured.
    flush_interval: Duration,
    mode: AtomicU8,
    /// When the mode was chosen, in unix milliseconds; 0 while it never was.
    chosen_ms: AtomicI64,
}

impl Tuning {
    /// The knobs as configured.
    pub fn new(flush_interval: Duration) -> Self {
        Self { flush_interval, mode: AtomicU8::new(Mode::Balanced as u8), chosen_ms: AtomicI64::new(0) }
    }

    /// Chooses what matters most; holds from the next batch and the next flush on.
    pub fn choose(&self, mode: Mode, now_ms: i64) {
        self.mode.store(mode as u8, Ordering::Relaxed);
        self.chosen_ms.store(now_ms, Ordering::Relaxed);
    }

    /// What matters most now.
    pub fn mode(&self) -> Mode {
        match self.mode.load(Ordering::Relaxed) {
            1 => Mode::Throughput,
            2 => Mode::Latency,
            _ => Mode::Balanced,
        }
    }

    /// When that was chosen, in unix milliseconds; none while it never was.
    pub fn chosen_ms(&self) -> Option<i64> {
        Some(self.chosen_ms.load(Ordering::Relaxed)).filter(|at_ms| *at_ms != 0)
    }

    /// What the mode means.
    pub fn knobs(&self) -> Knobs {
        let configured = self.flush_interval;
        let (flush_interval, bytes, messages) = match self.mode() {
            Mode::Balanced => (configured, 2 << 20, 16_384),
            Mode::Throughput => (configured.max(FEW_FLUSHES), 4 << 20, 32_768),
            Mode::Latency => (configured.min(SOON), 1 << 18, 2_048),
        };
        Knobs { flush_interval, batch: BatchSize { bytes, messages } }
    }

    /// How often changed rows are written.
    pub fn flush_interval(&self) -> Duration {
        self.knobs().flush_interval
    }

    /// How much is taken at once.
    pub fn batch_size(&self) -> BatchSize {
        self.knobs().batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_turns_every_knob_its_way_and_balanced_is_as_configured() {
        let tuning = Tuning::new(Duration::from_millis(100));
        let usual = tuning.knobs();
        assert_eq!((usual.flush_interval, tuning.chosen_ms()), (Duration::from_millis(100), None));
        tuning.choose(Mode::Throughput, 7);
        let throughput = tuning.knobs();
        assert!(throughput.flush_interval > usual.flush_interval);
        assert!(
            throughput.batch.bytes > usual.batch.bytes && throughput.batch.messages > usual.batch.messages
        );
        tuning.choose(Mode::Latency, 8);
        let latency = tuning.knobs();
        assert_eq!(latency.flush_interval, Duration::from_millis(3));
        assert!(latency.batch.bytes < usual.batch.bytes && latency.batch.messages < usual.batch.messages);
        tuning.choose(Mode::Balanced, 9);
        assert_eq!((tuning.knobs(), tuning.chosen_ms()), (usual, Some(9)));
    }

    #[test]
    fn a_flush_interval_that_is_beyond_a_modes_own_stays() {
        let rare = Tuning::new(Duration::from_secs(2));
        rare.choose(Mode::Throughput, 1);
        assert_eq!(rare.flush_interval(), Duration::from_secs(2));
        let often = Tuning::new(Duration::from_millis(1));
        often.choose(Mode::Latency, 1);
        assert_eq!(often.flush_interval(), Duration::from_millis(1));
    }

    #[test]
    fn a_batch_has_at_least_one_message_and_no_more_than_its_most() {
        let size = BatchSize { bytes: 1_000, messages: 10 };
        assert_eq!([0, 50, 500, 5_000].map(|bytes| size.messages_of(bytes)), [10, 10, 2, 1]);
    }
}
