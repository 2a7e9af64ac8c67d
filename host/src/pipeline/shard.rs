//! A shard: a fixed part of all tokens with its cells, owned by one worker for good.
//!
//! Not for threads or queues. Invariant: every mark of a partition that feeds the shard reaches all
//! its cells in order, after the trades of its batch.

use std::sync::Arc;

use super::batch::Mark;
use super::cell::{Cell, Columns, Sight};
use super::cell_clock::Now;
use super::kept::{Kept, Reach};
use super::route::{Routed, Share};
use super::tokens::Tokens;
use crate::config::ClockMode;
use crate::plugin::PluginError;
use crate::plugin::catalog::Running;
use crate::trade::{Reason, Rejected};

/// How far back any plugin can still use a trade.
#[derive(Debug, Clone, Copy)]
pub struct Horizon {
    /// The longest horizon of all plugins, in milliseconds.
    pub length_ms: i64,
    /// The steps in which time is counted, in milliseconds.
    pub step_ms: i64,
}

impl Horizon {
    /// The longest horizon among plugins.
    pub fn longest(plugins: &[Running]) -> Self {
        let longest =
            plugins.iter().map(|plugin| &plugin.settings).max_by_key(|settings| settings.horizon_ms);
        Self {
            length_ms: longest.map_or(0, |settings| i64::try_from(settings.horizon_ms).unwrap_or(i64::MAX)),
            step_ms: longest.map_or(1, |settings| i64::try_from(settings.step_ms).unwrap_or(i64::MAX).max(1)),
        }
    }

    /// The first event time that is not too late at clock T.
    fn begins(&self, clock_ms: i64) -> i64 {
        let step = clock_ms.div_euclid(self.step_ms) - self.length_ms / self.step_ms + 1;
        step.saturating_mul(self.step_ms)
    }
}

/// What a shard took of a batch.
#[derive(Debug, Default)]
pub struct Taken {
    /// Trades that at least one visible cell took, now or before the checkpoint that it comes from.
    pub trades: u64,
    /// Tokens among them that traded for the first time in this period of the batch log.
    pub new_in_period: u64,
}

/// One shard.
pub struct Shard {
    /// Its number.
    pub id: u32,
    /// Its tokens.
    pub tokens: Tokens,
    /// One cell for each plugin.
    pub cells: Vec<Cell>,
    horizon: Horizon,
    /// The share's distinct tokens with their rows, and the token of each row; kept for their memory.
    share_tokens: Vec<(u32, u32)>,
    numbers: Vec<u32>,
    /// What each cell takes of the share; kept for its memory.
    reaches: Vec<Reach>,
}

impl Shard {
    /// Makes a shard with empty cells.
    pub fn new(id: u32, plugins: &[Running], clock: ClockMode, sight: Sight) -> Result<Self, PluginError> {
        let cells =
            plugins.iter().map(|running| Cell::new(running, clock, sight)).collect::<Result<_, _>>()?;
        Ok(Self {
            id,
            tokens: Tokens::default(),
            cells,
            horizon: Horizon::longest(plugins),
            share_tokens: Vec::new(),
            numbers: Vec::new(),
            reaches: Vec::new(),
        })
    }

    /// Takes a batch's share, if it has one here, and its mark.
    pub fn take(
        &mut self,
        routed: &Routed,
        share: Option<&Share>,
        now: Now,
        period: u64,
        rejected: &mut Vec<Rejected>,
    ) -> Taken {
        let taken = match share {
            Some(share) => self.take_share(routed, share, now, period, rejected),
            None => Taken::default(),
        };
        self.take_mark(&routed.mark, now);
        taken
    }

    /// Takes a mark without trades.
    pub fn take_mark(&mut self, mark: &Mark, now: Now) {
        for cell in &mut self.cells {
            cell.take_mark(mark, now);
        }
    }

