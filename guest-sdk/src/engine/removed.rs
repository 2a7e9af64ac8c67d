//! The log of slots that went away, for readers of changed state.
//!
//! Not for slots that still exist: one that came back is reported as an entry. The invariant: the log
//! is in order of generations, so that a reader finds its place by search.

use std::collections::VecDeque;

/// One slot that went away.
#[derive(Clone, Copy)]
pub(super) struct Removal {
    generation: u32,
    pub(super) token: u32,
    pub(super) slot: i64,
}

/// Slots that went away, until [`Removed::trim`].
#[derive(Default)]
pub(super) struct Removed {
    log: VecDeque<Removal>,
    /// How many were trimmed: the sequence number of the log's first.
    trimmed: u64,
}

impl Removed {
    pub(super) fn push(&mut self, generation: u32, token: u32, slot: i64) {
        self.log.push_back(Removal { generation, token, slot });
    }

    /// Gives the sequence number of the first removal after a generation.
    pub(super) fn first_after(&self, since: u32) -> u64 {
        let at = self.log.partition_point(|r| r.generation <= since);
        self.trimmed + at as u64
    }

    /// Gives the sequence number that the next removal will have.
    pub(super) fn end(&self) -> u64 {
        self.trimmed + self.log.len() as u64
    }

    /// Gives the removals from a sequence number on.
    pub(super) fn from(&self, sequence: u64) -> impl Iterator<Item = (u64, Removal)> + '_ {
        let skipped = sequence.saturating_sub(self.trimmed) as usize;
        let skipped = skipped.min(self.log.len());
        let first = self.trimmed + skipped as u64;
        (first..).zip(self.log.iter().skip(skipped).copied())
    }

    /// Forgets what was removed up to a generation.
    pub(super) fn trim(&mut self, generation: u32) {
        let until = self.log.partition_point(|r| r.generation <= generation);
        self.log.drain(..until);
        self.trimmed += until as u64;
        if self.log.is_empty() {
            self.log = VecDeque::new();
        }
    }
}
