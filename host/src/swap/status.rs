//! How plugins are, for people: what runs, what is tried, what was swapped when and how it ended.
//!
//! Invariant: plain data, bounded: the last swaps of each plugin.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use crate::pipeline::comparison::Comparison;
use crate::plugin::canonical;
use crate::plugin::catalog::Running;
use crate::traces::{self, Span};

/// How many ended changes stay readable for each plugin.
const HISTORY: usize = 20;

/// What a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A new version in the place of the running one.
    Swap,
    /// A plugin that did not run before.
    New,
    /// A version beside the running one, compared with it.
    Shadow,
    /// The version before, again.
    Rollback,
}

/// A change that has ended.
#[derive(Debug, Clone, Serialize)]
pub struct Swap {
    /// When it began, unix milliseconds.
    pub at_ms: i64,
    /// What it was.
    pub kind: Kind,
    /// The digest of the version that ran before.
    pub from: Option<String>,
    /// The digest of the new version.
    pub to: String,
    /// `swapped`, `refused`, `rolled_back` or `dropped`.
    pub result: &'static str,
    /// Where it failed: a word of the contract or of loading.
    pub stage: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
    /// How the new version came by its state: `carried` or `backfill`.
    pub state: Option<&'static str>,
    /// How many bytes of state were carried.
    pub carried_bytes: u64,
    /// The longest time that any shard went without a batch from the begin of its part to the end, milliseconds.
    /// Where nothing is produced, that is as long as nothing came.
    pub longest_pause_ms: u64,
    /// The longest of those in which a shard changed over: from its last batch before the new version was shown to its
    /// first one after that, milliseconds.
    pub switch_pause_ms: u64,
    /// How long it took until the plugin was loaded, then until every shard had it in step, then until it
    /// was shown, then until the end; milliseconds.
    pub phases_ms: Phases,
}

/// How long the phases of a change took, as far as it came, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Phases {
    /// Compiling, checking, configuring.
    pub load: Option<u64>,
    /// Making the cells, carrying or reading their state.
    pub prepare: Option<u64>,
    /// Showing the new cells.
    pub show: Option<u64>,
    /// Probation.
    pub probation: Option<u64>,
    /// Saving the new cells.
    pub accept: Option<u64>,
}

/// A change under way.
#[derive(Debug, Clone, Serialize)]
pub struct TrialStatus {
    /// What it is.
    pub kind: Kind,
    /// `loading`, `preparing`, `shadowing`, `showing`, `probation`, `accepting` or `abandoning`.
    pub phase: &'static str,
    /// The digest of the new version.
    pub digest: String,
    /// When it began, unix milliseconds.
    pub since_ms: i64,
    /// How much longer probation lasts, in milliseconds.
    pub probation_left_ms: Option<u64>,
    /// How many shards stand where: `preparing`, `in_step`, `shown`, `accepted`, `abandoned`.
    pub shards: std::collections::BTreeMap<&'static str, usize>,
    /// How the new version comes by its state: `carried` or `backfill`.
    pub state: Option<&'static str>,
    /// How many bytes of state were carried so far.
    pub carried_bytes: u64,
    /// How long the phases took that are over.
    pub phases_ms: Phases,
    /// What comparing has come to, for a shadow.
    pub comparison: Option<Comparison>,
}

/// How a plugin is.
#[derive(Debug, Clone, Serialize)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// Its version, for people; none before it has run.
    pub version: Option<String>,
    /// The digest of its component.
    pub digest: Option<String>,
    /// Its configuration.
    pub configuration: Option<serde_json::Value>,
    /// The last part of its Redis keys.
    pub result_key: Option<String>,
    /// Its groups.
    pub groups: Vec<String>,
    /// How far back its longest group reaches, milliseconds.
    pub horizon_ms: Option<u64>,
    /// The digest of the version before, where there is one to go back to.
    pub previous: Option<String>,
    /// The change under way.
    pub trial: Option<TrialStatus>,
    /// The last changes, latest first.
    pub history: VecDeque<Swap>,
}

impl PluginStatus {
    /// How a plugin is of which only that it runs is known.
    #[must_use]
    pub fn of(running: &Running) -> Self {
        Self {
            name: canonical(running.name()),
            version: Some(running.plugin.description().version.clone()),
            digest: Some(running.digest.to_string()),
            configuration: serde_json::from_str(&running.configuration).ok(),
            result_key: Some(running.result_key().to_owned()),
            groups: running.settings.groups.clone(),
            horizon_ms: Some(running.settings.horizon_ms),
            previous: None,
            trial: None,
            history: VecDeque::new(),
        }
    }
}

/// Adds an ended change of a plugin to its history.
pub(super) fn remember(plugin: &str, history: &mut VecDeque<Swap>, swap: Swap) {
    trace(plugin, &swap);
    history.push_front(swap);
    history.truncate(HISTORY);
}

/// Hands in the spans of a change: one for all of it, and one for each phase that it came through.
fn trace(plugin: &str, swap: &Swap) {
    let Phases { load, prepare, show, probation, accept } = swap.phases_ms;
    let phases =
        [("load", load), ("prepare", prepare), ("show", show), ("probation", probation), ("accept", accept)];
    let took = |ms: Option<u64>| Duration::from_millis(ms.unwrap_or(0));
    let whole = phases.iter().map(|(_, ms)| took(*ms)).sum();
    let span = || {
        let span = Span::ended("swap", whole).text("plugin", plugin).text("result", swap.result);
        span.number("carried_bytes", swap.carried_bytes as i64).failed(swap.reason.clone())
    };
    let mut root = None;
    traces::record(|| root.insert(span()).clone());
    let Some(root) = root else {
        return;
    };
    let mut after = Duration::ZERO;
    for (name, ms) in phases {
        if ms.is_some() {
            traces::record(|| root.part(name, after, took(ms)));
        }
        after += took(ms);
    }
}
