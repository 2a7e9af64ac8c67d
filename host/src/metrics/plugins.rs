//! Gauges and counters that plugins declare, folded over shards.
//!
//! Each is named after its plugin and by its declared name, never by its place: versions of a plugin that run side by
//! side may declare others. Invariant: no name is given twice, neither by two plugins nor by one and the service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter};

use crate::plugin::contract::{Description, Fold, Table};

/// What one plugin declares, by its own names.
#[derive(Debug, Default)]
struct Numbers {
    gauges: BTreeMap<String, Gauged>,
    counters: BTreeMap<String, Counted>,
}

#[derive(Debug)]
struct Gauged {
    help: String,
    fold: Fold,
    /// As last flushed; never empty.
    shards: BTreeMap<u32, f64>,
}

#[derive(Debug)]
struct Counted {
    help: String,
    sum: u64,
}

/// The numbers of all plugins.
#[derive(Debug, Default)]
pub struct PluginNumbers {
    by_plugin: Mutex<BTreeMap<String, Numbers>>,
}

impl PluginNumbers {
    fn with<R>(&self, act: impl FnOnce(&mut BTreeMap<String, Numbers>) -> R) -> R {
        act(&mut self.by_plugin.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the numbers of one flush.
    pub fn add(&self, description: &Description, shard: u32, table: &Table) {
        if description.gauges.is_empty() && description.counters.is_empty() {
            return;
        }
        self.with(|all| all.entry(description.name.clone()).or_default().add(description, shard, table));
    }

    /// Forgets what a shard reported that is gone.
    pub fn drop_shard(&self, shard: u32) {
        self.with(|all| all.values_mut().for_each(|numbers| numbers.drop_shard(shard)));
    }

    /// Forgets what a plugin reported that is gone from a shard; what was counted stays.
    pub fn drop_cell(&self, plugin: &str, shard: u32) {
        self.with(|all| all.get_mut(plugin).map(|numbers| numbers.drop_shard(shard)));
    }

    /// Everything as metric families, but those whose names are taken.
    pub fn gather(&self, taken: &[MetricFamily]) -> Vec<MetricFamily> {
        let mut names: BTreeSet<String> = taken.iter().map(|family| family.name().to_owned()).collect();
        let mut families = self
            .with(|all| all.iter().flat_map(|(plugin, numbers)| numbers.gather(plugin)).collect::<Vec<_>>());
        families.retain(|family| names.insert(family.name().to_owned()));
        families
    }
}

impl Numbers {
    fn add(&mut self, description: &Description, shard: u32, table: &Table) {
        for (gauge, value) in description.gauges.iter().zip(&table.gauges) {
            let new = || Gauged { help: help(&gauge.help), fold: gauge.fold, shards: BTreeMap::new() };
            let gauged = self.gauges.entry(gauge.name.clone()).or_insert_with(new);
            gauged.shards.insert(shard, *value);
        }
        for (counter, delta) in description.counters.iter().zip(&table.counters) {
            let new = || Counted { help: help(&counter.help), sum: 0 };
            let counted = self.counters.entry(counter.name.clone()).or_insert_with(new);
            counted.sum = counted.sum.saturating_add(*delta);
        }
        // The shard may have had another version, which declared others.
        let declared = |name: &str| description.gauges.iter().any(|gauge| gauge.name == name);
        self.drop_gauges(shard, |name| !declared(name));
    }

    fn drop_shard(&mut self, shard: u32) {
        self.drop_gauges(shard, |_| true);
    }

    fn drop_gauges(&mut self, shard: u32, goes: impl Fn(&str) -> bool) {
        self.gauges.retain(|name, gauged| {
            if goes(name) {
                gauged.shards.remove(&shard);
            }
            !gauged.shards.is_empty()
        });
    }

    fn gather(&self, plugin: &str) -> Vec<MetricFamily> {
        let prefix = format!("aggregator_plugin_{}", plugin.replace('-', "_"));
        let mut families = Vec::new();
        for (name, gauged) in &self.gauges {
            let values = gauged.shards.values().copied();
            let folded = match gauged.fold {
                Fold::Sum => values.sum(),
                Fold::Max => values.fold(f64::NEG_INFINITY, f64::max),
            };
            if let Ok(gauge) = Gauge::new(format!("{prefix}_{name}"), &gauged.help) {
                gauge.set(folded);
                families.extend(gauge.collect());
            }
        }
        for (name, counted) in &self.counters {
            if let Ok(counter) = IntCounter::new(format!("{prefix}_{name}_total"), &counted.help) {
                counter.inc_by(counted.sum);
                families.extend(counter.collect());
            }
        }
        families
    }
}

/// A guest's help text, never empty, since the encoder wants one.
fn help(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    if text.is_empty() { "Declared by the plugin".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tests::version;
    use crate::plugin::contract;

    fn description(name: &str, gauges: &[&str], counters: &[&str]) -> Description {
        let (help, fold) = (String::new(), Fold::Sum);
        let gauge = |name: &&str| contract::Gauge { name: (*name).to_owned(), help: help.clone(), fold };
        let counter = |name: &&str| contract::Counter { name: (*name).to_owned(), help: help.clone() };
        Description {
            gauges: gauges.iter().map(gauge).collect(),
            counters: counters.iter().map(counter).collect(),
            ..version(name, "aa").plugin.description().clone()
        }
    }

    fn table(gauges: &[f64], counters: &[u64]) -> Table {
        Table {
            tokens: Vec::new(),
            columns: Vec::new(),
            forgotten: Vec::new(),
            gauges: gauges.to_vec(),
            counters: counters.to_vec(),
            more: false,
        }
    }

    fn shown(numbers: &PluginNumbers) -> Vec<(String, f64)> {
        let value = |family: &MetricFamily| {
            let metric = &family.get_metric()[0];
            metric.get_gauge().get_value() + metric.get_counter().get_value()
        };
        numbers.gather(&[]).iter().map(|family| (family.name().to_owned(), value(family))).collect()
    }

    fn named(name: &str, value: f64) -> (String, f64) {
        (format!("aggregator_plugin_{name}"), value)
    }

    #[test]
    fn versions_side_by_side_are_read_by_their_names() {
        let numbers = PluginNumbers::default();
        let (old, new) =
            (description("p", &["tokens"], &["rows"]), description("p", &["errors", "tokens"], &["rows"]));
        numbers.add(&old, 0, &table(&[5.0], &[2]));
        numbers.add(&new, 1, &table(&[1.0, 7.0], &[3]));
        assert_eq!(
            shown(&numbers),
            [named("p_errors", 1.0), named("p_tokens", 12.0), named("p_rows_total", 5.0)]
        );
        numbers.add(&old, 1, &table(&[7.0], &[0]));
        assert_eq!(shown(&numbers), [named("p_tokens", 12.0), named("p_rows_total", 5.0)]);
        numbers.drop_cell("p", 0);
        numbers.drop_shard(1);
        assert_eq!(shown(&numbers), [named("p_rows_total", 5.0)]);
    }

    #[test]
    fn a_name_that_is_taken_is_given_once() {
        let numbers = PluginNumbers::default();
        numbers.add(&description("a", &["b_c"], &[]), 0, &table(&[1.0], &[]));
        numbers.add(&description("a-b", &["c"], &[]), 0, &table(&[2.0], &[]));
        assert_eq!(shown(&numbers), [named("a_b_c", 1.0)]);
        let taken = numbers.gather(&[]);
        assert_eq!(numbers.gather(&taken).len(), 0);
    }
}
