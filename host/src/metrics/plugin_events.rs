//! What happens to plugins: failures, and trades left out for one of them.
//!
//! Not for the numbers that plugins declare. Invariant: label values are names of loaded plugins, a bounded number of
//! others that were refused, and words of closed sets.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Histogram, IntCounterVec, Opts};
use serde::Serialize;

use super::Maker;
use crate::plugin::{Stage, canonical, same_name};

/// Counters by plugin.
#[derive(Debug)]
pub struct PluginEvents {
    faults: IntCounterVec,
    quarantined: IntCounterVec,
    swaps: IntCounterVec,
    swap_step_seconds: Histogram,
}

/// What has happened to one plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PluginCounts {
    /// Failures of an instance.
    pub faults: u64,
    /// Trades left out, once for each shard.
    pub quarantined: u64,
    /// Changes after which every shard showed another version.
    pub swapped: u64,
    /// Changes that were refused.
    pub refused: u64,
    /// Changes that were taken back.
    pub rolled_back: u64,
}

impl PluginEvents {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            make.add(IntCounterVec::new(Opts::new(name, help), labels))
        };
        Ok(Self {
            faults: counters(
                "aggregator_plugin_faults_total",
                "Failures of an instance, by the call that failed",
                &["plugin", "stage"],
            )?,
            quarantined: counters(
                "aggregator_quarantined_total",
                "Trades left out for a plugin that they kill, once for each shard",
                &["plugin"],
            )?,
            swaps: counters(
                "aggregator_plugin_swaps_total",
                "Changes of plugins by how they ended: swapped, refused, rolled_back",
                &["plugin", "result"],
            )?,
            swap_step_seconds: make.seconds(
                "aggregator_plugin_swap_step_seconds",
                "Worker time between two batches that went into the swap of a plugin",
            )?,
        })
    }

    /// Makes a plugin's counters, at zero: an alert sees a rise only where there was a number before.
    pub(super) fn introduce(&self, plugin: &str) {
        for stage in Stage::OF_AN_INSTANCE {
            self.faults.with_label_values(&[plugin, stage.as_str()]);
        }
        self.quarantined.with_label_values(&[plugin]);
        for result in ["swapped", "refused", "rolled_back"] {
            self.swaps.with_label_values(&[&*canonical(plugin), result]);
        }
    }

    /// Counts a failure.
    pub fn failed(&self, plugin: &str, stage: Stage) {
        self.faults.with_label_values(&[plugin, stage.as_str()]).inc();
    }

    /// Counts a change of a plugin: `swapped` when every shard has, `refused`, `rolled_back`.
    pub fn swapped(&self, plugin: &str, result: &'static str) {
        self.swaps.with_label_values(&[plugin, result]).inc();
    }

    /// Counts worker time that went into a swap.
    pub fn swap_step(&self, took: Duration) {
        self.swap_step_seconds.observe(took.as_secs_f64());
    }

    /// What has happened to one plugin since the start.
    pub fn counts(&self, plugin: &str) -> PluginCounts {
        let swaps = |result| sum(&self.swaps, plugin, Some(result));
        PluginCounts {
            faults: sum(&self.faults, plugin, None),
            quarantined: sum(&self.quarantined, plugin, None),
            swapped: swaps("swapped"),
            refused: swaps("refused"),
            rolled_back: swaps("rolled_back"),
        }
    }

    /// Counts a trade that is left out.
    pub fn quarantined(&self, plugin: &str) {
        self.quarantined.with_label_values(&[plugin]).inc();
    }
}

/// The sum of a plugin's counters, or of those of one result, without making any.
fn sum(counters: &IntCounterVec, plugin: &str, result: Option<&str>) -> u64 {
    let families = counters.collect();
    let all = families.iter().flat_map(|family| family.get_metric());
    let own = all.filter(|metric| {
        metric.get_label().iter().all(|label| match label.name() {
            "plugin" => same_name(label.value(), plugin),
            "result" => result.is_none_or(|result| label.value() == result),
            _ => true,
        })
    });
    own.map(|metric| metric.get_counter().get_value() as u64).sum()
}