    fn take_share(
        &mut self,
        routed: &Routed,
        share: &Share,
        now: Now,
        period: u64,
        rejected: &mut Vec<Rejected>,
    ) -> Taken {
        let horizon = self.horizon;
        let reach = |cell: &mut Cell| {
            let clock_ms = cell.clock.advance(now);
            let begins_ms = clock_ms.map_or(i64::MIN, |clock_ms| horizon.begins(clock_ms));
            Reach { from: cell.takes_from(&routed.mark), begins_ms }
        };
        self.reaches.clear();
        self.reaches.extend(self.cells.iter_mut().map(reach));
        let new_in_period = self.number_tokens(routed, share, period);
        // No number may become another token's while cells come and go over this batch.
        self.hold_share();
        self.process(routed, share);
        self.release_share();
        let late = self.reject_late(routed, share, rejected);
        Taken { trades: share.rows.len() as u64 - late, new_in_period }
    }

    /// Hands every cell what it takes of a share.
    fn process(&mut self, routed: &Routed, share: &Share) {
        let whole = Columns {
            tokens: &self.share_tokens,
            numbers: &self.numbers,
            times_ms: &routed.times_ms[share.rows.clone()],
            sides: &routed.sides[share.rows.clone()],
            natives: &routed.natives[share.rows.clone()],
            amounts: &routed.amounts[share.rows.clone()],
            prices: &routed.prices[share.rows.clone()],
            wallets: &share.wallets,
            wallet_hashes: routed.wallet_hashes.get(share.rows.clone()).unwrap_or_default(),
            tx_hashes: &share.tx_hashes,
        };
        for (cell, reach) in self.cells.iter_mut().zip(&self.reaches) {
            if reach.covers(routed, share) {
                cell.process(&whole, &mut self.tokens);
            } else if !reach.is_past(routed) {
                let kept = Kept::within(*reach, routed, share, &self.share_tokens);
                if !kept.is_empty() {
                    cell.process(&kept.columns(), &mut self.tokens);
                }
            }
        }
    }

    /// Numbers the tokens of a share and its rows; returns how many are new in this period.
    fn number_tokens(&mut self, routed: &Routed, share: &Share, period: u64) -> u64 {
        self.share_tokens.clear();
        self.numbers.clear();
        let mut new_in_period = 0;
        for token in &routed.tokens[share.tokens.clone()] {
            let number = self.tokens.intern(token.hash, routed.text(token));
            new_in_period += u64::from(self.tokens.count(number, token.rows, token.newest_ms, period));
            self.share_tokens.push((number, token.rows));
            self.numbers.resize(self.numbers.len() + token.rows as usize, number);
        }
        new_in_period
    }

    /// Rejects the trades that every cell whose rows count finds too late; returns how many. What a cell
    /// has taken before was judged then.
    fn reject_late(&self, routed: &Routed, share: &Share, rejected: &mut Vec<Rejected>) -> u64 {
        let sighted = self.cells.iter().zip(&self.reaches).filter(|(cell, _)| cell.sight != Sight::Hidden);
        let judges: Vec<Reach> = sighted.map(|(_, reach)| *reach).collect();
        if judges.is_empty()
            || judges.iter().any(|judge| judge.is_past(routed) || judge.begins_ms <= share.oldest_ms)
        {
            return 0;
        }
        let before = rejected.len();
        for row in share.rows.clone() {
            if judges.iter().all(|judge| judge.finds_late(routed, row)) {
                let place = routed.places[row];
                rejected.push(Rejected {
                    reason: Reason::TooLate,
                    column: None,
                    whole: false,
                    record: place.record,
                    element: place.element,
                });
            }
        }
        (rejected.len() - before) as u64
    }

    fn hold_share(&mut self) {
        for &(number, _) in &self.share_tokens {
            self.tokens.hold(number);
        }
    }

    /// Forgets those tokens of the share that no cell has taken.
    fn release_share(&mut self) {
        for &(number, _) in &self.share_tokens {
            self.tokens.release(number);
        }
    }

    /// Tokens whose address left every cell, as far as they have not come back since.
    pub fn still_gone(&self, gone: Vec<Arc<str>>) -> Vec<Arc<str>> {
        gone.into_iter().filter(|text| !self.tokens.is_alive(text)).collect()
    }
}
