//! Trades for `aggregator demo`: believable ones, in the wire format of the real feed.
//!
//! A few dozen tokens trade as real ones do: few of them most of the time, prices on random walks
//! around the levels of meme coins, amounts that fit the price. Not for benchmarks. Invariant: one
//! seed gives the same messages at the same times, and nothing here reads a clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::clock::rfc3339;

/// The topic of the demo.
pub const TOPIC: &str = "trade-info";
/// Its partitions.
pub const PARTITIONS: i32 = 4;

/// How many tokens trade.
const TOKENS: u64 = 60;
/// How many of them have the same address whatever the seed, so that they can be looked up again.
const FIXED: u64 = 8;
/// How many wallets trade.
const WALLETS: u64 = 500;
/// USD for one of the chain's coins.
const NATIVE_USD: f64 = 150.0;
/// The most trades of a message.
const MOST_TRADES: u64 = 24;
/// The past that is there from the beginning: one message a second, so that windows of all lengths
/// differ at once.
const BACKLOG_S: i64 = 600;
/// The pause between two live messages; with 8.5 trades in one on average it makes 200 trades/s.
const PAUSE: Duration = Duration::from_micros(42_500);

/// Sends the past at once, then live trades until `stop`.
pub fn run(send: impl Fn(&[u8]), now_ms: impl Fn() -> i64, stop: &AtomicBool) {
    let began_ms = now_ms();
    let mut generator = Generator::new(began_ms.unsigned_abs());
    for before_s in (1..=BACKLOG_S).rev() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        send(&generator.next_message(began_ms - before_s * 1_000));
    }
    while !stop.load(Ordering::Relaxed) {
        send(&generator.next_message(now_ms()));
        std::thread::sleep(PAUSE);
    }
}

/// Makes trades.
#[derive(Debug)]
pub struct Generator {
    random: SplitMix64,
    markets: Vec<Market>,
    /// The sums of the markets' shares of all trades, rising.
    shares: Vec<f64>,
    wallets: Vec<String>,
    /// The last transaction and its wallet: one may hold several trades.
    last: (String, String),
}

/// One token and where its price is.
#[derive(Debug)]
struct Market {
    token: String,
    /// Natural logarithms of USD: where the price is drawn to, and where it is.
    level: f64,
    price: f64,
    /// How much more is bought than sold, -1 to 1; drifts.
    mood: f64,
}

/// A trade as the feed writes it: every value is text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Trade<'a> {
    token: &'a str,
    wallet: &'a str,
    sell_buy: &'static str,
    native_amount: String,
    token_amount: String,
    price_usd: String,
    trans_time: &'a str,
    tx_hash: &'a str,
}

impl Generator {
    /// Opens the markets.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = SplitMix64(seed);
        let mut fixed = SplitMix64(0);
        let markets = (0..TOKENS).map(|index| {
            let names = if index < FIXED { &mut fixed } else { &mut random };
            let token = names.base58(44);
            // From a billionth of a dollar to one, every power of ten as often.
            let level = (random.unit() * -9.0) * std::f64::consts::LN_10;
            Market { token, level, price: level, mood: 0.0 }
        });
        let markets = markets.collect();
        let wallets = (0..WALLETS).map(|_| random.base58(44)).collect();
        let mut sum = 0.0;
        let shares = (0..TOKENS).map(|index| {
            sum += 1.0 / (index as f64 + 1.0);
            sum
        });
        Self {
            shares: shares.collect(),
            markets,
            wallets,
            last: (random.base58(88), random.base58(44)),
            random,
        }
    }

    /// The next message: an array of 1 to 24 trades of this second, mostly of few.
    pub fn next_message(&mut self, now_ms: i64) -> Vec<u8> {
        let (one, other) = (self.random.below(MOST_TRADES), self.random.below(MOST_TRADES));
        // Block times are whole seconds.
        let time = format!("{}Z", &rfc3339::text(now_ms)[..19]);
        let mut message = vec![b'['];
        for index in 0..=one.min(other) {
            if index > 0 {
                message.push(b',');
            }
            self.trade(&time, &mut message);
        }
        message.push(b']');
        message
    }

    fn trade(&mut self, time: &str, out: &mut Vec<u8>) {
        let random = &mut self.random;
        let picked = random.unit() * self.shares.last().copied().unwrap_or_default();
        let index = self.shares.partition_point(|sum| *sum <= picked);
        let market = &mut self.markets[index.min(TOKENS as usize - 1)];
        if random.below(10) > 0 {
            let wallet = random.below(WALLETS) as usize;
            self.last = (random.base58(88), self.wallets[wallet].clone());
        }
        // A third of a coin is usual, a hundred are rare.
        let native = (random.normal() * 1.3 - 1.1).exp().clamp(0.001, 250.0);
        let buys = market.trade(native, random);
        let price = market.price.exp();
        let trade = Trade {
            token: &market.token,
            wallet: &self.last.1,
            sell_buy: if buys { "buy" } else { "sell" },
            native_amount: format!("{native:.9}"),
            token_amount: format!("{:.6}", native * NATIVE_USD / price),
            price_usd: significant(price),
            trans_time: time,
            tx_hash: &self.last.0,
        };
        // A struct of texts is always JSON, and a vector takes everything.
        drop(serde_json::to_writer(out, &trade));
    }
}

