//! What the trades of one pane, or of many merged, come to.
//!
//! Not its packed form (see `packed`). The invariant: every sum is an exact integer, so that the order
//! of trades and the way windows are cut never show in a result.

use aggregator_sdk::field::Declared;
use aggregator_sdk::{Fixed, Pane, Row, Side, Trade, clock, decimal, float, integer};

/// Decimal places of the chain's coin.
const NATIVE_SCALE: u32 = 9;

/// The largest change in percent that is told, in either direction.
const MOST_CHANGE: f64 = 1e15;

/// Counts, volumes and prices over a stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candle {
    pub(crate) sells: u32,
    pub(crate) buys: u32,
    /// Native volumes in whole billionths.
    pub(crate) sell_volume: i128,
    pub(crate) buy_volume: i128,
    /// Sum of price x token amount.
    pub(crate) usd: Fixed,
    /// Sum of token amounts.
    pub(crate) amount: Fixed,
    pub(crate) start: f64,
    pub(crate) end: f64,
    pub(crate) high: f64,
    pub(crate) low: f64,
    /// When in its pane the first trade was made; of no meaning once panes were merged.
    pub(crate) start_ms: u32,
    /// When in its pane the last trade was made; of no meaning once panes were merged.
    pub(crate) end_ms: u32,
}

impl Candle {
    fn is_empty(&self) -> bool {
        self.sells == 0 && self.buys == 0
    }

    fn add_price(&mut self, price: f64, offset_ms: u32) {
        if self.is_empty() {
            (self.start, self.end, self.high, self.low) = (price, price, price, price);
            (self.start_ms, self.end_ms) = (offset_ms, offset_ms);
            return;
        }
        // Of equal times the first to arrive is the start and the last the end.
        if offset_ms < self.start_ms {
            (self.start, self.start_ms) = (price, offset_ms);
        }
        if offset_ms >= self.end_ms {
            (self.end, self.end_ms) = (price, offset_ms);
        }
        if price > self.high {
            self.high = price;
        }
        if price < self.low {
            self.low = price;
        }
    }

    /// The change from the first price to the last in percent.
    fn price_change(&self) -> f64 {
        if self.start == 0.0 {
            return 0.0;
        }
        let change = (self.end - self.start) / self.start * 100.0;
        change.clamp(-MOST_CHANGE, MOST_CHANGE)
    }
}

impl Pane for Candle {
    const NAME: &'static str = "sliding-window";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const RESULT_KEY: &'static str = "aggregates";
    const FIELDS: &'static [Declared] = &[
        integer("sell_count"),
        integer("buy_count"),
        decimal("sell_volume", NATIVE_SCALE),
        decimal("buy_volume", NATIVE_SCALE),
        decimal("total_volume", NATIVE_SCALE),
        float("price_change"),
        float("start_price"),
        float("end_price"),
        float("high_price"),
        float("low_price"),
        float("vwap"),
        float("volume_usd"),
        clock("last_update"),
    ];

    fn add(&mut self, trade: &Trade) {
        self.add_price(trade.price, trade.offset_ms);
        let native = i128::from(trade.native);
        match trade.side {
            Side::Sell => {
                self.sells = self.sells.wrapping_add(1);
                self.sell_volume = self.sell_volume.wrapping_add(native);
            }
            Side::Buy => {
                self.buys = self.buys.wrapping_add(1);
                self.buy_volume = self.buy_volume.wrapping_add(native);
            }
        }
        self.usd += trade.price * trade.amount;
        self.amount += trade.amount;
    }

    fn merge(&mut self, later: &Self) {
        if later.is_empty() {
            return;
        }
        if self.is_empty() {
            self.clone_from(later);
            return;
        }
        self.sells = self.sells.wrapping_add(later.sells);
        self.buys = self.buys.wrapping_add(later.buys);
        self.sell_volume = self.sell_volume.wrapping_add(later.sell_volume);
        self.buy_volume = self.buy_volume.wrapping_add(later.buy_volume);
        self.usd += later.usd;
        self.amount += later.amount;
        (self.end, self.end_ms) = (later.end, later.end_ms);
        if later.high > self.high {
            self.high = later.high;
        }
        if later.low < self.low {
            self.low = later.low;
        }
    }

    fn write(&self, row: &mut Row) {
        row.integer(i64::from(self.sells));
        row.integer(i64::from(self.buys));
        row.decimal(self.sell_volume);
        row.decimal(self.buy_volume);
        row.decimal(self.sell_volume.wrapping_add(self.buy_volume));
        row.float(self.price_change());
        row.float(self.start);
        row.float(self.end);
        row.float(self.high);
        row.float(self.low);
        row.float(self.usd.ratio(self.amount));
        row.float(self.usd.to_f64());
    }
}
