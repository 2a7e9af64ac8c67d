//! From decoded rows to shares: the trades of a batch sorted by shard and token, ready to be taken.
//!
//! Not for decoding, not for windows. Invariant: within a token, rows keep their arrival order.
//! Sorting costs a few nanoseconds a trade and pays twice: a cell takes slices of columns without
//! another copy, and a plugin meets each token's panes while they are warm.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::batch::{Feed, Mark, Records, SourceMarks};
use super::quarantine::Spot;
use crate::config::Partitioning;
use crate::trade::{Place, Rows, Texts};

/// Who takes what: the number of shards and workers, and how a token finds its shard.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// How trades find their shard.
    pub partitioning: Partitioning,
    /// The number of shards where tokens are hashed.
    pub shards: u32,
    /// The number of workers.
    pub workers: usize,
}

impl Layout {
    /// The shard of a token that came from a partition.
    pub fn shard(&self, hash: u64, partition: i32) -> u32 {
        match self.partitioning {
            Partitioning::Shuffle => (hash % u64::from(self.shards)) as u32,
            Partitioning::ByToken | Partitioning::Repartition => Self::of_partition(partition),
        }
    }

    /// The shard that a partition feeds where it feeds one alone.
    pub fn of_partition(partition: i32) -> u32 {
        partition.unsigned_abs()
    }

    /// Whether a partition feeds a shard.
    pub fn feeds(&self, partition: i32, shard: u32) -> bool {
        self.shuffles() || Self::of_partition(partition) == shard
    }

    /// The shard that a token belongs to, whatever partition it comes from; none where the producer decides.
    pub fn home(&self, hash: u64) -> Option<u32> {
        match self.partitioning {
            Partitioning::Shuffle | Partitioning::Repartition => Some((hash % u64::from(self.shards)) as u32),
            Partitioning::ByToken => None,
        }
    }

    /// Whether a shard is none of this layout, so that no host has it.
    pub fn has_vanished(&self, shard: u32) -> bool {
        self.partitioning != Partitioning::ByToken && shard >= self.shards
    }

    /// The worker that owns a shard.
    pub fn worker(&self, shard: u32) -> usize {
        shard as usize % self.workers
    }

    /// The worker that decodes a partition; its shard's where the two are one.
    pub fn decoder(&self, partition: i32) -> usize {
        partition.unsigned_abs() as usize % self.workers
    }

    /// The only partition that feeds a shard; none where all do.
    pub fn fed_by(&self, shard: u32) -> Option<i32> {
        (!self.shuffles()).then(|| shard.cast_signed())
    }

    /// Whether every partition feeds every shard.
    pub fn shuffles(&self) -> bool {
        self.partitioning == Partitioning::Shuffle
    }
}

/// A token's rows in a routed batch.
#[derive(Debug, Clone)]
pub struct TokenRows {
    /// xxh3-64 of the address.
    pub hash: u64,
    /// Where the address stands in `texts`.
    pub text: Range<u32>,
    /// How many rows, one behind the other.
    pub rows: u32,
    /// The largest event time among them.
    pub newest_ms: i64,
}

/// What one shard takes from a batch.
#[derive(Debug, Clone)]
pub struct Share {
    /// The shard.
    pub shard: u32,
    /// Its part of `tokens`.
    pub tokens: Range<usize>,
    /// Its part of the columns.
    pub rows: Range<usize>,
    /// The smallest event time among its rows.
    pub oldest_ms: i64,
    /// Wallet addresses of its rows, where asked for.
    pub wallets: Texts,
    /// Transaction hashes of its rows, where asked for.
    pub tx_hashes: Texts,
}

/// A batch on its way to the shards, shared by the workers that take parts of it.
pub struct Routed {
    /// The partition's mark with this batch.
    pub mark: Mark,
    /// Which reader has brought it.
    pub feed: Feed,
    /// What it tells of the source, where the feed is repartitioned.
    pub sources: Option<SourceMarks>,
    /// The messages, for what must be quoted from them.
    pub records: Arc<dyn Records>,
    /// What each shard takes, sorted by worker and shard; shards without rows are not named.
    pub shares: Vec<Share>,
    /// The distinct tokens, sorted like the shares.
    pub tokens: Vec<TokenRows>,
    /// Their addresses.
    pub texts: String,
    /// Event times.
    pub times_ms: Vec<i64>,
    /// Sides.
    pub sides: Vec<u8>,
    /// Billionths of the chain's coin.
    pub natives: Vec<i64>,
    /// Token amounts.
    pub amounts: Vec<f64>,
    /// Prices in USD.
    pub prices: Vec<f64>,
    /// Wallet hashes, where asked for.
    pub wallet_hashes: Vec<u64>,
    /// Where each row came from.
    pub places: Vec<Place>,
    /// Whether the batch was decoded, counted and judged before, by a process that ended since.
    pub replayed: bool,
    /// When the batch was taken from its lane, by the monotonic clock.
    pub taken_at: Duration,
    /// Workers that have not finished their part.
    pub remaining: AtomicUsize,
}

