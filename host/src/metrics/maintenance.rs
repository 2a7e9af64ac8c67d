//! Numbers of maintenance: what its rounds looked at, found and did.
//!
//! Invariant: each is counted where it happens, once.

use prometheus::{Histogram, IntCounter, IntCounterVec, Opts};
use serde::Serialize;

use super::Maker;

/// What is removed from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    /// Members of the active list, with whatever results they had.
    Tokens,
    /// Heads and pages of checkpoints.
    Checkpoints,
}

/// Counters of maintenance.
pub struct MaintenanceNumbers {
    /// `aggregator_maintenance_rounds_total`: rounds that ended.
    pub rounds: IntCounter,
    /// `aggregator_maintenance_seconds`: how long a round took.
    pub seconds: Histogram,
    /// `aggregator_maintenance_stale_total`: results written again that should have moved.
    pub stale: IntCounter,
    /// `aggregator_maintenance_renewed_total`: results written again before their keys expire.
    pub renewed: IntCounter,
    /// `aggregator_maintenance_compared_total`: results compared, memory with the store.
    pub compared: IntCounter,
    /// `aggregator_maintenance_differences_total`: results that differed, and were written again.
    pub differences: IntCounter,
    removed: IntCounterVec,
    /// `aggregator_instances_recreated_total`: instances made anew with their state carried over.
    pub recreated: IntCounter,
    /// `aggregator_evicted_tokens_total`: tokens forgotten since memory passed its limit.
    pub evicted: IntCounter,
}

/// The same, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MaintenanceCounts {
    /// Rounds that ended.
    pub rounds: u64,
    /// Results written again that should have moved.
    pub stale: u64,
    /// Results written again before their keys expire.
    pub renewed: u64,
    /// Results compared.
    pub compared: u64,
    /// Results that differed.
    pub differences: u64,
    /// Tokens removed from the store that no cell holds.
    pub removed_tokens: u64,
    /// Pieces of checkpoints removed that nothing names.
    pub removed_checkpoints: u64,
    /// Instances made anew.
    pub recreated: u64,
    /// Tokens forgotten for their memory.
    pub evicted: u64,
}

impl MaintenanceNumbers {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        let counter =
            |name: &str, help: &str| make.counter(&format!("aggregator_maintenance_{name}_total"), help);
        let removed = make.add(IntCounterVec::new(
            Opts::new("aggregator_maintenance_removed_total", "Leftovers removed from the store"),
            &["what"],
        ))?;
        for what in [Leftover::Tokens, Leftover::Checkpoints] {
            removed.with_label_values(&[what.as_str()]);
        }
        Ok(Self {
            rounds: counter("rounds", "Rounds of maintenance that ended")?,
            seconds: make.seconds("aggregator_maintenance_seconds", "Time of one round of maintenance")?,
            stale: counter("stale", "Results written again that should have moved with time")?,
            renewed: counter("renewed", "Results written again before their keys expire")?,
            compared: counter("compared", "Results compared with what the store has")?,
            differences: counter("differences", "Results that differed in the store, and were mended")?,
            removed,
            recreated: make.counter(
                "aggregator_instances_recreated_total",
                "Plugin instances made anew with their state carried over",
            )?,
            evicted: make.counter(
                "aggregator_evicted_tokens_total",
                "Tokens forgotten since the memory of plugins passed MEMORY_LIMIT_MB",
            )?,
        })
    }

    /// Counts what was removed.
    pub fn removed(&self, what: Leftover, count: usize) {
        self.removed.with_label_values(&[what.as_str()]).inc_by(count as u64);
    }

    /// All counters now.
    pub fn counts(&self) -> MaintenanceCounts {
        let removed = |what: Leftover| self.removed.with_label_values(&[what.as_str()]).get();
        MaintenanceCounts {
            rounds: self.rounds.get(),
            stale: self.stale.get(),
            renewed: self.renewed.get(),
            compared: self.compared.get(),
            differences: self.differences.get(),
            removed_tokens: removed(Leftover::Tokens),
            removed_checkpoints: removed(Leftover::Checkpoints),
            recreated: self.recreated.get(),
            evicted: self.evicted.get(),
        }
    }
}

impl Leftover {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Checkpoints => "checkpoints",
        }
    }
}
