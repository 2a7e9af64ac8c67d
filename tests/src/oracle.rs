//! What every value must be, computed slowly and obviously.
//!
//! Keeps all trades and answers by filtering them; native amounts are whole billionths, products and amounts are
//! rounded once to 48 fractional bits, and everything else is f64 at the end. The invariant: no state but the list
//! of trades, so that there is nothing to get wrong over time.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, ensure};

use crate::decimal;
use crate::trade::Trade;

/// 2^48: the weight of the fractional bits.
const FRACTION: f64 = (1_u64 << 48) as f64;
/// The largest change in percent.
const MOST_CHANGE: f64 = 1e15;

/// A window's name and length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Its name in results.
    pub name: String,
    /// Its length in milliseconds.
    pub length_ms: i64,
}

/// Reads a list such as `1min,90s,4h`, for whole numbers only.
///
/// # Errors
/// Fails at a window it does not understand.
pub fn windows(list: &str) -> Result<Vec<Window>> {
    let window = |name: &str| {
        let digits = name.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit_ms = match &name[digits.len()..] {
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" | "hour" => 3_600_000,
            unit => anyhow::bail!("the window {name} has the unknown unit {unit:?}"),
        };
        let number: i64 = digits.parse().with_context(|| format!("the window {name}"))?;
        Ok(Window { name: name.to_owned(), length_ms: number * unit_ms })
    };
    list.split(',').map(window).collect()
}

/// One trade, read.
#[derive(Debug, Clone, Copy)]
struct Entry {
    partition: i32,
    time_ms: i64,
    buy: bool,
    native: i64,
    amount: f64,
    price: f64,
}

/// What one window of one token must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Values {
    /// Trades that sold.
    pub sell_count: u64,
    /// Trades that bought.
    pub buy_count: u64,
    /// Native amount sold, billionths.
    pub sell_volume: i128,
    /// Native amount bought, billionths.
    pub buy_volume: i128,
    /// Prices that may be the first: one for each partition that has a trade of the earliest time.
    pub start_prices: Vec<f64>,
    /// Prices that may be the last.
    pub end_prices: Vec<f64>,
    /// The highest price.
    pub high_price: f64,
    /// The lowest price.
    pub low_price: f64,
    /// Sum of price x amount over sum of amounts.
    pub vwap: f64,
    /// Sum of price x amount.
    pub volume_usd: f64,
}

/// The change in percent from one price to another.
pub fn price_change(start: f64, end: f64) -> f64 {
    if start == 0.0 { 0.0 } else { ((end - start) / start * 100.0).clamp(-MOST_CHANGE, MOST_CHANGE) }
}

/// All trades so far.
#[derive(Debug, Clone)]
pub struct Oracle {
    windows: Vec<Window>,
    resolution_ms: i64,
    trades: HashMap<String, Vec<Entry>>,
    newest_ms: BTreeMap<i32, i64>,
}

impl Oracle {
    /// An oracle for the default resolution of one second.
    ///
    /// # Errors
    /// Fails at a window it does not understand.
    pub fn new(window_list: &str) -> Result<Self> {
        let windows = windows(window_list)?;
        ensure!(!windows.is_empty(), "an oracle without windows");
        Ok(Self { windows, resolution_ms: 1000, trades: HashMap::new(), newest_ms: BTreeMap::new() })
    }

    /// Takes a trade that arrived in a partition.
    ///
    /// # Errors
    /// Fails at a number it cannot read.
    pub fn take(&mut self, partition: i32, trade: &Trade) -> Result<()> {
        let entry = Entry {
            partition,
            time_ms: trade.time_ms,
            buy: trade.buy,
            native: i64::try_from(decimal::billionths(&trade.native)?)?,
            amount: trade.amount.parse()?,
            price: trade.price.parse()?,
        };
        self.trades.entry(trade.token.clone()).or_default().push(entry);
        let newest_ms = self.newest_ms.entry(partition).or_insert(i64::MIN);
        *newest_ms = trade.time_ms.max(*newest_ms);
        Ok(())
    }

