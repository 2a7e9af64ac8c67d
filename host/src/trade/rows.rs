//! The trades of one batch as columns, filled by the decoder and read by the router.
//!
//! Invariant: all filled columns have the same length, and a message is seen either with all its trades or not at
//! all: `push` appends, and only `commit` counts what was appended since the `Mark`, or `undo` takes it back.

use xxhash_rust::xxh3::xxh3_64;

use super::tokens::Tokens;
use super::written::Values;

/// Which of the optional columns are filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Optional {
    /// The wallet's address as text.
    pub wallet: bool,
    /// The hash of the wallet's address.
    pub wallet_hash: bool,
    /// The transaction's hash as text.
    pub tx_hash: bool,
}

impl Optional {
    /// These and others.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self {
            wallet: self.wallet || others.wallet,
            wallet_hash: self.wallet_hash || others.wallet_hash,
            tx_hash: self.tx_hash || others.tx_hash,
        }
    }
}

/// Where a row came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The index of the message in its batch.
    pub record: u32,
    /// The index of the element in its array, 0 for a single object.
    pub element: u32,
}

/// A column of texts, one after the other. A batch holds less than 4 GiB of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    /// The UTF-8 bytes of all texts.
    pub bytes: Vec<u8>,
    /// Where each text ends; it begins where the one before it ended.
    pub ends: Vec<u32>,
}

impl Texts {
    /// Returns the bytes of one text.
    ///
    /// # Panics
    /// Panics when there is no such row.
    #[must_use]
    pub fn get(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.bytes[start..self.ends[row] as usize]
    }

    /// Appends a text.
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.bytes.truncate(self.ends.last().map_or(0, |&end| end as usize));
    }
}

/// The trades of one batch in arrival order; cleared and used again for every batch.
#[derive(Debug, Default, PartialEq)]
pub struct Rows {
    /// The distinct tokens of the batch.
    pub tokens: Tokens,
    /// The token of each row, an index into `tokens`.
    pub token: Vec<u32>,
    /// Event times in unix milliseconds.
    pub times_ms: Vec<i64>,
    /// 0 = sell, 1 = buy.
    pub sides: Vec<u8>,
    /// Amounts of the chain's coin in whole billionths, not negative.
    pub natives: Vec<i64>,
    /// Token amounts, finite and not negative.
    pub amounts: Vec<f64>,
    /// Prices in USD per token, finite and not negative; price x amount is below 1e15.
    pub prices: Vec<f64>,
    /// Wallet addresses; empty unless asked for.
    pub wallets: Texts,
    /// xxh3-64 (seed 0) of the wallet addresses; empty unless asked for.
    pub wallet_hashes: Vec<u64>,
    /// Transaction hashes; empty unless asked for.
    pub tx_hashes: Texts,
    /// Where each row came from.
    pub places: Vec<Place>,
    /// The largest event time of the batch, none while it has no row.
    pub latest_ms: Option<i64>,
}

/// One accepted trade on its way into the columns.
#[derive(Debug)]
pub(super) struct Trade<'a> {
    pub(super) token: &'a [u8],
    pub(super) wallet: &'a [u8],
    pub(super) side: u8,
    pub(super) native: i64,
    pub(super) amount: f64,
    pub(super) price: f64,
    pub(super) time_ms: i64,
    pub(super) tx_hash: &'a [u8],
}

/// How far the columns were filled before a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    rows: usize,
    tokens: usize,
}

impl Rows {
    /// Creates a batch without rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.token.len()
    }

    /// Returns whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.token.is_empty()
    }

    /// A trade as a JSON object of the form that messages have; none where its wallet or its transaction's hash was
    /// not asked for.
    #[must_use]
    pub fn json(&self, row: usize) -> Option<String> {
        if row >= self.len() || self.wallets.ends.len() <= row || self.tx_hashes.ends.len() <= row {
            return None;
        }
        let values = Values {
            token: self.tokens.text(self.token[row]),
            wallet: std::str::from_utf8(self.wallets.get(row)).ok()?,
            side: self.sides[row],
            native: self.natives[row],
            amount: self.amounts[row],
            price: self.prices[row],
            time_ms: self.times_ms[row],
            tx_hash: std::str::from_utf8(self.tx_hashes.get(row)).ok()?,
        };
        values.json()
    }

    /// Removes all rows and tokens and keeps the memory for the next batch.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.token.clear();
        self.times_ms.clear();
        self.sides.clear();
        self.natives.clear();
        self.amounts.clear();
        self.prices.clear();
        self.wallets.clear();
        self.wallet_hashes.clear();
        self.tx_hashes.clear();
        self.places.clear();
        self.latest_ms = None;
    }

    /// Remembers the state before a message.
    pub(super) fn mark(&self) -> Mark {
        Mark { rows: self.len(), tokens: self.tokens.len() }
    }

    /// Appends a trade; nothing, and false, where its token is not UTF-8.
    #[inline]
    pub(super) fn push(&mut self, trade: &Trade<'_>, place: Place, optional: Optional) -> bool {
        let Some(token) = self.tokens.intern(trade.token) else {
            return false;
        };
        self.token.push(token);
        self.times_ms.push(trade.time_ms);
        self.sides.push(trade.side);
        self.natives.push(trade.native);
        self.amounts.push(trade.amount);
        self.prices.push(trade.price);
        if optional.wallet {
            self.wallets.push(trade.wallet);
        }
        if optional.wallet_hash {
            self.wallet_hashes.push(xxh3_64(trade.wallet));
        }
        if optional.tx_hash {
            self.tx_hashes.push(trade.tx_hash);
        }
        self.places.push(place);
        true
    }

    /// Counts the rows appended since the mark: the message stands.
    #[inline]
    pub(super) fn commit(&mut self, mark: Mark) {
        let times_ms = &self.times_ms[mark.rows..];
        for (&token, &time_ms) in self.token[mark.rows..].iter().zip(times_ms) {
            self.tokens.count(token, time_ms);
            self.latest_ms = self.latest_ms.max(Some(time_ms));
        }
    }

    /// Takes back the rows and tokens appended since the mark: the message is not seen.
    pub(super) fn undo(&mut self, mark: Mark) {
        self.tokens.truncate(mark.tokens);
        self.token.truncate(mark.rows);
        self.times_ms.truncate(mark.rows);
        self.sides.truncate(mark.rows);
        self.natives.truncate(mark.rows);
        self.amounts.truncate(mark.rows);
        self.prices.truncate(mark.rows);
        self.wallets.truncate(mark.rows);
        self.wallet_hashes.truncate(mark.rows);
        self.tx_hashes.truncate(mark.rows);
        self.places.truncate(mark.rows);
    }
}
