//! What maintenance has a shard do: write again what should have been written, pick results to be compared,
//! say what nobody holds, let the oldest tokens go.
//!
//! Not for deciding when, nor for how many. Invariant: each call is bounded in what it touches, since
//! batches wait meanwhile, and whatever leaves the last cell leaves the store too.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::Shared;
use super::cell::{Cell, Sight};
use super::cell_clock::Now;
use super::evictions::Evictions;
use super::flush::ttl_ms;
use super::shard::Shard;
use super::tokens::{Token, Tokens};
use crate::store::CheckpointPiece;

/// How many tokens one call evicts at most.
pub const EVICTED_AT_ONCE: usize = 4_096;

/// What maintenance asks of a shard.
pub enum Upkeep {
    /// Touch what is stale, or expires; have some results compared.
    Look {
        /// See [`Look`].
        look: Look,
        /// Answered when it is touched.
        reply: Sender<Looked>,
    },
    /// Have those of these tokens removed from the store that no cell holds.
    Unheld {
        /// The tokens.
        tokens: Vec<String>,
        /// Whether they are the shard's. If not, they only leave the active list, where no result is stored.
        own: bool,
        /// Answered with how many those are.
        reply: Sender<usize>,
    },
    /// Have pieces of checkpoints removed.
    Sweep {
        /// The pieces.
        pieces: Vec<CheckpointPiece>,
        /// Answered with how many those are.
        reply: Sender<usize>,
    },
    /// Make instances anew, with their state carried over.
    Renew {
        /// Which of them.
        growth: Growth,
        /// Answered with how many were made; dropped where the shard goes.
        reply: Sender<usize>,
    },
    /// Say how much linear memory the cells take whose rows count.
    Measure {
        /// Where the answer goes.
        reply: Sender<usize>,
    },
    /// Say when each token traded last.
    Ages {
        /// Where the answer goes.
        reply: Sender<Vec<i64>>,
    },
    /// Forget the oldest tokens.
    Evict {
        /// Which.
        eviction: Eviction,
        /// Where the answer goes.
        reply: Sender<Evicted>,
    },
    /// Give back what the dictionary of tokens no longer needs.
    Compact {
        /// Answered when that is done.
        reply: Sender<()>,
    },
}

/// What counts as stale, and how many results are compared.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// A result that should have moved and was not written for so long.
    pub stale_after_ms: u64,
    /// How many tokens are compared.
    pub sample: usize,
}

/// What was touched.
#[derive(Debug, Clone, Copy, Default)]
pub struct Looked {
    /// Results that should have moved.
    pub stale: usize,
    /// Results whose keys have lived for half of their time.
    pub renewed: usize,
}

/// How much an instance must have grown since it was made, to be made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// To twice its size, and worth the effort.
    Bloated,
    /// By an eighth.
    Some,
    /// Not at all: what it holds has gone.
    Any,
}

/// Which tokens go: those that traded last before a time, and some of those that did at that time.
#[derive(Debug, Clone, Copy)]
pub struct Eviction {
    /// The time.
    pub before_ms: i64,
    /// How many of those go that traded last exactly then.
    pub ties: usize,
}

/// What an eviction came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evicted {
    /// Tokens that went.
    pub tokens: usize,
    /// How many of them were ties.
    pub ties: usize,
    /// There are more of them.
    pub more: bool,
}

/// When a token's row was handed to the writer last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    /// By the monotonic clock, in seconds from 1 on; 0: never.
    at_s: u32,
    /// T, in unix seconds.
    clock_s: u32,
}

/// An instance below this is small whatever it holds.
const SMALL_BYTES: usize = 16 << 20;

impl Growth {
    fn has(self, lean_bytes: usize, bytes: usize) -> bool {
        match self {
            Self::Bloated => bytes >= SMALL_BYTES.max(2 * lean_bytes),
            Self::Some => bytes > lean_bytes + lean_bytes / 8,
            Self::Any => true,
        }
    }
}