impl Market {
    /// Moves the price by one trade of this size; says whether it is a buy.
    fn trade(&mut self, native: f64, random: &mut SplitMix64) -> bool {
        self.mood = (self.mood * 0.995 + random.normal() * 0.03).clamp(-0.6, 0.6);
        let buys = random.unit() < 0.5 + self.mood / 2.0;
        let pushed = 0.0006 * native.sqrt().min(8.0);
        let drawn = (self.level - self.price) * 0.0004;
        self.price += random.normal() * 0.0015 + drawn + if buys { pushed } else { -pushed };
        // Far below and above any meme coin; a walk of days stays in what the service takes.
        self.price = self.price.clamp(-24.0, 4.0);
        buys
    }
}

/// A price with ten significant digits and no exponent.
fn significant(price: f64) -> String {
    let places = (9.0 - price.log10().floor()).clamp(0.0, 24.0);
    format!("{price:.*}", places as usize)
}

/// The generator of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A whole number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number of about normal distribution, mean 0, deviation 1: twelve uniform ones added.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// Characters of an address or a transaction's hash.
    fn base58(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
        (0..length).map(|_| char::from(ALPHABET[self.below(58) as usize])).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const NOW_MS: i64 = 1_772_366_410_987;

    type Fields = BTreeMap<String, String>;

    fn decoded(message: &[u8]) -> Vec<Fields> {
        serde_json::from_slice(message).unwrap()
    }

    #[test]
    fn messages_are_arrays_of_trades_with_eight_texts() {
        let keys =
            ["NativeAmount", "PriceUsd", "SellBuy", "Token", "TokenAmount", "TransTime", "TxHash", "Wallet"];
        let mut generator = Generator::new(7);
        let mut tokens = BTreeSet::new();
        for _ in 0..2_000 {
            let trades = decoded(&generator.next_message(NOW_MS));
            assert!((1..=24).contains(&trades.len()));
            for trade in trades {
                assert!(trade.keys().eq(keys));
                assert!(["buy", "sell"].contains(&trade["SellBuy"].as_str()));
                assert_eq!(trade["TransTime"], "2026-03-01T12:00:10Z");
                assert_eq!(trade["Token"].len(), 44);
                assert_eq!(trade["Wallet"].len(), 44);
                assert_eq!(trade["TxHash"].len(), 88);
                tokens.insert(trade["Token"].clone());
            }
        }
        assert_eq!(tokens.len(), 60);
    }

    #[test]
    fn prices_are_positive_and_amounts_fit_them() {
        let mut generator = Generator::new(11);
        for _ in 0..5_000 {
            for trade in decoded(&generator.next_message(NOW_MS)) {
                let number = |key: &str| trade[key].parse::<f64>().unwrap();
                let (price, native) = (number("PriceUsd"), number("NativeAmount"));
                assert!((1e-11..100.0).contains(&price), "{price}");
                assert!((0.001..=250.0).contains(&native), "{native}");
                let usd = number("TokenAmount") * price;
                let off = (usd / (native * NATIVE_USD) - 1.0).abs();
                assert!(off < 1e-3, "{usd} for {native}");
                assert!(!trade["PriceUsd"].contains('e'));
            }
        }
    }

    #[test]
    fn one_seed_gives_the_same_messages() {
        let messages = |seed| {
            let mut generator = Generator::new(seed);
            (0..50).map(|index| generator.next_message(NOW_MS + index * 50)).collect::<Vec<_>>()
        };
        assert_eq!(messages(3), messages(3));
        assert_ne!(messages(3), messages(4));
    }

    #[test]
    fn the_busiest_tokens_are_the_same_whatever_the_seed() {
        let busiest = |seed| -> Vec<String> {
            let generator = Generator::new(seed);
            let fixed = generator.markets.iter().take(FIXED as usize);
            fixed.map(|market| market.token.clone()).collect()
        };
        assert_eq!(busiest(1), busiest(2));
    }

    #[test]
    fn a_run_begins_with_ten_minutes_of_the_past_within_three_megabytes() {
        let sent = RefCell::new(Vec::<Vec<u8>>::new());
        let stop = AtomicBool::new(false);
        let asked = Cell::new(0);
        let now_ms = || {
            // Asked once for the beginning, then for each live message; the second one ends it.
            asked.set(asked.get() + 1);
            stop.store(asked.get() == 3, Ordering::Relaxed);
            NOW_MS
        };
        run(|message| sent.borrow_mut().push(message.to_vec()), now_ms, &stop);
        let sent = sent.into_inner();
        assert_eq!(sent.len(), 602);
        assert!(sent.iter().map(Vec::len).sum::<usize>() < 3_000_000);
        assert_eq!(decoded(&sent[0])[0]["TransTime"], "2026-03-01T11:50:10Z");
        assert_eq!(decoded(&sent[601])[0]["TransTime"], "2026-03-01T12:00:10Z");
    }
}
