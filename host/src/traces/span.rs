//! What a span is, and to which trace it belongs.
//!
//! Ids of a batch are made of its partition and offset, so that the two threads that handle it need not tell each other.
//! Invariant: no id is zero, which the protocol forbids.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::clock;

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(i64),
    Text(String),
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub(super) name: &'static str,
    pub(super) trace: u128,
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    /// Unix nanoseconds.
    pub(super) began_ns: i64,
    pub(super) ended_ns: i64,
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// Why it failed, where it did.
    pub(super) failure: Option<String>,
}

impl Span {
    /// Something that has just ended and is a trace of its own.
    #[must_use]
    pub fn ended(name: &'static str, took: Duration) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        Self::new(name, xxh3_128_with_seed(&number, seed()), clock::system_ns(), took)
    }

    /// The first step of a batch, which has just ended.
    #[must_use]
    pub fn fetched(partition: i32, first: i64, took: Duration) -> Self {
        let trace = trace_of(partition, first);
        let span = Self::new("fetch", trace, clock::system_ns(), took);
        Self { id: root_of(trace), ..span }
    }

    /// A later step of a batch, which has just ended.
    #[must_use]
    pub fn of_batch(name: &'static str, partition: i32, first: i64, took: Duration) -> Self {
        let trace = trace_of(partition, first);
        let span = Self::new(name, trace, clock::system_ns(), took);
        Self { parent: Some(root_of(trace)), ..span }
    }

    /// A part of this one: it began so long after it, and took so long.
    #[must_use]
    pub fn part(&self, name: &'static str, after: Duration, took: Duration) -> Self {
        let ended_ns = self.began_ns.saturating_add(nanos(after)).saturating_add(nanos(took));
        Self { parent: Some(self.id), ..Self::new(name, self.trace, ended_ns, took) }
    }

    /// With a number.
    #[must_use]
    pub fn number(mut self, name: &'static str, value: i64) -> Self {
        self.attributes.push((name, Value::Number(value)));
        self
    }

    /// With a text.
    #[must_use]
    pub fn text(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((name, Value::Text(value.into())));
        self
    }

    /// Failed, with the reason.
    #[must_use]
    pub fn failed(mut self, reason: Option<String>) -> Self {
        self.failure = reason;
        self
    }

    fn new(name: &'static str, trace: u128, ended_ns: i64, took: Duration) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        Self {
            name,
            trace: trace.max(1),
            id: xxh3_64_with_seed(&number, seed()).max(1),
            parent: None,
            began_ns: ended_ns.saturating_sub(nanos(took)),
            ended_ns,
            attributes: Vec::new(),
            failure: None,
        }
    }
}

/// Numbers the spans of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Tells the ids of this process from those of others.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let begun = clock::system_ns().to_le_bytes();
        xxh3_64_with_seed(&begun, u64::from(std::process::id()))
    })
}

fn trace_of(partition: i32, first: i64) -> u128 {
    let mut place = [0; 12];
    place[..4].copy_from_slice(&partition.to_le_bytes());
    place[4..].copy_from_slice(&first.to_le_bytes());
    xxh3_128_with_seed(&place, seed()).max(1)
}

/// The id of the first span of a batch's trace.
fn root_of(trace: u128) -> u64 {
    (trace as u64).max(1)
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_a_batch_share_a_trace_and_other_batches_do_not() {
        let took = Duration::from_micros(5);
        let fetched = Span::fetched(3, 70, took);
        let processed = Span::of_batch("process", 3, 70, took);
        assert_eq!(processed.trace, fetched.trace);
        assert_eq!(processed.parent, Some(fetched.id));
        assert_ne!(processed.id, fetched.id);
        assert_eq!(processed.ended_ns - processed.began_ns, 5_000);
        assert_ne!(Span::fetched(3, 71, took).trace, fetched.trace);
        assert_ne!(Span::fetched(4, 70, took).trace, fetched.trace);
    }

    #[test]
    fn a_part_lies_within_its_whole() {
        let whole = Span::ended("swap", Duration::from_millis(10));
        let part = whole.part("load", Duration::from_millis(2), Duration::from_millis(3));
        assert_eq!((part.trace, part.parent), (whole.trace, Some(whole.id)));
        assert_eq!(part.began_ns, whole.began_ns + 2_000_000);
        assert_eq!(part.ended_ns, whole.began_ns + 5_000_000);
        assert_ne!(Span::ended("swap", Duration::ZERO).trace, whole.trace);
    }
}
