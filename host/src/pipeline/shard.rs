//! A shard: a fixed part of all tokens with its cells, owned by one worker for good.
//!
//! Not for threads or queues. Invariant: every mark of a partition that feeds the shard reaches all
//! its cells in order, after the trades of its batch.

use std::sync::Arc;

use super::batch::Mark;
use super::cell::{Cell, Columns, Sight};
use super::cell_clock::Now;
use super::route::{Routed, Share};
use super::tokens::Tokens;
use crate::config::ClockMode;
use crate::plugin::PluginError;
use crate::plugin::catalog::Running;
use crate::trade::{Reason, Rejected, Texts};

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
        // The first time that each cell still takes, and the first that any visible one does.
        let mut first_taken_ms = i64::MAX;
        let (mut any_late, mut any_has) = (false, false);
        for cell in &mut self.cells {
            let clock_ms = cell.clock.advance(now);
            let has = cell.has(&routed.mark);
            any_has |= has;
            // What a cell has taken before was judged then.
            let begins = clock_ms.filter(|_| !has).map_or(i64::MIN, |at| self.horizon.begins(at));
            any_late |= share.oldest_ms < begins;
            if cell.sight != Sight::Hidden {
                first_taken_ms = first_taken_ms.min(begins);
            }
        }
        let new_in_period = self.number_tokens(routed, share, period);
        // No number may become another token's while cells come and go over this batch.
        self.hold_share();
        let trades = if any_late || any_has {
            self.take_apart(routed, share, first_taken_ms, rejected)
        } else {
            self.take_whole(routed, share);
            share.rows.len() as u64
        };
        self.release_share();
        Taken { trades, new_in_period }
    }

    /// Hands all rows of a share to every cell.
    fn take_whole(&mut self, routed: &Routed, share: &Share) {
        let columns = Columns {
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
        for cell in &mut self.cells {
            cell.process(&columns, &mut self.tokens);
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

    /// The slow way, when a share has trades that are too late for some cell, or that some cell has
    /// taken before: each cell gets a copy of the rows that it takes, and what no visible cell takes is
    /// rejected. Returns how many were taken.
    fn take_apart(
        &mut self,
        routed: &Routed,
        share: &Share,
        first_taken_ms: i64,
        rejected: &mut Vec<Rejected>,
    ) -> u64 {
        let times_ms = &routed.times_ms[share.rows.clone()];
        for (row, &time_ms) in times_ms.iter().enumerate() {
            if time_ms < first_taken_ms {
                let place = routed.places[share.rows.start + row];
                rejected.push(Rejected {
                    reason: Reason::TooLate,
                    column: None,
                    whole: false,
                    record: place.record,
                    element: place.element,
                });
            }
        }
        for cell in self.cells.iter_mut().filter(|cell| !cell.has(&routed.mark)) {
            let begins = cell.clock.now_ms().map_or(i64::MIN, |clock_ms| self.horizon.begins(clock_ms));
            let kept = Kept::new(routed, share, begins, &self.share_tokens);
            if !kept.numbers.is_empty() {
                cell.process(&kept.columns(), &mut self.tokens);
            }
        }
        times_ms.iter().filter(|&&time_ms| time_ms >= first_taken_ms).count() as u64
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

/// Copies of the rows of a share that one cell takes.
#[derive(Default)]
struct Kept {
    /// For each token with rows: its number, and how many rows are kept.
    tokens: Vec<(u32, u32)>,
    numbers: Vec<u32>,
    times_ms: Vec<i64>,
    sides: Vec<u8>,
    natives: Vec<i64>,
    amounts: Vec<f64>,
    prices: Vec<f64>,
    wallets: Texts,
    wallet_hashes: Vec<u64>,
    tx_hashes: Texts,
}

impl Kept {
    fn new(routed: &Routed, share: &Share, begins: i64, share_tokens: &[(u32, u32)]) -> Self {
        let mut kept = Self::default();
        let mut row = 0;
        for &(number, rows) in share_tokens {
            let before = kept.numbers.len();
            for _ in 0..rows {
                if routed.times_ms[share.rows.start + row] >= begins {
                    kept.numbers.push(number);
                    kept.push(routed, share, row);
                }
                row += 1;
            }
            let of_token = (kept.numbers.len() - before) as u32;
            if of_token > 0 {
                kept.tokens.push((number, of_token));
            }
        }
        kept
    }

    fn push(&mut self, routed: &Routed, share: &Share, row: usize) {
        let at = share.rows.start + row;
        self.times_ms.push(routed.times_ms[at]);
        self.sides.push(routed.sides[at]);
        self.natives.push(routed.natives[at]);
        self.amounts.push(routed.amounts[at]);
        self.prices.push(routed.prices[at]);
        self.wallet_hashes.extend(routed.wallet_hashes.get(at));
        if !share.wallets.ends.is_empty() {
            self.wallets.push(share.wallets.get(row));
        }
        if !share.tx_hashes.ends.is_empty() {
            self.tx_hashes.push(share.tx_hashes.get(row));
        }
    }

    fn columns(&self) -> Columns<'_> {
        Columns {
            tokens: &self.tokens,
            numbers: &self.numbers,
            times_ms: &self.times_ms,
            sides: &self.sides,
            natives: &self.natives,
            amounts: &self.amounts,
            prices: &self.prices,
            wallets: &self.wallets,
            wallet_hashes: &self.wallet_hashes,
            tx_hashes: &self.tx_hashes,
        }
    }
}
