//! Seeded streams of trades that look like the real feed.
//!
//! Tokens are drawn by Zipf's law, prices wander, addresses have 44 characters of base58. A stream is lazy, so that
//! millions of trades need no memory. The invariant: equal options give equal bytes, on every machine.

use std::collections::HashSet;

use crate::random::{Random, Zipf};
use crate::trade::Trade;

/// How trades are put into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Arrays of about twelve trades of mixed tokens, without a key, spread over all partitions.
    Arrays,
    /// One object a message, keyed by its token, which decides the partition.
    Singles,
}

/// What a stream looks like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// How many trades.
    pub trades: usize,
    /// How many tokens.
    pub tokens: usize,
    /// Over how many partitions.
    pub partitions: i32,
    /// How they are put into messages.
    pub shape: Shape,
    /// The event time of the first trade, unix milliseconds.
    pub start_ms: i64,
    /// The event time from the first trade to the last, without silence.
    pub span_ms: i64,
    /// Times are whole seconds, as block times are; otherwise no two trades of a token have the same time.
    pub whole_seconds: bool,
    /// Every trade is made up to so much earlier than its place in the stream says.
    pub disorder_ms: i64,
    /// So many of a thousand trades are late by up to `late_ms`.
    pub late_permille: u64,
    /// How late the late ones are at most.
    pub late_ms: i64,
    /// A silence in the middle of the stream.
    pub silence_ms: i64,
}

impl Options {
    /// A stream in order: 500 tokens, 4 partitions, an hour and a half.
    pub fn new(seed: u64, shape: Shape, trades: usize) -> Self {
        Self {
            seed,
            trades,
            tokens: 500,
            partitions: 4,
            shape,
            start_ms: 1_772_366_400_000,
            span_ms: 5_400_000,
            whole_seconds: false,
            disorder_ms: 0,
            late_permille: 0,
            late_ms: 0,
            silence_ms: 0,
        }
    }

    /// The same stream with disorder, late trades and a silence.
    #[must_use]
    pub fn disturbed(mut self) -> Self {
        self.disorder_ms = 5_000;
        self.late_permille = 20;
        self.late_ms = 2_400_000;
        self.silence_ms = 600_000;
        self
    }
}

/// A Kafka message and the trades it holds.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where it goes.
    pub partition: i32,
    /// Its key.
    pub key: Option<String>,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Its Kafka timestamp; the time of sending where there is none.
    pub timestamp_ms: Option<i64>,
    /// The trades in it that are well-formed.
    pub trades: Vec<Trade>,
}

impl Message {
    /// An array of trades without a key.
    pub fn array(partition: i32, timestamp_ms: Option<i64>, trades: Vec<Trade>) -> Self {
        let payload = array_json(&trades).into_bytes();
        Self { partition, key: None, payload, timestamp_ms, trades }
    }

    /// The same trades, made at another time, for streams that run on the wall clock.
    #[must_use]
    pub fn at(mut self, time_ms: i64) -> Self {
        self.trades.iter_mut().for_each(|trade| trade.time_ms = time_ms);
        self.timestamp_ms = None;
        self.payload = match (&self.key, self.trades.first()) {
            (Some(_), Some(trade)) => trade.json().into_bytes(),
            _ => array_json(&self.trades).into_bytes(),
        };
        self
    }
}

struct Token {
    address: String,
    price: f64,
}

/// The messages of a stream.
pub struct Stream {
    options: Options,
    random: Random,
    zipf: Zipf,
    tokens: Vec<Token>,
    wallets: Vec<String>,
    /// How many trades have been made.
    made: usize,
    /// Times that are taken, by token; only where they must differ.
    taken: HashSet<(usize, i64)>,
}

impl Stream {
    /// Begins a stream.
    pub fn new(options: &Options) -> Self {
        let mut random = Random::new(options.seed);
        let token = |random: &mut Random| {
            let address = base58(random, 44);
            // From meme coins to tokens of a thousand dollars.
            let price = 10_f64.powf(random.unit() * 12.0 - 9.0);
            Token { address, price }
        };
        let tokens = (0..options.tokens).map(|_| token(&mut random)).collect();
        let wallets = (0..2000).map(|_| base58(&mut random, 44)).collect();
        Self {
            options: options.clone(),
            random,
            zipf: Zipf::new(options.tokens),
            tokens,
            wallets,
            made: 0,
            taken: HashSet::new(),
        }
    }

