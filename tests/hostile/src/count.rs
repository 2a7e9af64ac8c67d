//! What is counted, in two forms of state: the later one reads both.
//!
//! The invariant: a packed pane begins with its form, so that state of an earlier version is migrated
//! where it is read, however late that is.

use aggregator_sdk::field::Declared;
use aggregator_sdk::{Fixed, Pack, Pane, Row, Trade, float, integer, text};

use crate::manifest::Manifest;

/// Trades, their worth, and a text that says how many there were.
#[derive(Clone, Default)]
pub(crate) struct Count {
    trades: u64,
    usd: Fixed,
}

impl Pane for Count {
    const NAME: &'static str = "hostile";
    const FIELDS: &'static [Declared] = &[integer("trades"), float("usd"), text("note")];

    fn add(&mut self, trade: &Trade) {
        self.trades += 1;
        self.usd += trade.price * trade.amount;
    }

    fn merge(&mut self, later: &Self) {
        self.trades += later.trades;
        self.usd += later.usd;
    }

    fn write(&self, row: &mut Row) {
        row.integer(self.trades as i64);
        row.float(self.usd.to_f64());
        row.text(&format!("{} trades", self.trades));
    }
}

impl Pack for Count {
    fn pack(&self, out: &mut Vec<u8>) {
        if Manifest::read().state_version == 1 {
            out.push(1);
            out.extend_from_slice(&(self.trades as u32).to_le_bytes());
        } else {
            out.push(2);
            out.extend_from_slice(&self.trades.to_le_bytes());
        }
        self.usd.pack(out);
    }

    fn unpack(bytes: &mut &[u8]) -> Option<Self> {
        let (form, rest) = bytes.split_first()?;
        let (trades, rest) = match form {
            1 => {
                let (trades, rest) = rest.split_first_chunk()?;
                (u64::from(u32::from_le_bytes(*trades)), rest)
            }
            2 => {
                let (trades, rest) = rest.split_first_chunk()?;
                (u64::from_le_bytes(*trades), rest)
            }
            _ => return None,
        };
        *bytes = rest;
        Some(Self { trades, usd: Fixed::unpack(bytes)? })
    }
}
