//! What keeps the service from being ready: one state and reason for each thing it depends on.
//!
//! Not for metrics. Invariant: a part is ready only after somebody has seen it work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// A thing the service depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The broker and the topic.
    Kafka,
    /// The store.
    Redis,
    /// The plugins.
    Plugins,
}

impl Part {
    /// The part's name, as it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Redis => "redis",
            Self::Plugins => "plugins",
        }
    }
}

/// What a key is called, in respect of the store, that writes have to leave out.
pub const LEFT_OUT: &str = "left out";

/// What a shard is called, in respect of a part: whoever lets go of it clears this.
pub fn shard_topic(shard: u32) -> String {
    format!("shard {shard}")
}

/// The state of a part.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Whether it works.
    pub ok: bool,
    /// Why it does not, or that it does.
    pub reason: String,
}

/// The state of all parts and of the workers.
#[derive(Debug)]
pub struct Health {
    checks: Mutex<BTreeMap<Part, BTreeMap<String, Check>>>,
    /// What is worth knowing though the service does its work.
    warnings: Mutex<BTreeMap<&'static str, String>>,
    /// When each worker last went round its loop, in monotonic milliseconds.
    heartbeats: Vec<AtomicU64>,
    /// When a worker that has not gone round is wedged, in milliseconds.
    wedged_ms: u64,
}

/// A worker that has not gone round for so long is wedged, or for so much longer than a plugin's call may take.
const WEDGED: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(5));

impl Health {
    /// All parts unknown: not ready. A worker may be held by a plugin's call for `deadline`.
    pub fn new(workers: usize, deadline: Duration) -> Self {
        let starting =
            || BTreeMap::from([(String::new(), Check { ok: false, reason: "starting".to_owned() })]);
        let parts = [Part::Kafka, Part::Redis, Part::Plugins];
        Self {
            checks: Mutex::new(parts.map(|part| (part, starting())).into()),
            warnings: Mutex::default(),
            heartbeats: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            wedged_ms: WEDGED.0.max(deadline + WEDGED.1).as_millis() as u64,
        }
    }

    fn set(&self, part: Part, topic: &str, ok: bool, reason: &str) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let topics = checks.entry(part).or_default();
        let before = topics.insert(topic.to_owned(), Check { ok, reason: reason.to_owned() });
        drop(checks);
        // Only a change is news.
        match before {
            Some(check) if check.ok == ok => {}
            _ if ok => tracing::info!(part = ?part, topic, "Ready"),
            _ => tracing::warn!(part = ?part, topic, reason, "Not ready"),
        }
    }

    /// Notes that a part works, in one respect (`topic`; empty: as a whole).
    pub fn ok(&self, part: Part, topic: &str) {
        let known = {
            let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
            checks.get(&part).and_then(|topics| topics.get(topic)).is_some_and(|check| check.ok)
        };
        if !known {
            self.set(part, topic, true, "ok");
        }
    }

    /// Notes why a part does not work, in one respect.
    pub fn fail(&self, part: Part, topic: &str, reason: &str) {
        self.set(part, topic, false, reason);
    }

    /// Forgets a respect that no longer concerns this process.
    pub fn clear(&self, part: Part, topic: &str) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.entry(part).or_default().remove(topic);
    }

    /// Each part's state: the first respect in which it fails.
    pub fn checks(&self) -> BTreeMap<Part, Check> {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let fine = || Check { ok: true, reason: "ok".to_owned() };
        checks
            .iter()
            .map(|(part, topics)| {
                (*part, topics.values().find(|check| !check.ok).cloned().unwrap_or_else(fine))
            })
            .collect()
    }

    /// Warns of something that keeps nothing from working.
    pub fn warn(&self, topic: &'static str, words: &str) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        words.clone_into(warnings.entry(topic).or_default());
    }

    /// Takes a warning back.
    pub fn clear_warning(&self, topic: &str) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    /// All warnings.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether every part works.
    pub fn ready(&self) -> bool {
        self.checks().values().all(|check| check.ok)
    }

    /// Notes that a worker is alive.
    pub fn beat(&self, worker: usize, monotonic_ms: u64) {
        if let Some(heartbeat) = self.heartbeats.get(worker) {
            heartbeat.store(monotonic_ms, Ordering::Relaxed);
        }
    }

    /// The workers that have stopped making progress.
    pub fn wedged(&self, monotonic_ms: u64) -> Vec<usize> {
        let wedged =
            |beat: &AtomicU64| monotonic_ms.saturating_sub(beat.load(Ordering::Relaxed)) > self.wedged_ms;
        self.heartbeats
            .iter()
            .enumerate()
            .filter(|(_, beat)| wedged(beat))
            .map(|(worker, _)| worker)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_ready_when_none_of_its_respects_fails() {
        let health = Health::new(1, Duration::from_secs(1));
        assert!(!health.ready());
        for part in [Part::Kafka, Part::Redis, Part::Plugins] {
            health.ok(part, "");
        }
        assert!(health.ready());
        health.fail(Part::Redis, "shard 3", "fenced");
        assert!(!health.ready());
        assert_eq!(health.checks()[&Part::Redis].reason, "fenced");
        health.ok(Part::Redis, "shard 3");
        assert!(health.ready());
    }

    #[test]
    fn a_worker_that_does_not_go_round_is_wedged() {
        let health = Health::new(2, Duration::from_secs(1));
        health.beat(0, 20_000);
        assert_eq!(health.wedged(20_000), [1]);
        // Somebody allows plugins a minute.
        let health = Health::new(1, Duration::from_secs(60));
        assert_eq!(health.wedged(64_000), [0; 0]);
        assert_eq!(health.wedged(66_000), [0]);
    }
}
