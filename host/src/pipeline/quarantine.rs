//! Trades that some plugin cannot survive: left out for that plugin, counted, the last ones readable.
//!
//! Not for deciding which trade it is. Invariant: nothing is left out silently; for all other plugins the
//! trade counts.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::rejections::{QUOTE_BYTES, split};
use super::route::Routed;

/// How many quarantined trades stay readable.
const KEPT: usize = 100;

/// Where a trade stands in the source: partition, offset, and index in its message's array.
pub(super) type Spot = (i32, i64, u32);

/// One quarantined trade, for people.
#[derive(Debug, Clone, Serialize)]
pub struct Quarantined {
    /// The plugin that cannot survive it.
    pub plugin: String,
    /// The shard in which that was noticed.
    pub shard: u32,
    /// Where it stands.
    pub partition: i32,
    /// Where it stands.
    pub offset: i64,
    /// Its index in the array.
    pub index: u32,
    /// The plugin's last words.
    pub reason: String,
    /// The beginning of its text.
    pub record: String,
}

impl Quarantined {
    /// Describes a row of a batch.
    pub(super) fn new(plugin: &str, shard: u32, routed: &Routed, row: usize, reason: &str) -> Self {
        let place = routed.places[row];
        let record = routed.records.get(place.record as usize);
        let elements = split(record.payload);
        let text = elements.get(place.element as usize).map_or(record.payload, |one| one.get().as_bytes());
        Self {
            plugin: plugin.to_owned(),
            shard,
            partition: routed.mark.partition,
            offset: record.offset,
            index: place.element,
            reason: reason.to_owned(),
            record: String::from_utf8_lossy(&text[..text.len().min(QUOTE_BYTES)]).into_owned(),
        }
    }

    /// Where it stands.
    pub(super) fn spot(&self) -> Spot {
        (self.partition, self.offset, self.index)
    }
}

/// The last quarantined trades.
#[derive(Debug, Default)]
pub struct Quarantine {
    last: Mutex<VecDeque<Quarantined>>,
}

impl Quarantine {
    /// Keeps one, and says so.
    pub(super) fn keep(&self, quarantined: Quarantined) {
        let Quarantined { plugin, partition, offset, index, reason, .. } = &quarantined;
        tracing::warn!(%plugin, partition, offset, index, %reason, "Trade quarantined for a plugin");
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(quarantined);
    }

    /// The last ones, latest first.
    pub fn last(&self) -> Vec<Quarantined> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}