impl Cell {
    /// Notes which rows were handed to the writer.
    pub(super) fn note_written(&mut self, numbers: &[u32], clock_ms: i64, now: Now) {
        let second = |ms: i64| u32::try_from(ms / 1_000).unwrap_or(0);
        let at_s = u32::try_from(now.monotonic_ms / 1_000).unwrap_or(u32::MAX).saturating_add(1);
        let written = Written { at_s, clock_s: second(clock_ms) };
        for &number in numbers {
            let index = number as usize;
            if index >= self.written.len() {
                self.written.resize(index + 1, Written::default());
            }
            self.written[index] = written;
        }
    }

    /// Forgets when rows of numbers were written that no token has any more.
    fn compact(&mut self, end: usize) {
        self.written.truncate(end);
        self.written.shrink_to_fit();
        // A number that is held, by this cell too, is none behind the end.
        self.known.truncate(end);
        self.known.shrink_to_fit();
    }

    /// Whether the instance has grown so much that it may be worth making it anew.
    pub(super) fn has_grown(&self, growth: Growth) -> bool {
        growth.has(self.lean_bytes, self.memory_bytes())
    }

    /// Remembers how large the instance is that holds nothing superfluous.
    pub(super) fn note_lean(&mut self) {
        self.lean_bytes = self.memory_bytes();
    }

    /// Counts tokens as changed.
    pub(super) fn touch(&mut self, numbers: &[u32], tokens: &mut Tokens) {
        let touched = self.instance.as_mut().map_or(Ok(()), |instance| instance.touch(Some(numbers)));
        if let Err(error) = touched {
            self.fail(error, tokens);
        }
    }

    /// Has the instance forget tokens; those that no cell knows any more are left in `gone`.
    fn evict(&mut self, numbers: &[u32], until_saved: bool, tokens: &mut Tokens, gone: &mut Vec<Arc<str>>) {
        let own: Vec<u32> = numbers.iter().copied().filter(|&number| self.knows(number)).collect();
        let forgotten = self.instance.as_mut().map_or(Ok(()), |instance| instance.forget(&own));
        if let Err(error) = forgotten {
            return self.fail(error, tokens);
        }
        gone.extend(own.iter().filter_map(|&number| self.forgotten(number, until_saved, tokens)));
        if !until_saved {
            self.trim(u64::MAX, tokens);
        }
    }

    /// The tokens that are stale, and those whose keys have lived for half of their time.
    fn overdue(&self, look: &Look, tokens: &Tokens, ttl_ms: Option<u64>, now: Now) -> (Vec<u32>, Vec<u32>) {
        let (mut stale, mut expiring) = (Vec::new(), Vec::new());
        let Some(clock_ms) = self.clock.now_ms() else {
            return (stale, expiring);
        };
        let settings = &self.running.settings;
        let horizon_ms = i64::try_from(settings.horizon_ms + settings.step_ms).unwrap_or(i64::MAX);
        for (number, written) in (0..).zip(&self.written) {
            let Some(token) = tokens.get(number).filter(|_| written.at_s > 0 && self.knows(number)) else {
                continue;
            };
            let age_ms = (now.monotonic_ms + 1_000).saturating_sub(u64::from(written.at_s) * 1_000);
            let traded_since = token.last_trade_ms > (i64::from(written.clock_s) + 1) * 1_000;
            let should_be_gone = clock_ms.saturating_sub(token.last_trade_ms) >= horizon_ms;
            if age_ms >= look.stale_after_ms && (traded_since || should_be_gone) {
                stale.push(number);
            } else if ttl_ms.is_some_and(|ttl_ms| age_ms >= ttl_ms / 2) {
                expiring.push(number);
            }
        }
        (stale, expiring)
    }
}

impl Shard {
    /// Gives memory back that was kept for more tokens than there are.
    pub(super) fn compact(&mut self) {
        self.tokens.compact();
        self.cells.iter_mut().for_each(|cell| cell.compact(self.tokens.end()));
    }

