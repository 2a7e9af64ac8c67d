//! One round: look at every shard, walk on over the store, make leaking instances anew, tell what was done.
//!
//! Invariant: a round that finds the store away goes on with what does not need it.

use crate::metrics::MaintenanceCounts;
use crate::pipeline::upkeep::{Growth, Look, Upkeep};

use super::Work;
use super::leftovers::Interrupted;

/// How many tokens of a shard are compared in a round.
const SAMPLE: usize = 64;

impl Work {
    pub(super) fn round(&mut self) {
        let clock = std::sync::Arc::clone(&self.shared().clock);
        let began = clock.monotonic();
        let shards = self.shards();
        let look = Look {
            stale_after_ms: u64::try_from(self.parts.stale_threshold.as_millis()).unwrap_or(u64::MAX),
            sample: SAMPLE,
        };
        for &shard in &shards {
            if let Some(looked) = self.ask(shard, |reply| Upkeep::Look { look, reply }) {
                let numbers = &self.shared().metrics.maintenance;
                numbers.stale.inc_by(looked.stale as u64);
                numbers.renewed.inc_by(looked.renewed as u64);
            }
        }
        self.make_anew(&shards, Growth::Bloated);
        if !shards.is_empty()
            && let Err(Interrupted::Store(error)) = self.remove_leftovers()
        {
            tracing::warn!(%error, "Leftovers in the store not looked for");
        }
        let took = clock.monotonic() - began;
        let numbers = &self.shared().metrics.maintenance;
        numbers.rounds.inc();
        numbers.seconds.observe(took.as_secs_f64());
        self.tell();
    }

    /// Tells what was done since it was last told, where there is something.
    fn tell(&mut self) {
        let now = self.shared().metrics.maintenance.counts();
        let before = std::mem::replace(&mut self.counts, now);
        let quiet = MaintenanceCounts { rounds: now.rounds, compared: now.compared, ..before };
        if now != quiet {
            tracing::info!(
                stale = now.stale - before.stale,
                renewed = now.renewed - before.renewed,
                compared = now.compared - before.compared,
                differences = now.differences - before.differences,
                removed_tokens = now.removed_tokens - before.removed_tokens,
                removed_checkpoints = now.removed_checkpoints - before.removed_checkpoints,
                instances_recreated = now.recreated - before.recreated,
                evicted = now.evicted - before.evicted,
                "Maintenance done"
            );
        }
    }

    /// Has instances made anew that have grown, in one shard of each worker at a time; says how many were.
    pub(super) fn make_anew(&self, shards: &[u32], growth: Growth) -> usize {
        let mut made = 0;
        for some in shards.chunks(self.shared().layout.workers.max(1)) {
            let ask = |&shard: &u32| {
                let (reply, answer) = crossbeam_channel::bounded(1);
                self.parts.intake.keep(shard, Upkeep::Renew { growth, reply });
                answer
            };
            let answers: Vec<_> = some.iter().map(ask).collect();
            made += answers.iter().filter_map(|answer| self.wait(answer)).sum::<usize>();
        }
        made
    }
}
