//! Numbers about what is saved: checkpoints, gaps in what could be read, losses of the store.
//!
//! Invariant: a loss of the store counts once, however many shards notice it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{Histogram, IntCounter, IntCounterVec, Opts};

use super::Maker;

/// Shards notice one loss within this time of each other: each looks once a second.
const ONE_LOSS: Duration = Duration::from_secs(4);

/// Checkpoints and gaps.
pub(super) struct CheckpointNumbers {
    stored: IntCounter,
    bytes: IntCounter,
    seconds: Histogram,
    worker_seconds: Histogram,
    gaps: IntCounterVec,
}

impl CheckpointNumbers {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            stored: make.counter("aggregator_checkpoints_total", "Checkpoints of one cell stored")?,
            bytes: make
                .counter("aggregator_checkpoint_bytes_total", "Bytes of state in stored checkpoints")?,
            seconds: make.seconds(
                "aggregator_checkpoint_seconds",
                "Time from a checkpoint's first page to the store's answer",
            )?,
            worker_seconds: make
                .seconds("aggregator_checkpoint_step_seconds", "Worker time of one step of a checkpoint")?,
            gaps: make.add(IntCounterVec::new(
                Opts::new(
                    "aggregator_offset_gap_records_total",
                    "Offsets that were deleted before they were read",
                ),
                &["partition"],
            ))?,
        })
    }

    pub(super) fn stored(&self, bytes: u64, took_ms: u64) {
        self.stored.inc();
        self.bytes.inc_by(bytes);
        self.seconds.observe(took_ms as f64 / 1000.0);
    }

    pub(super) fn step(&self, took: Duration) {
        self.worker_seconds.observe(took.as_secs_f64());
    }

    /// Makes a partition's counter of gaps, at zero, so that the first gap is seen as a rise.
    pub(super) fn introduce(&self, partition: i32) {
        self.gaps.with_label_values(&[partition.to_string()]);
    }

    pub(super) fn gap(&self, partition: i32, records: i64) {
        let records = u64::try_from(records).unwrap_or(0);
        self.gaps.with_label_values(&[partition.to_string()]).inc_by(records);
    }
}

/// Losses of the store.
pub(super) struct Regressions {
    counter: IntCounter,
    last: Mutex<Option<Instant>>,
}

impl Regressions {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        let help = "Times that the store had forgotten what it had accepted";
        let counter = make.counter("aggregator_sink_regressions_total", help)?;
        Ok(Self { counter, last: Mutex::default() })
    }

    pub(super) fn note(&self) {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|at| now.duration_since(at) > ONE_LOSS) {
            *last = Some(now);
            self.counter.inc();
        }
    }
}
