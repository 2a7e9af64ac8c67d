//! Memory is given back on request: connections to the store and instances that have grown are made anew, dictionaries
//! are compacted, and the allocator returns what it keeps for later.
//!
//! Invariant: the numbers of the answer are what the system says before and after.

use std::time::Duration;

use super::Work;
use crate::allocator;
use crate::metrics::Process;
use crate::pipeline::upkeep::{Growth, Upkeep};

/// What it came to.
#[derive(Debug, Clone, Copy)]
pub struct GivenBack {
    /// The process before.
    pub before: Process,
    /// The process after.
    pub after: Process,
    /// Linear memory of all instances before.
    pub plugins_before_bytes: usize,
    /// The same after.
    pub plugins_after_bytes: usize,
    /// Instances that were made anew.
    pub recreated: usize,
    /// Whether the allocator could be asked.
    pub trimmed: bool,
    /// How long it took.
    pub took: Duration,
}

impl Work {
    pub(super) fn give_back(&self) -> GivenBack {
        let clock = &self.shared().clock;
        let began = clock.monotonic();
        let shards = self.shards();
        let (before, plugins_before_bytes) = (Process::read(), self.measure(&shards));
        self.shared().runtime.block_on(self.shared().writing.store.give_back());
        let recreated = self.make_anew(&shards, Growth::Some);
        for &shard in &shards {
            self.ask(shard, |reply| Upkeep::Compact { reply });
        }
        let trimmed = allocator::trim();
        GivenBack {
            before,
            after: Process::read(),
            plugins_before_bytes,
            plugins_after_bytes: self.measure(&shards),
            recreated,
            trimmed,
            took: clock.monotonic() - began,
        }
    }
}
