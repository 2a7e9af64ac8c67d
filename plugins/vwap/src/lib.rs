//! The volume-weighted average price of each token over sliding windows: the smallest plugin.
//!
//! Not for production figures, which the default plugin has too; it shows that a metric needs no line
//! besides itself and its declaration. The invariant: sums are exact, so windows never drift.

use aggregator_sdk::field::Declared;
use aggregator_sdk::{Fixed, Pane, Row, Trade, export_pane, float};
use serde::{Deserialize, Serialize};

/// What was paid, and for how much.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Vwap {
    usd: Fixed,
    amount: Fixed,
}

impl Pane for Vwap {
    const NAME: &'static str = "vwap";
    const FIELDS: &'static [Declared] = &[float("vwap"), float("volume_usd")];

    fn add(&mut self, trade: &Trade) {
        self.usd += trade.price * trade.amount;
        self.amount += trade.amount;
    }

    fn merge(&mut self, later: &Self) {
        self.usd += later.usd;
        self.amount += later.amount;
    }

    fn write(&self, row: &mut Row) {
        row.float(self.usd.ratio(self.amount));
        row.float(self.usd.to_f64());
    }
}

export_pane!(Vwap);
