//! Trades as MessagePack columns: how they travel from the host that has decoded them to the one that counts them.
//!
//! Not here: marks, and where a parcel goes. All eight fields travel, whatever the plugins of today ask for: a plugin
//! that is added later reads the same records again.
//!
//! Invariant: what is unpacked keeps every limit of decoding, whoever wrote the bytes.

use serde::{Deserialize, Serialize};

use super::fallback::{MAX_ADDRESS_LEN, MAX_TX_HASH_LEN, is_volume_out_of_range};
use super::rows::{Optional, Place, Rows, Trade};
use super::written::Values;
use crate::clock::rfc3339;

/// Native amounts in billionths from here on are out of range.
const NATIVE_LIMIT: i64 = 9_200_000_000_000_000_000;
/// Token amounts may be up to this: what is less as a decimal may be rounded to it.
const MOST_AMOUNT: f64 = 1e18;
/// Prices likewise.
const MOST_PRICE: f64 = 1e15;
/// Times of the years 0 to 9999, in whatever zone they were written.
const TIMES_MS: std::ops::RangeInclusive<i64> = rfc3339::EARLIEST_MS - DAY_MS..=rfc3339::LATEST_MS + DAY_MS;
const DAY_MS: i64 = 86_400_000;

/// Texts, one after the other, with the length of each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct PackedTexts {
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    lengths: Vec<u16>,
}

impl PackedTexts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        // No text is longer than a transaction's hash may be.
        self.lengths.push(text.len() as u16);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
    }

    fn len(&self) -> usize {
        self.lengths.len()
    }

    fn get(&self, index: usize) -> Option<&str> {
        let length = usize::from(*self.lengths.get(index)?);
        let start = self.lengths[..index].iter().map(|&length| usize::from(length)).sum::<usize>();
        std::str::from_utf8(self.bytes.get(start..start + length)?).ok()
    }

    /// The texts in their order, when they fit the bytes exactly and keep the limit.
    fn split(&self, max_len: usize) -> Option<Vec<&[u8]>> {
        let mut rest = &self.bytes[..];
        let mut texts = Vec::with_capacity(self.lengths.len());
        for &length in &self.lengths {
            let length = usize::from(length);
            if length == 0 || length > max_len {
                return None;
            }
            let (text, after) = rest.split_at_checked(length)?;
            std::str::from_utf8(text).ok()?;
            texts.push(text);
            rest = after;
        }
        rest.is_empty().then_some(texts)
    }
}

/// Accepted trades of one batch, in their order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Packed {
    /// The distinct tokens.
    addresses: PackedTexts,
    /// The token of each trade, an index into `addresses`.
    tokens: Vec<u32>,
    times_ms: Vec<i64>,
    #[serde(with = "serde_bytes")]
    sides: Vec<u8>,
    natives: Vec<i64>,
    amounts: Vec<f64>,
    prices: Vec<f64>,
    wallets: PackedTexts,
    tx_hashes: PackedTexts,
    /// The offset of the message that each trade came in.
    offsets: Vec<i64>,
    /// Its index in that message.
    elements: Vec<u32>,
}

/// Columns that are no trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// Their lengths differ, or a text, an index or a side is none.
    #[error("columns of trades do not fit each other")]
    Columns,
    /// A number or a time is beyond what decoding lets pass.
    #[error("a trade of the columns is out of range")]
    OutOfRange,
}

impl Packed {
    /// How many trades there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// About how many bytes the columns take.
    #[must_use]
    pub fn weight(&self) -> usize {
        /// The numbers of a trade at their longest.
        const ROW_BYTES: usize = 60;
        let texts = self.addresses.bytes.len() + self.wallets.bytes.len() + self.tx_hashes.bytes.len();
        texts + self.len() * ROW_BYTES
    }

    /// Removes all trades and keeps the memory for the next ones.
    pub(super) fn clear(&mut self) {
        let Self {
            addresses,
            tokens,
            times_ms,
            sides,
            natives,
            amounts,
            prices,
            wallets,
            tx_hashes,
            offsets,
            elements,
        } = self;
        [addresses, wallets, tx_hashes].into_iter().for_each(PackedTexts::clear);
        [amounts, prices].into_iter().for_each(Vec::clear);
        [times_ms, natives, offsets].into_iter().for_each(Vec::clear);
        [tokens, elements].into_iter().for_each(Vec::clear);
        sides.clear();
    }

