//! How wildly each token's price moves over sliding windows: realized volatility, the deepest fall, the highest rise,
//! and how far the price is below the window's high.
//!
//! All of them are about closes: the last price of each step of the clock (a second, unless configured otherwise), by
//! event time, so that the jitter between trades of one block is no move. A price of 0 is none. The invariant: two
//! stretches of time come to what one stretch of both comes to, so windows may be cut anywhere.

use aggregator_sdk::field::Declared;
use aggregator_sdk::{Pane, Row, Trade, export_pane, float, integer};
use serde::{Deserialize, Serialize};

const PERCENT: f64 = 100.0;

/// The closes of a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Volatility {
    /// Closes, less the first one: moves from one to the next.
    moves: i64,
    /// The first and the last close; 0 where there is none.
    first: f64,
    last: f64,
    high: f64,
    low: f64,
    /// The sum of squared logarithms of each close over the one before.
    squares: f64,
    /// How much was lost at most, from any close to any later one, as a fraction of the earlier.
    fall: f64,
    /// How much was gained at most, likewise.
    rise: f64,
    /// When in its pane the last trade was made; of no meaning once panes were merged.
    last_ms: u32,
}

impl Volatility {
    fn is_empty(&self) -> bool {
        self.last == 0.0
    }
}

impl Pane for Volatility {
    const NAME: &'static str = "volatility";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const FIELDS: &'static [Declared] =
        &[integer("moves"), float("volatility"), float("max_drawdown"), float("max_rise"), float("off_high")];

    fn add(&mut self, trade: &Trade) {
        // Of equal times the last to arrive is the close.
        let is_close = self.is_empty() || trade.offset_ms >= self.last_ms;
        if trade.price > 0.0 && is_close {
            (self.first, self.last) = (trade.price, trade.price);
            (self.high, self.low) = (trade.price, trade.price);
            self.last_ms = trade.offset_ms;
        }
    }

    fn merge(&mut self, later: &Self) {
        if later.is_empty() {
            return;
        }
        if self.is_empty() {
            self.clone_from(later);
            return;
        }
        let step = (later.first / self.last).ln();
        self.moves += 1 + later.moves;
        self.squares += step * step + later.squares;
        self.fall = self.fall.max(later.fall).max(1.0 - later.low / self.high);
        self.rise = self.rise.max(later.rise).max(later.high / self.low - 1.0);
        self.high = self.high.max(later.high);
        self.low = self.low.min(later.low);
        (self.last, self.last_ms) = (later.last, later.last_ms);
    }

    fn write(&self, row: &mut Row) {
        let off_high = if self.is_empty() { 0.0 } else { 1.0 - self.last / self.high };
        row.integer(self.moves);
        row.float(self.squares.sqrt() * PERCENT);
        row.float(self.fall * PERCENT);
        row.float(self.rise * PERCENT);
        row.float(off_high * PERCENT);
    }
}

export_pane!(Volatility);