    /// Where in event time the stream stands.
    fn position_ms(&self) -> i64 {
        let options = &self.options;
        let made = self.made as i128 * i128::from(options.span_ms) / options.trades.max(1) as i128;
        let silence_ms = if self.made * 2 > options.trades { options.silence_ms } else { 0 };
        options.start_ms + made as i64 + silence_ms
    }

    fn time_ms(&mut self, token: usize) -> i64 {
        let options = &self.options;
        let mut time_ms = self.position_ms() - self.random.below(options.disorder_ms as u64 + 1) as i64;
        if self.random.permille(options.late_permille) {
            time_ms -= self.random.below(options.late_ms as u64 + 1) as i64;
        }
        if options.whole_seconds {
            return time_ms.div_euclid(1000) * 1000;
        }
        while !self.taken.insert((token, time_ms)) {
            time_ms += 1;
        }
        time_ms
    }

    fn trade(&mut self) -> Trade {
        let index = self.zipf.draw(&mut self.random);
        let time_ms = self.time_ms(index);
        self.made += 1;
        let step = 1.0 + (self.random.unit() - 0.5) * 0.02;
        let token = &mut self.tokens[index];
        token.price = (token.price * step).clamp(1e-10, 1e4);
        let price = token.price;
        let usd = 10_f64.powf(self.random.unit() * 4.0);
        // Some amounts have more places than the chain's coin, and some are nothing at all.
        let places = if self.random.permille(10) { 12 } else { 9 };
        let nothing = self.random.permille(2);
        let native = if nothing { "0".to_owned() } else { format!("{:.places$}", usd / 150.0) };
        let amount = if self.random.permille(2) { "0".to_owned() } else { format!("{:.6}", usd / price) };
        // Seven significant digits, however small the price is.
        let price_places = (6 - price.log10().floor() as i32).max(0) as usize;
        let wallet = self.random.below(self.wallets.len() as u64) as usize;
        Trade {
            token: self.tokens[index].address.clone(),
            wallet: self.wallets[wallet].clone(),
            buy: self.random.permille(550),
            native,
            amount,
            price: format!("{price:.price_places$}"),
            time_ms,
            tx_hash: base58(&mut self.random, 88),
        }
    }

    fn single(&mut self) -> Message {
        let timestamp_ms = Some(self.position_ms());
        let trade = self.trade();
        let partition = partition_of(&trade.token, self.options.partitions);
        let payload = trade.json().into_bytes();
        Message { partition, key: Some(trade.token.clone()), payload, timestamp_ms, trades: vec![trade] }
    }

    fn array(&mut self) -> Message {
        let wanted = 1 + self.random.below(23) as usize;
        let count = wanted.min(self.options.trades - self.made);
        let partition = self.random.below(self.options.partitions as u64) as i32;
        let trades: Vec<Trade> = (0..count).map(|_| self.trade()).collect();
        // Sent when its last trade was made, so that no trade lies ahead of its record.
        Message::array(partition, Some(self.position_ms()), trades)
    }
}

impl Iterator for Stream {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        if self.made >= self.options.trades {
            return None;
        }
        Some(match self.options.shape {
            Shape::Arrays => self.array(),
            Shape::Singles => self.single(),
        })
    }
}

/// Trades as a JSON array.
fn array_json(trades: &[Trade]) -> String {
    let mut text = String::from("[");
    for (index, trade) in trades.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        trade.write_json(&mut text);
    }
    text.push(']');
    text
}

/// The partition of a token: any function will do, as long as it is always the same (FNV-1a).
pub fn partition_of(token: &str, partitions: i32) -> i32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in token.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    ((hash >> 32) % partitions as u64) as i32
}

fn base58(random: &mut Random, length: usize) -> String {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    (0..length).map(|_| char::from(ALPHABET[random.below(58) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::{Options, Shape, Stream};

    #[test]
    fn a_seed_gives_the_same_stream_again() {
        for shape in [Shape::Arrays, Shape::Singles] {
            let options = Options::new(7, shape, 1000).disturbed();
            let bytes =
                |options: &Options| -> Vec<Vec<u8>> { Stream::new(options).map(|m| m.payload).collect() };
            assert_eq!(bytes(&options), bytes(&options));
            assert_ne!(bytes(&options), bytes(&Options { seed: 8, ..options.clone() }));
        }
    }

    #[test]
    fn a_stream_has_as_many_trades_as_asked_for() {
        let trades: usize = Stream::new(&Options::new(1, Shape::Arrays, 1003)).map(|m| m.trades.len()).sum();
        assert_eq!(trades, 1003);
    }
}
