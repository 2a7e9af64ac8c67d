//! When something leaves a window next, for every token.
//!
//! Not the judge of it: a token knows its own next expiry, and entries that say otherwise are stale.
//! The invariant: for every token with an expiry the queue holds an entry that is not later.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A queue of (pane of the clock, token), earliest first.
#[derive(Default)]
pub(super) struct Expiries {
    queue: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Expiries {
    pub(super) fn push(&mut self, pane: i64, token: u32) {
        self.queue.push(Reverse((pane, token)));
    }

    /// Takes the earliest entry that the clock has reached.
    pub(super) fn pop_due(&mut self, clock_pane: i64) -> Option<(i64, u32)> {
        let Reverse((pane, _)) = *self.queue.peek()?;
        if pane > clock_pane {
            return None;
        }
        self.queue.pop().map(|Reverse(entry)| entry)
    }

    /// Whether stale entries outweigh live ones, so that the queue should be made anew.
    pub(super) fn is_bloated(&self, tokens: usize) -> bool {
        self.queue.len() > 4 * tokens + 1024
    }

    /// Makes the queue anew.
    pub(super) fn rebuild(&mut self, entries: impl Iterator<Item = (i64, u32)>) {
        self.queue = entries.map(Reverse).collect();
    }
}
