//! Maintenance: regular upkeep of what Redis holds.

use std::time::Duration;

use super::parse;
use super::reader::Reader;
use super::setting::Setting;

/// The settings of this concern.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "MAINTENANCE_INTERVAL",
        "60s",
        "How often what stands in Redis is looked after: 100ms to 24h.",
    ),
    Setting::new(
        "STALE_THRESHOLD",
        "5m",
        "A token whose windows should have moved and that was not written for so long is written \
         again: 100ms to 24h.",
    ),
];

/// Regular upkeep.
#[derive(Debug, Clone, PartialEq)]
pub struct Maintenance {
    /// How often it is done.
    pub interval: Duration,
    /// How long a token may stay unwritten while its windows should have moved.
    pub stale_threshold: Duration,
}

impl Maintenance {
    /// Reads this part.
    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let interval = from.value("MAINTENANCE_INTERVAL", parse::time("100ms", "24h"));
        let stale_threshold = from.value("STALE_THRESHOLD", parse::time("100ms", "24h"));
        Some(Self { interval: interval?, stale_threshold: stale_threshold? })
    }
}
