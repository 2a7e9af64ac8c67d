//! The limit of memory: what is done when the linear memories of all visible cells pass it.
//!
//! First instances are made anew that hold more than their state needs; then a probation is ended and a
//! shadow dropped, since second cells take memory too; then a tenth of the tokens goes, those that have not traded for
//! longest, the instances are made anew without them, and only then it is measured again. Hidden cells are
//! not measured. Invariant: a token that trades stays before one that does not.

use std::time::Duration;

use super::Work;
use crate::clock::rfc3339;
use crate::pipeline::upkeep::{Eviction, Growth, Upkeep};
use crate::swap::{Order, Told};

/// One token in so many goes in a round.
const SHARE: usize = 10;
/// What the warning is called.
const WARNING: &str = "memory";
/// How long the conductor may take to hear an order.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

impl Work {
    /// Looks whether the plugins take more than they may, and acts.
    pub(super) fn keep_within_limit(&mut self) {
        let Some(limit) = self.parts.memory_limit else {
            return;
        };
        let passed = |bytes: usize| bytes as u64 > limit;
        if passed(self.posted()) && !self.ends() {
            let shards = self.shards();
            let growth = if self.unmeasured { Growth::Any } else { Growth::Bloated };
            let recreated = self.make_anew(&shards, growth);
            self.unmeasured &= recreated == 0;
            if !self.unmeasured && passed(self.measure(&shards)) && !self.makes_room() {
                self.evict(&shards, limit);
            }
        }
        self.warn();
    }

    /// What visible cells took when shards last said so.
    fn posted(&self) -> usize {
        self.shared().board.shards().values().map(|shard| shard.visible_memory_bytes).sum()
    }

    /// What they take now.
    pub(super) fn measure(&self, shards: &[u32]) -> usize {
        let of_shard = |&shard: &u32| self.ask(shard, |reply| Upkeep::Measure { reply });
        shards.iter().filter_map(of_shard).sum()
    }

    /// Ends what keeps second cells: a probation early, and a shadow. Says whether there was any.
    fn makes_room(&self) -> bool {
        let Some(orders) = &self.parts.orders else {
            return false;
        };
        let Ok(answer) = orders.give(Order::MakeRoom) else {
            return false;
        };
        let told = self.shared().runtime.block_on(async { tokio::time::timeout(HEARD_WITHIN, answer).await });
        matches!(told, Ok(Ok(Ok(Told::Swapped))))
    }

    /// Has the tenth of the tokens go that have not traded for longest, and makes the instances anew.
    fn evict(&mut self, shards: &[u32], limit: u64) {
        let ages: Vec<i64> = shards
            .iter()
            .filter_map(|&shard| self.ask(shard, |reply| Upkeep::Ages { reply }))
            .flatten()
            .collect();
        let Some(mut eviction) = oldest(ages) else {
            return;
        };
        let before = self.measure(shards);
        let mut tokens = 0;
        for &shard in shards {
            while let Some(evicted) = self.ask(shard, |reply| Upkeep::Evict { eviction, reply }) {
                tokens += evicted.tokens;
                eviction.ties -= evicted.ties.min(eviction.ties);
                if !evicted.more {
                    break;
                }
            }
        }
        self.unmeasured = self.make_anew(shards, Growth::Any) == 0;
        let mib = |bytes: usize| bytes >> 20;
        tracing::warn!(
            tokens, before = %rfc3339::text(eviction.before_ms), limit_mib = limit >> 20,
            memory_before_mib = mib(before), memory_after_mib = mib(self.measure(shards)),
            "Plugins take more memory than MEMORY_LIMIT_MB; the tokens that have not traded for longest were forgotten"
        );
    }

    /// Says as long as it is so that tokens are incomplete which were forgotten.
    fn warn(&self) {
        let shared = self.shared();
        let clocks = shared.board.shards().into_values().filter_map(|shard| shard.clock_ms);
        let Some(clock_ms) = clocks.min() else {
            return;
        };
        match shared.evictions.settle(clock_ms) {
            (tokens, Some(until_ms)) => {
                let until = rfc3339::text(until_ms);
                let words = format!(
                    "{tokens} tokens lack trades until {until} at the latest: they were forgotten since plugins took more than MEMORY_LIMIT_MB, or records were deleted before they were read"
                );
                shared.health.warn(WARNING, &words);
            }
            (_, None) => shared.health.clear_warning(WARNING),
        }
    }
}

/// The eviction that takes a tenth of the tokens, by when they traded last; none where there is none.
fn oldest(mut ages: Vec<i64>) -> Option<Eviction> {
    let going = ages.len().div_ceil(SHARE);
    let last = going.checked_sub(1)?;
    let (older, &mut before_ms, _) = ages.select_nth_unstable(last);
    let older = older.iter().filter(|age| **age < before_ms).count();
    Some(Eviction { before_ms, ties: going - older })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_goes_of_whatever_age_it_is() {
        let chosen = |ages: Vec<i64>| oldest(ages).map(|eviction| (eviction.before_ms, eviction.ties));
        assert_eq!(chosen((0..100).rev().collect()), Some((9, 1)));
        assert_eq!(chosen(vec![7; 50]), Some((7, 5)));
        assert_eq!(chosen(vec![1, 1, 1, 9, 9, 9, 9, 9, 9, 9, 9]), Some((1, 2)));
        assert_eq!(chosen(vec![3]), Some((3, 1)));
        assert_eq!(chosen(Vec::new()), None);
    }
}
