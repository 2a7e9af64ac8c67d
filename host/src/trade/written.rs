//! A trade as the JSON object that it could have been decoded from.
//!
//! Not the producer's own text, which may have had further keys and other forms of the same values. Invariant: what is
//! written is decoded into the same values again, to the last bit.

use std::fmt::Write as _;

use crate::clock::rfc3339;

/// A coin in its smallest unit that is counted.
const BILLIONTHS: i64 = 1_000_000_000;

/// The values of one trade.
pub(super) struct Values<'a> {
    pub(super) token: &'a str,
    pub(super) wallet: &'a str,
    pub(super) side: u8,
    pub(super) native: i64,
    pub(super) amount: f64,
    pub(super) price: f64,
    pub(super) time_ms: i64,
    pub(super) tx_hash: &'a str,
}

impl Values<'_> {
    /// The object; none where a text cannot be written, which does not happen.
    pub(super) fn json(&self) -> Option<String> {
        let text = |text: &str| serde_json::to_string(text).ok();
        let mut json = String::new();
        write!(
            json,
            "{{\"Token\":{},\"Wallet\":{},\"SellBuy\":\"{}\",\"NativeAmount\":\"{}.{:09}\",\"TokenAmount\":\"{}\",\
             \"PriceUsd\":\"{}\",\"TransTime\":\"{}\",\"TxHash\":{}}}",
            text(self.token)?,
            text(self.wallet)?,
            if self.side == 1 { "buy" } else { "sell" },
            self.native / BILLIONTHS,
            self.native % BILLIONTHS,
            self.amount,
            self.price,
            rfc3339::text(self.time_ms),
            text(self.tx_hash)?,
        )
        .ok()?;
        Some(json)
    }
}