impl Routed {
    /// Notes that one worker is through; says whether it was the last.
    pub fn finish(&self) -> bool {
        self.remaining.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The offset of the message that a row was in.
    pub fn offset(&self, row: usize) -> i64 {
        self.records.get(self.places[row].record as usize).offset
    }

    /// Where a row stands in the source.
    pub(super) fn spot(&self, row: usize) -> Spot {
        (self.mark.partition, self.offset(row), self.places[row].element)
    }

    /// The address of a token.
    pub fn text(&self, token: &TokenRows) -> &str {
        &self.texts[token.text.start as usize..token.text.end as usize]
    }
}

/// Sorts the rows of a batch by worker, shard and token.
pub(super) fn route(
    rows: &Rows,
    layout: &Layout,
    (mark, feed): (Mark, Feed),
    records: Arc<dyn Records>,
    replayed: bool,
    taken_at: Duration,
) -> Routed {
    let order = order_tokens(rows, layout, mark.partition);
    let mut routed = Routed {
        mark,
        feed,
        sources: None,
        records,
        shares: Vec::new(),
        tokens: Vec::with_capacity(order.len()),
        texts: String::with_capacity(order.len() * 48),
        times_ms: vec![0; rows.len()],
        sides: vec![0; rows.len()],
        natives: vec![0; rows.len()],
        amounts: vec![0.0; rows.len()],
        prices: vec![0.0; rows.len()],
        wallet_hashes: vec![0; rows.wallet_hashes.len()],
        places: vec![Place { record: 0, element: 0 }; rows.len()],
        replayed,
        taken_at,
        remaining: AtomicUsize::new(if layout.shuffles() { layout.workers } else { 1 }),
    };
    let mut cursors = place_tokens(rows, &order, &mut routed);
    let targets: Vec<u32> = rows
        .token
        .iter()
        .map(|&token| {
            let cursor = &mut cursors[token as usize];
            *cursor += 1;
            *cursor - 1
        })
        .collect();
    scatter(rows, &targets, &mut routed);
    finish_shares(rows, &targets, &mut routed);
    routed
}

/// The batch's tokens, each behind its worker and shard, by which they are sorted.
fn order_tokens(rows: &Rows, layout: &Layout, partition: i32) -> Vec<(usize, u32, u32)> {
    let mut order: Vec<(usize, u32, u32)> = (0..rows.tokens.len() as u32)
        .filter(|&token| rows.tokens.rows(token) > 0)
        .map(|token| (layout.shard(rows.tokens.hash(token), partition), token))
        .map(|(shard, token)| (layout.worker(shard), shard, token))
        .collect();
    order.sort_unstable();
    order
}

/// Lays out tokens and shares; returns where each token's rows begin.
fn place_tokens(rows: &Rows, order: &[(usize, u32, u32)], routed: &mut Routed) -> Vec<u32> {
    let mut cursors = vec![0u32; rows.tokens.len()];
    let mut row = 0;
    for &(_, shard, token) in order {
        if routed.shares.last().is_none_or(|share| share.shard != shard) {
            let at = routed.tokens.len();
            routed.shares.push(Share {
                shard,
                tokens: at..at,
                rows: row as usize..row as usize,
                oldest_ms: i64::MAX,
                wallets: Texts::default(),
                tx_hashes: Texts::default(),
            });
        }
        cursors[token as usize] = row;
        row += rows.tokens.rows(token);
        let start = routed.texts.len() as u32;
        routed.texts.push_str(rows.tokens.text(token));
        routed.tokens.push(TokenRows {
            hash: rows.tokens.hash(token),
            text: start..routed.texts.len() as u32,
            rows: rows.tokens.rows(token),
            newest_ms: rows.tokens.latest_ms(token),
        });
        if let Some(share) = routed.shares.last_mut() {
            share.tokens.end = routed.tokens.len();
            share.rows.end = row as usize;
        }
    }
    cursors
}

/// Moves every column to its sorted place; one column at a time, so that each stays in cache.
fn scatter(rows: &Rows, targets: &[u32], routed: &mut Routed) {
    fn column<T: Copy>(from: &[T], targets: &[u32], to: &mut [T]) {
        for (value, &target) in from.iter().zip(targets) {
            to[target as usize] = *value;
        }
    }
    column(&rows.times_ms, targets, &mut routed.times_ms);
    column(&rows.sides, targets, &mut routed.sides);
    column(&rows.natives, targets, &mut routed.natives);
    column(&rows.amounts, targets, &mut routed.amounts);
    column(&rows.prices, targets, &mut routed.prices);
    column(&rows.wallet_hashes, targets, &mut routed.wallet_hashes);
    column(&rows.places, targets, &mut routed.places);
}

/// Fills in what a share knows of its rows, and its texts where there are any.
fn finish_shares(rows: &Rows, targets: &[u32], routed: &mut Routed) {
    let texts = !rows.wallets.ends.is_empty() || !rows.tx_hashes.ends.is_empty();
    let mut sources = Vec::new();
    if texts {
        sources = vec![0usize; targets.len()];
        for (source, &target) in targets.iter().enumerate() {
            sources[target as usize] = source;
        }
    }
    for share in &mut routed.shares {
        share.oldest_ms = routed.times_ms[share.rows.clone()].iter().copied().min().unwrap_or(i64::MAX);
        if texts {
            share.wallets = gather(&rows.wallets, &sources[share.rows.clone()]);
            share.tx_hashes = gather(&rows.tx_hashes, &sources[share.rows.clone()]);
        }
    }
}

fn gather(texts: &Texts, sources: &[usize]) -> Texts {
    let mut gathered = Texts::default();
    if texts.ends.is_empty() {
        return gathered;
    }
    for &source in sources {
        gathered.push(texts.get(source));
    }
    gathered
}