    /// Takes all trades of messages.
    ///
    /// # Errors
    /// Fails at a number it cannot read.
    pub fn take_all<'a>(
        &mut self,
        messages: impl IntoIterator<Item = &'a crate::stream::Message>,
    ) -> Result<()> {
        for message in messages {
            for trade in &message.trades {
                self.take(message.partition, trade)?;
            }
        }
        Ok(())
    }

    /// The windows in configured order.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// All tokens that ever traded, in order.
    pub fn tokens(&self) -> Vec<&str> {
        let mut tokens: Vec<&str> = self.trades.keys().map(String::as_str).collect();
        tokens.sort_unstable();
        tokens
    }

    /// How many trades there are.
    pub fn len(&self) -> usize {
        self.trades.values().map(Vec::len).sum()
    }

    /// Whether there is no trade.
    pub fn is_empty(&self) -> bool {
        self.trades.is_empty()
    }

    /// The largest event time.
    pub fn newest_ms(&self) -> i64 {
        self.newest_ms.values().copied().max().unwrap_or(i64::MIN)
    }

    /// The largest event time of the partition in which a token's trades are.
    pub fn newest_of_partition_ms(&self, token: &str) -> i64 {
        let partition = self.trades.get(token).and_then(|trades| trades.first()).map(|entry| entry.partition);
        partition.and_then(|partition| self.newest_ms.get(&partition).copied()).unwrap_or(i64::MIN)
    }

    /// The largest event time of a token.
    pub fn last_trade_ms(&self, token: &str) -> Option<i64> {
        self.trades.get(token)?.iter().map(|entry| entry.time_ms).max()
    }

    /// Whether the longest window of a token holds a trade at this clock.
    pub fn is_live(&self, token: &str, clock_ms: i64) -> bool {
        let longest_ms = self.windows.iter().map(|window| window.length_ms).max().unwrap_or(0);
        !self.held(token, clock_ms, longest_ms).is_empty()
    }

    /// The values of every window of a token at a clock, in configured order.
    pub fn values(&self, token: &str, clock_ms: i64) -> Vec<Values> {
        self.windows.iter().map(|window| values(&self.held(token, clock_ms, window.length_ms))).collect()
    }

    /// The trades that a window holds, in arrival order.
    fn held(&self, token: &str, clock_ms: i64, length_ms: i64) -> Vec<Entry> {
        let floor = |time_ms: i64| time_ms.div_euclid(self.resolution_ms) * self.resolution_ms;
        let holds = |entry: &&Entry| floor(entry.time_ms) > floor(clock_ms) - length_ms;
        self.trades.get(token).into_iter().flatten().filter(holds).copied().collect()
    }
}

fn values(held: &[Entry]) -> Values {
    if held.is_empty() {
        return Values { start_prices: vec![0.0], end_prices: vec![0.0], ..Values::default() };
    }
    let side = |buy: bool| held.iter().filter(move |entry| entry.buy == buy);
    let volume = |buy: bool| side(buy).map(|entry| i128::from(entry.native)).sum();
    let usd: i128 = held.iter().map(|entry| fixed(entry.price * entry.amount)).sum();
    let amount: i128 = held.iter().map(|entry| fixed(entry.amount)).sum();
    let prices = || held.iter().map(|entry| entry.price);
    Values {
        sell_count: side(false).count() as u64,
        buy_count: side(true).count() as u64,
        sell_volume: volume(false),
        buy_volume: volume(true),
        start_prices: firsts(held.iter()),
        end_prices: firsts(held.iter().rev().map(reversed).collect::<Vec<_>>().iter()),
        high_price: prices().fold(f64::MIN, f64::max),
        low_price: prices().fold(f64::MAX, f64::min),
        vwap: if amount == 0 { 0.0 } else { usd as f64 / amount as f64 },
        volume_usd: usd as f64 / FRACTION,
    }
}

/// Rounds once, half to even, to 48 fractional bits. Scaling by a power of two is exact.
fn fixed(value: f64) -> i128 {
    (value * FRACTION).round_ties_even() as i128
}

/// The same trade with time running backwards, so that the last becomes the first.
fn reversed(entry: &Entry) -> Entry {
    Entry { time_ms: -entry.time_ms, ..*entry }
}

/// Of the trades with the earliest time, the first of each partition: partitions have no order among them.
fn firsts<'a>(entries: impl Iterator<Item = &'a Entry> + Clone) -> Vec<f64> {
    let earliest_ms = entries.clone().map(|entry| entry.time_ms).min();
    let mut by_partition = BTreeMap::new();
    for entry in entries.filter(|entry| Some(entry.time_ms) == earliest_ms) {
        by_partition.entry(entry.partition).or_insert(entry.price);
    }
    by_partition.into_values().collect()
}