    /// Adds the address of a token and returns its index.
    pub(super) fn introduce(&mut self, address: &str) -> u32 {
        self.addresses.push(address.as_bytes());
        self.addresses.len() as u32 - 1
    }

    /// Appends a row, which has its wallet and its transaction's hash, under the index of its token.
    pub(super) fn push(&mut self, rows: &Rows, row: usize, token: u32, offset: i64) {
        self.tokens.push(token);
        self.times_ms.push(rows.times_ms[row]);
        self.sides.push(rows.sides[row]);
        self.natives.push(rows.natives[row]);
        self.amounts.push(rows.amounts[row]);
        self.prices.push(rows.prices[row]);
        self.wallets.push(rows.wallets.get(row));
        self.tx_hashes.push(rows.tx_hashes.get(row));
        self.offsets.push(offset);
        self.elements.push(rows.places[row].element);
    }

    /// Appends all trades to a batch, as of the message `record`, each under its index here; or none of them.
    ///
    /// # Errors
    /// Fails where the columns do not fit each other, or hold what decoding would have rejected.
    pub fn unpack(&self, record: u32, optional: Optional, rows: &mut Rows) -> Result<(), PackedError> {
        let addresses = self.addresses.split(MAX_ADDRESS_LEN).ok_or(PackedError::Columns)?;
        let wallets = self.wallets.split(MAX_ADDRESS_LEN).ok_or(PackedError::Columns)?;
        let tx_hashes = self.tx_hashes.split(MAX_TX_HASH_LEN).ok_or(PackedError::Columns)?;
        self.check(addresses.len())?;
        let mark = rows.mark();
        for row in 0..self.len() {
            let trade = Trade {
                token: addresses[self.tokens[row] as usize],
                wallet: wallets[row],
                side: self.sides[row],
                native: self.natives[row],
                amount: self.amounts[row],
                price: self.prices[row],
                time_ms: self.times_ms[row],
                tx_hash: tx_hashes[row],
            };
            if !rows.push(&trade, Place { record, element: row as u32 }, optional) {
                rows.undo(mark);
                return Err(PackedError::Columns);
            }
        }
        rows.commit(mark);
        Ok(())
    }

    fn check(&self, addresses: usize) -> Result<(), PackedError> {
        let lengths = [
            self.times_ms.len(),
            self.sides.len(),
            self.natives.len(),
            self.amounts.len(),
            self.prices.len(),
            self.wallets.len(),
            self.tx_hashes.len(),
            self.offsets.len(),
            self.elements.len(),
        ];
        let fits = lengths.iter().all(|&length| length == self.len())
            && self.tokens.iter().all(|&token| (token as usize) < addresses)
            && self.sides.iter().all(|&side| side <= 1);
        if !fits {
            return Err(PackedError::Columns);
        }
        let mut volumes = self.prices.iter().zip(&self.amounts);
        let in_range = self.times_ms.iter().all(|time_ms| TIMES_MS.contains(time_ms))
            && self.natives.iter().all(|native| (0..NATIVE_LIMIT).contains(native))
            && self.amounts.iter().all(|amount| (0.0..=MOST_AMOUNT).contains(amount))
            && self.prices.iter().all(|price| (0.0..=MOST_PRICE).contains(price))
            && volumes.all(|(&price, &amount)| !is_volume_out_of_range(price, amount));
        if in_range { Ok(()) } else { Err(PackedError::OutOfRange) }
    }

    /// Where a trade came from: the offset of its message, and its index there.
    #[must_use]
    pub fn origin(&self, row: usize) -> Option<(i64, u32)> {
        Some((*self.offsets.get(row)?, *self.elements.get(row)?))
    }

    /// A trade as the JSON object that it was decoded from, as far as its values say it.
    #[must_use]
    pub fn json(&self, row: usize) -> Option<String> {
        let values = Values {
            token: self.addresses.get(*self.tokens.get(row)? as usize)?,
            wallet: self.wallets.get(row)?,
            side: *self.sides.get(row)?,
            native: *self.natives.get(row)?,
            amount: *self.amounts.get(row)?,
            price: *self.prices.get(row)?,
            time_ms: *self.times_ms.get(row)?,
            tx_hash: self.tx_hashes.get(row)?,
        };
        values.json()
    }
}
