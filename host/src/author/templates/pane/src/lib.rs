//! {{name}}: a metric over sliding windows. This one counts large trades and keeps the largest; change it.

use aggregator_sdk::field::Declared;
use aggregator_sdk::{Pane, Row, Trade, export_pane, float, integer};
use serde::{Deserialize, Serialize};

/// What the trades of a stretch of time come to.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct {{type}} {
    trades: i64,
    largest_usd: f64,
}

impl Pane for {{type}} {
    const NAME: &'static str = "{{name}}";
    const FIELDS: &'static [Declared] = &[integer("trades"), float("largest_usd")];

    /// One more trade; trades come in any order of time.
    fn add(&mut self, trade: &Trade) {
        let usd = trade.price * trade.amount;
        self.trades += i64::from(usd >= 1_000.0);
        self.largest_usd = self.largest_usd.max(usd);
    }

    /// A later stretch joins this one.
    fn merge(&mut self, later: &Self) {
        self.trades += later.trades;
        self.largest_usd = self.largest_usd.max(later.largest_usd);
    }

    /// The values of one window, in the order of FIELDS.
    fn write(&self, row: &mut Row) {
        row.integer(self.trades);
        row.float(self.largest_usd);
    }
}

export_pane!({{type}});
