//! Gauges and counters that plugins declare, folded over shards.
//!
//! Invariant: a plugin's names are checked when it is loaded, so that they cannot clash with ours:
//! each begins with `aggregator_plugin_` and the plugin's own name.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter};

use crate::plugin::contract::{Description, Fold, Table};

#[derive(Debug, Default)]
struct Numbers {
    /// For each shard the gauges as last flushed.
    gauges: BTreeMap<u32, Vec<f64>>,
    counters: Vec<u64>,
    declared: Option<Declared>,
}

#[derive(Debug)]
struct Declared {
    gauges: Vec<(String, String, Fold)>,
    counters: Vec<(String, String)>,
}

/// The numbers of all plugins.
#[derive(Debug, Default)]
pub struct PluginNumbers {
    by_plugin: Mutex<BTreeMap<String, Numbers>>,
}

impl PluginNumbers {
    /// Takes the numbers of one flush.
    pub fn add(&self, description: &Description, shard: u32, table: &Table) {
        if description.gauges.is_empty() && description.counters.is_empty() {
            return;
        }
        let mut all = self.by_plugin.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = all.entry(description.name.clone()).or_default();
        numbers.declared.get_or_insert_with(|| Declared::of(description));
        numbers.gauges.insert(shard, table.gauges.clone());
        numbers.counters.resize(description.counters.len(), 0);
        for (sum, delta) in numbers.counters.iter_mut().zip(&table.counters) {
            *sum = sum.saturating_add(*delta);
        }
    }

    /// Forgets what a shard reported that is gone.
    pub fn drop_shard(&self, shard: u32) {
        for numbers in self.by_plugin.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            numbers.gauges.remove(&shard);
        }
    }

    /// Everything as metric families.
    pub fn gather(&self) -> Vec<MetricFamily> {
        let all = self.by_plugin.lock().unwrap_or_else(PoisonError::into_inner);
        let mut families = Vec::new();
        for numbers in all.values() {
            let Some(declared) = &numbers.declared else {
                continue;
            };
            for (index, (name, help, fold)) in declared.gauges.iter().enumerate() {
                let values = numbers.gauges.values().filter_map(|shard| shard.get(index).copied());
                let folded = match fold {
                    Fold::Sum => values.sum(),
                    Fold::Max => values.fold(0.0, f64::max),
                };
                if let Ok(gauge) = Gauge::new(name.clone(), help.clone()) {
                    gauge.set(folded);
                    families.extend(gauge.collect());
                }
            }
            for ((name, help), value) in declared.counters.iter().zip(&numbers.counters) {
                if let Ok(counter) = IntCounter::new(name.clone(), help.clone()) {
                    counter.inc_by(*value);
                    families.extend(counter.collect());
                }
            }
        }
        families
    }
}

impl Declared {
    fn of(description: &Description) -> Self {
        let prefix = format!("aggregator_plugin_{}", description.name.replace('-', "_"));
        Self {
            gauges: description
                .gauges
                .iter()
                .map(|gauge| (format!("{prefix}_{}", gauge.name), help(&gauge.help), gauge.fold))
                .collect(),
            counters: description
                .counters
                .iter()
                .map(|counter| (format!("{prefix}_{}_total", counter.name), help(&counter.help)))
                .collect(),
        }
    }
}

/// A guest's help text, never empty, since the encoder wants one.
fn help(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    if text.is_empty() { "Declared by the plugin".to_owned() } else { text }
}
