//! Which rows of a share one cell takes, and copies of them where it does not take all.
//!
//! Not for judging what is rejected. Invariant: rows keep their order, and every optional column has as
//! many of them as the others, or none.

use super::route::{Routed, Share};
use crate::trade::Texts;

/// The rows of a share as column slices; `numbers` are the shard's token numbers.
#[derive(Debug)]
pub struct Columns<'a> {
    /// The distinct tokens, each with its number of rows.
    pub tokens: &'a [(u32, u32)],
    /// The token of each row.
    pub numbers: &'a [u32],
    /// Event times.
    pub times_ms: &'a [i64],
    /// Sides.
    pub sides: &'a [u8],
    /// Billionths of the chain's coin.
    pub natives: &'a [i64],
    /// Token amounts.
    pub amounts: &'a [f64],
    /// Prices in USD.
    pub prices: &'a [f64],
    /// Wallet addresses.
    pub wallets: &'a Texts,
    /// Wallet hashes.
    pub wallet_hashes: &'a [u64],
    /// Transaction hashes.
    pub tx_hashes: &'a Texts,
}

/// How far back a cell takes the trades of a batch: from an offset on, and from an event time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// What lies before it the cell has taken already.
    pub(super) from: i64,
    /// What is older is too late for the cell.
    pub(super) begins_ms: i64,
}

impl Reach {
    /// Whether the cell takes the partition from the reader that brings the batch.
    pub(super) fn follows(self) -> bool {
        self.from != i64::MAX
    }

    /// Whether the cell takes every row of a share.
    pub(super) fn covers(self, routed: &Routed, share: &Share) -> bool {
        self.from <= routed.mark.first && self.begins_ms <= share.oldest_ms
    }

    /// Whether the cell takes no row of the batch.
    pub(super) fn is_past(self, routed: &Routed) -> bool {
        self.from >= routed.mark.next
    }

    /// Whether the cell takes a row of the batch.
    pub(super) fn takes(self, routed: &Routed, row: usize) -> bool {
        routed.times_ms[row] >= self.begins_ms && self.reads(routed, row)
    }

    /// Whether the cell meets a row for the first time and finds it too late.
    pub(super) fn finds_late(self, routed: &Routed, row: usize) -> bool {
        routed.times_ms[row] < self.begins_ms && self.reads(routed, row)
    }

    /// Whether a row lies behind what the cell has taken.
    fn reads(self, routed: &Routed, row: usize) -> bool {
        self.from <= routed.mark.first || (!self.is_past(routed) && routed.offset(row) >= self.from)
    }
}

/// Copies of the rows of a share that one cell takes.
#[derive(Default)]
pub(super) struct Kept {
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
    /// Where each row stands in the batch.
    pub(super) rows: Vec<usize>,
}

impl Kept {
    /// Copies the rows of a share for which `takes` holds, by the place of their token and their own;
    /// `tokens` are the share's with their numbers.
    pub(super) fn new(
        routed: &Routed,
        share: &Share,
        tokens: &[(u32, u32)],
        takes: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let mut kept = Self::default();
        let mut row = share.rows.start;
        for (token, &(number, rows)) in tokens.iter().enumerate() {
            let before = kept.numbers.len();
            for _ in 0..rows {
                if takes(token, row) {
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

    /// A copy of one of the rows.
    pub(super) fn single(&self, at: usize) -> Self {
        let text = |texts: &Texts| {
            let mut single = Texts::default();
            if !texts.ends.is_empty() {
                single.push(texts.get(at));
            }
            single
        };
        Self {
            tokens: vec![(self.numbers[at], 1)],
            numbers: vec![self.numbers[at]],
            times_ms: vec![self.times_ms[at]],
            sides: vec![self.sides[at]],
            natives: vec![self.natives[at]],
            amounts: vec![self.amounts[at]],
            prices: vec![self.prices[at]],
            wallets: text(&self.wallets),
            wallet_hashes: self.wallet_hashes.get(at).copied().into_iter().collect(),
            tx_hashes: text(&self.tx_hashes),
            rows: vec![self.rows[at]],
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn push(&mut self, routed: &Routed, share: &Share, row: usize) {
        self.rows.push(row);
        self.times_ms.push(routed.times_ms[row]);
        self.sides.push(routed.sides[row]);
        self.natives.push(routed.natives[row]);
        self.amounts.push(routed.amounts[row]);
        self.prices.push(routed.prices[row]);
        self.wallet_hashes.extend(routed.wallet_hashes.get(row));
        if !share.wallets.ends.is_empty() {
            self.wallets.push(share.wallets.get(row - share.rows.start));
        }
        if !share.tx_hashes.ends.is_empty() {
            self.tx_hashes.push(share.tx_hashes.get(row - share.rows.start));
        }
    }

    pub(super) fn columns(&self) -> Columns<'_> {
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
