//! Gauges that are read from where they stand at the moment of a scrape.
//!
//! Invariant: a partition or shard that is gone has no line any more.

use std::time::Duration;

use prometheus::{Gauge, GaugeVec};

use super::{Maker, Process};

/// What is read from elsewhere at the moment of a scrape.
pub struct Observed {
    /// Whether the service does its work.
    pub ready: bool,
    /// Whether each thing that it depends on works.
    pub parts: Vec<(&'static str, bool)>,
    /// The plugins that run.
    pub plugins: Vec<String>,
    /// Lag by partition.
    pub lag: Vec<(i32, i64)>,
    /// Lag by partition of a repartitioned feed's source.
    pub source_lag: Vec<(i32, i64)>,
    /// Seconds between the wall clock and each shard's T.
    pub clock_lag_s: Vec<(u32, f64)>,
    /// Seconds since each shard's oldest checkpoint was stored.
    pub checkpoint_age_s: Vec<(u32, f64)>,
    /// Tokens that are alive.
    pub active_tokens: usize,
    /// Worker threads.
    pub workers: usize,
    /// Linear memory of all plugin instances.
    pub plugin_memory_bytes: usize,
    /// Since the start.
    pub uptime: Duration,
}

/// The gauges that show it.
pub(super) struct ObservedGauges {
    ready: Gauge,
    part_ok: GaugeVec,
    lag_records: GaugeVec,
    source_lag_records: GaugeVec,
    clock_lag_seconds: GaugeVec,
    checkpoint_age_seconds: GaugeVec,
    active_tokens: Gauge,
    workers: Gauge,
    plugin_memory_bytes: Gauge,
    resident_bytes: Gauge,
    threads: Gauge,
    uptime_seconds: Gauge,
}

impl ObservedGauges {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| make.gauge(&format!("aggregator_{name}"), help);
        Ok(Self {
            ready: gauge("ready", "Whether the service does its work, as /health/ready says: 1 or 0")?,
            part_ok: make.gauges(
                "aggregator_part_ok",
                "Whether a thing that the service depends on works: 1 or 0",
                "part",
            )?,
            lag_records: make.gauges(
                "aggregator_lag_records",
                "Records not yet aggregated and written",
                "partition",
            )?,
            source_lag_records: make.gauges(
                "aggregator_source_lag_records",
                "Records of a repartitioned feed's source not yet handed on",
                "partition",
            )?,
            clock_lag_seconds: make.gauges(
                "aggregator_clock_lag_seconds",
                "Wall clock minus the shard's clock",
                "shard",
            )?,
            checkpoint_age_seconds: make.gauges(
                "aggregator_checkpoint_age_seconds",
                "Time since the shard's oldest checkpoint was stored",
                "shard",
            )?,
            active_tokens: gauge("active_tokens", "Tokens that are alive")?,
            workers: gauge("workers", "Worker threads")?,
            plugin_memory_bytes: gauge("plugin_memory_bytes", "Linear memory of all plugin instances")?,
            resident_bytes: gauge("resident_memory_bytes", "Resident memory of the process")?,
            threads: gauge("threads", "Threads of the process")?,
            uptime_seconds: gauge("uptime_seconds", "Time since the start")?,
        })
    }

    pub(super) fn set(&self, observed: &Observed, process: Process) {
        self.lag_records.reset();
        for (partition, lag) in &observed.lag {
            self.lag_records.with_label_values(&[&partition.to_string()]).set(*lag as f64);
        }
        self.ready.set(f64::from(u8::from(observed.ready)));
        for (part, ok) in &observed.parts {
            self.part_ok.with_label_values(&[part]).set(f64::from(u8::from(*ok)));
        }
        self.source_lag_records.reset();
        for (partition, lag) in &observed.source_lag {
            self.source_lag_records.with_label_values(&[&partition.to_string()]).set(*lag as f64);
        }
        self.clock_lag_seconds.reset();
        for (shard, lag_s) in &observed.clock_lag_s {
            self.clock_lag_seconds.with_label_values(&[&shard.to_string()]).set(*lag_s);
        }
        self.checkpoint_age_seconds.reset();
        for (shard, age_s) in &observed.checkpoint_age_s {
            self.checkpoint_age_seconds.with_label_values(&[&shard.to_string()]).set(*age_s);
        }
        self.active_tokens.set(observed.active_tokens as f64);
        self.workers.set(observed.workers as f64);
        self.plugin_memory_bytes.set(observed.plugin_memory_bytes as f64);
        self.resident_bytes.set(process.resident_bytes as f64);
        self.threads.set(process.threads as f64);
        self.uptime_seconds.set(observed.uptime.as_secs_f64());
    }
}
