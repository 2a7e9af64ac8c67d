//! Trades as a metric sees them, read from the columns of a batch.
//!
//! Not for parsing messages; the host has judged every value before. The invariant: columns that a
//! plugin did not ask for are empty and read as empty values, never as an error.

use crate::bindings::aggregator::plugin::types::{Batch, TextColumn};

/// Which way a trade went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The token was sold.
    Sell,
    /// The token was bought.
    Buy,
}

/// One trade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trade<'a> {
    /// Event time in unix milliseconds.
    pub time_ms: i64,
    /// Milliseconds since the trade's pane began; the window engine fills it in.
    pub offset_ms: u32,
    /// Which way it went.
    pub side: Side,
    /// Amount of the chain's coin in whole billionths, not negative.
    pub native: i64,
    /// Amount of the token, finite and not negative.
    pub amount: f64,
    /// Price in USD per token, finite and not negative.
    pub price: f64,
    /// The wallet's address, where asked for.
    pub wallet: &'a str,
    /// A 64-bit hash of the wallet's address, where asked for.
    pub wallet_hash: u64,
    /// The transaction's hash, where asked for; not unique.
    pub tx_hash: &'a str,
}

/// Gives the trades of a batch with their token numbers, in order.
pub fn trades(batch: &Batch) -> impl ExactSizeIterator<Item = (u32, Trade<'_>)> {
    let columns = Columns::of(batch);
    (0..columns.tokens.len()).map(move |row| (columns.tokens[row], columns.trade(row)))
}

/// The columns of a batch, cut to equal length so that reading needs one check.
pub(crate) struct Columns<'a> {
    pub(crate) tokens: &'a [u32],
    times_ms: &'a [i64],
    sides: &'a [u8],
    natives: &'a [i64],
    amounts: &'a [f64],
    prices: &'a [f64],
    wallets: Option<&'a TextColumn>,
    wallet_hashes: &'a [u64],
    tx_hashes: Option<&'a TextColumn>,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(batch: &'a Batch) -> Self {
        let rows = [
            batch.tokens.len(),
            batch.times_ms.len(),
            batch.sides.len(),
            batch.natives.len(),
            batch.amounts.len(),
            batch.prices.len(),
        ]
        .into_iter()
        .fold(usize::MAX, usize::min);
        let texts = |column: &'a TextColumn| (!column.ends.is_empty()).then_some(column);
        Self {
            tokens: &batch.tokens[..rows],
            times_ms: &batch.times_ms[..rows],
            sides: &batch.sides[..rows],
            natives: &batch.natives[..rows],
            amounts: &batch.amounts[..rows],
            prices: &batch.prices[..rows],
            wallets: texts(&batch.wallets),
            wallet_hashes: &batch.wallet_hashes,
            tx_hashes: texts(&batch.tx_hashes),
        }
    }

    #[inline]
    pub(crate) fn trade(&self, row: usize) -> Trade<'a> {
        Trade {
            time_ms: self.times_ms[row],
            offset_ms: 0,
            side: if self.sides[row] == 0 { Side::Sell } else { Side::Buy },
            native: self.natives[row],
            amount: self.amounts[row],
            price: self.prices[row],
            wallet: self.wallets.map_or("", |column| text_at(column, row)),
            wallet_hash: self.wallet_hashes.get(row).copied().unwrap_or(0),
            tx_hash: self.tx_hashes.map_or("", |column| text_at(column, row)),
        }
    }
}

/// Gives the text in a row of a text column, empty where there is none.
pub(crate) fn text_at(column: &TextColumn, row: usize) -> &str {
    let begin = match row {
        0 => 0,
        _ => column.ends.get(row - 1).copied().unwrap_or(u32::MAX),
    };
    let end = column.ends.get(row).copied().unwrap_or(0);
    let bytes = column.bytes.get(begin as usize..end as usize);
    bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("")
}

/// Appends a text to a text column.
pub(crate) fn push_text(column: &mut TextColumn, text: &str) {
    column.bytes.extend_from_slice(text.as_bytes());
    column.ends.push(column.bytes.len() as u32);
}

#[cfg(test)]
mod tests {
    use super::{Side, push_text, text_at, trades};
    use crate::contract::{Batch, TextColumn};

    fn texts(texts: &[&str]) -> TextColumn {
        let mut column = TextColumn::default();
        for text in texts {
            push_text(&mut column, text);
        }
        column
    }

    #[test]
    fn columns_become_trades_in_order() {
        let batch = Batch {
            tokens: vec![4, 4],
            times_ms: vec![10, 20],
            sides: vec![0, 1],
            natives: vec![1, 2],
            amounts: vec![0.5, 1.5],
            prices: vec![2.5, 3.5],
            wallets: texts(&["ann", "bob"]),
            wallet_hashes: vec![7, 8],
            ..Batch::default()
        };
        let read: Vec<_> = trades(&batch).collect();
        assert_eq!(read.len(), 2);
        let (token, second) = read[1];
        assert_eq!((token, second.time_ms, second.side), (4, 20, Side::Buy));
        assert_eq!((second.native, second.amount, second.price), (2, 1.5, 3.5));
        assert_eq!((second.wallet, second.wallet_hash), ("bob", 8));
        assert_eq!(second.tx_hash, "");
    }

    #[test]
    fn texts_end_where_they_end() {
        let column = texts(&["", "a", "bc"]);
        assert_eq!([0, 1, 2, 3].map(|row| text_at(&column, row)), ["", "a", "bc", ""]);
    }
}
