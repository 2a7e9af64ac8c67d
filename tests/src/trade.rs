//! One trade as a producer of the real feed writes it, and messages made of trades.
//!
//! Values are texts, as on the wire; the oracle reads the same texts. The invariant: nothing is escaped, so values
//! hold no quotes and no backslashes.

use std::fmt::Write as _;

use crate::stream::Message;
use crate::time;

/// A trade.
#[derive(Debug, Clone, PartialEq)]
pub struct Trade {
    /// The token's address.
    pub token: String,
    /// The trader's address.
    pub wallet: String,
    /// Whether the token was bought.
    pub buy: bool,
    /// Decimal amount of the chain's coin.
    pub native: String,
    /// Decimal amount of the token.
    pub amount: String,
    /// Decimal price in USD per token.
    pub price: String,
    /// Event time in unix milliseconds.
    pub time_ms: i64,
    /// The transaction's hash.
    pub tx_hash: String,
}

impl Trade {
    /// A purchase of 10 tokens for 2 coins at a price of 0.5 USD.
    pub fn simple(token: &str, time_ms: i64) -> Self {
        Self {
            token: token.to_owned(),
            wallet: "wallet".to_owned(),
            buy: true,
            native: "2".to_owned(),
            amount: "10".to_owned(),
            price: "0.5".to_owned(),
            time_ms,
            tx_hash: "hash".to_owned(),
        }
    }

    /// The same trade the other way.
    #[must_use]
    pub fn sell(mut self) -> Self {
        self.buy = false;
        self
    }

    /// The same trade for another amount of the chain's coin.
    #[must_use]
    pub fn native(mut self, native: &str) -> Self {
        native.clone_into(&mut self.native);
        self
    }

    /// The same trade at another price.
    #[must_use]
    pub fn price(mut self, price: &str) -> Self {
        price.clone_into(&mut self.price);
        self
    }

    /// Appends the trade as a JSON object.
    pub fn write_json(&self, text: &mut String) {
        let side = if self.buy { "buy" } else { "sell" };
        let time = time::rfc3339(self.time_ms);
        let Self { token, wallet, native, amount, price, tx_hash, .. } = self;
        write!(
            text,
            r#"{{"Token":"{token}","Wallet":"{wallet}","SellBuy":"{side}","NativeAmount":"{native}","TokenAmount":"{amount}","PriceUsd":"{price}","TransTime":"{time}","TxHash":"{tx_hash}"}}"#
        )
        .expect("writing to a String never fails");
    }

    /// The trade as a JSON object.
    pub fn json(&self) -> String {
        let mut text = String::new();
        self.write_json(&mut text);
        text
    }

    /// A message of this trade alone, without a key.
    pub fn message(self, partition: i32) -> Message {
        let payload = self.json().into_bytes();
        Message { partition, key: None, payload, timestamp_ms: Some(self.time_ms), trades: vec![self] }
    }
}
