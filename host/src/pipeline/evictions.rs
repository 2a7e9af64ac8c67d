//! Tokens that lack trades, for as long as they do: forgotten for their memory, so that they would be incomplete if they
//! came back, or known when records were lost.
//!
//! Not for choosing them. Invariant: bounded: of more than a million the oldest are no longer known.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

/// How many are remembered.
const MOST: usize = 1_000_000;

/// The tokens, by the hash of their address.
#[derive(Debug, Default)]
pub struct Evictions {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Until which T a token is incomplete.
    until_ms: HashMap<u64, i64>,
    /// In the order in which they were evicted; some of them twice.
    order: VecDeque<u64>,
}

impl Evictions {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a token until a T.
    pub(super) fn note(&self, hash: u64, until_ms: i64) {
        let mut inner = self.lock();
        inner.until_ms.insert(hash, until_ms);
        inner.order.push_back(hash);
        while inner.order.len() > MOST {
            if let Some(oldest) = inner.order.pop_front() {
                inner.until_ms.remove(&oldest);
            }
        }
    }

    /// Until which T a token lacks trades, if it was evicted.
    pub fn incomplete_until(&self, address: &str) -> Option<i64> {
        self.lock().until_ms.get(&xxh3_64(address.as_bytes())).copied()
    }

    /// Forgets those that would be complete by T; returns how many are left, and until which T.
    pub fn settle(&self, clock_ms: i64) -> (usize, Option<i64>) {
        let mut inner = self.lock();
        inner.until_ms.retain(|_, until_ms| *until_ms > clock_ms);
        let Inner { until_ms, order } = &mut *inner;
        order.retain(|hash| until_ms.contains_key(hash));
        if order.is_empty() {
            until_ms.shrink_to_fit();
            order.shrink_to_fit();
        }
        (until_ms.len(), until_ms.values().max().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_incomplete_until_its_horizon_has_passed() {
        let evictions = Evictions::default();
        for (token, until_ms) in [("a", 50), ("b", 90), ("a", 70)] {
            evictions.note(xxh3_64(token.as_bytes()), until_ms);
        }
        assert_eq!(evictions.incomplete_until("a"), Some(70));
        assert_eq!(evictions.settle(70), (1, Some(90)));
        assert_eq!((evictions.incomplete_until("a"), evictions.incomplete_until("c")), (None, None));
        assert_eq!(evictions.settle(90), (0, None));
    }
}