    /// Touches what is overdue, and picks tokens whose results are compared with the next flush.
    pub(super) fn look(&mut self, look: &Look, shared: &Shared, now: Now) -> Looked {
        let mut looked = Looked::default();
        for cell in self.cells.iter_mut().filter(|cell| cell.sight == Sight::Visible) {
            let ttl_ms = ttl_ms(&cell.running, &shared.rules);
            let (stale, expiring) = cell.overdue(look, &self.tokens, ttl_ms, now);
            for numbers in [&stale, &expiring] {
                if !numbers.is_empty() {
                    cell.touch(numbers, &mut self.tokens);
                }
            }
            looked.stale += stale.len();
            looked.renewed += expiring.len();
        }
        // Each round goes on where the last one ended, so that every token has its turn.
        let behind = self.tokens.numbered_from(self.compared_to);
        self.sample = behind.take(look.sample).map(|(number, _)| number).collect();
        if self.sample.len() < look.sample {
            let missing = look.sample - self.sample.len();
            let before = self.tokens.numbered_from(0).take_while(|(number, _)| *number < self.compared_to);
            self.sample.extend(before.take(missing).map(|(number, _)| number));
        }
        self.compared_to = self.sample.last().map_or(0, |last| last + 1);
        looked
    }

    /// Those of these tokens that no cell holds, nor will hold when it has read what it lacks.
    pub(super) fn unheld(&self, mut tokens: Vec<String>, now: Now) -> Vec<Arc<str>> {
        let whole = |cell: &Cell| {
            cell.is_active()
                && cell.lag.is_none()
                && cell.sight != Sight::Withheld
                && cell.clock.caught_up(now)
        };
        if !self.cells.iter().filter(|cell| cell.settled).all(whole) {
            return Vec::new();
        }
        tokens.retain(|token| !self.tokens.is_alive(token));
        tokens.into_iter().map(Into::into).collect()
    }

    /// The linear memory of the cells whose rows count.
    pub(super) fn visible_memory_bytes(&self) -> usize {
        let visible = self.cells.iter().filter(|cell| cell.sight != Sight::Hidden);
        visible.map(Cell::memory_bytes).sum()
    }

    /// The last parts of the keys that its cells write.
    pub(super) fn result_keys(&self) -> Vec<Arc<str>> {
        let mut keys: Vec<Arc<str>> = self.cells.iter().map(|cell| Arc::clone(&cell.result_key)).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// Remembers that all tokens lack trades.
    pub(super) fn note_incomplete(&self, evictions: &Evictions) {
        let until_ms = self.complete_again_ms();
        self.tokens.iter().for_each(|token| evictions.note(token.hash(), until_ms(token)));
    }

    /// Until which T a token lacks trades that lacks some now.
    fn complete_again_ms(&self) -> impl Fn(&Token) -> i64 + use<> {
        let horizon_ms = self.horizon.length_ms;
        let clock_ms = self.cells.iter().filter_map(|cell| cell.clock.now_ms()).max();
        move |token| clock_ms.unwrap_or(token.last_trade_ms).saturating_add(horizon_ms)
    }

    /// When each token traded last.
    pub(super) fn ages(&self) -> Vec<i64> {
        self.tokens.iter().map(|token| token.last_trade_ms).collect()
    }

    /// Forgets tokens in every cell; returns those that are gone, whose results are to be removed.
    pub(super) fn evict(&mut self, eviction: &Eviction, shared: &Shared) -> (Evicted, Vec<Arc<str>>) {
        let mut evicted = Evicted::default();
        let mut numbers = Vec::new();
        for (number, token) in self.tokens.numbered_from(0) {
            let tie = token.last_trade_ms == eviction.before_ms && evicted.ties < eviction.ties;
            if token.last_trade_ms >= eviction.before_ms && !tie {
                continue;
            }
            if numbers.len() == EVICTED_AT_ONCE {
                evicted.more = true;
                break;
            }
            evicted.ties += usize::from(tie);
            numbers.push(number);
        }
        let until_ms = self.complete_again_ms();
        for token in numbers.iter().filter_map(|&number| self.tokens.get(number)) {
            shared.evictions.note(token.hash(), until_ms(token));
        }
        evicted.tokens = numbers.len();
        let mut gone = Vec::new();
        for cell in &mut self.cells {
            let kept = cell.keeps_removals(&shared.rules);
            cell.evict(&numbers, kept, &mut self.tokens, &mut gone);
        }
        (evicted, gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_bloated_at_twice_what_it_was_and_never_while_it_is_small() {
        let bloated = |lean: usize, now: usize| Growth::Bloated.has(lean << 20, now << 20);
        assert!(!bloated(1, 15) && bloated(1, 16) && !bloated(20, 39) && bloated(20, 40));
        assert!(Growth::Some.has(8, 10) && !Growth::Some.has(8, 9));
    }
}
