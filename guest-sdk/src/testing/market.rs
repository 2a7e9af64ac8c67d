//! Trades that a market might make, and some that it should not.
//!
//! Not realistic in its prices. The invariant: amounts, prices and times stay within the contract's
//! bounds, so whatever a plugin does wrong with them is its own fault.

use super::Random;
use crate::trade::Side;

/// One generated trade.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The token's address.
    pub token: String,
    /// Event time in unix milliseconds.
    pub time_ms: i64,
    /// Which way it went.
    pub side: Side,
    /// Whole billionths of the chain's coin.
    pub native: i64,
    /// Token amount.
    pub amount: f64,
    /// Price in USD per token.
    pub price: f64,
    /// The wallet's address.
    pub wallet: String,
    /// The transaction's hash.
    pub tx_hash: String,
}

/// A source of trades whose time goes on.
#[derive(Clone, Debug)]
pub struct Market {
    random: Random,
    tokens: u64,
    horizon_ms: u64,
    /// The market's own time: newer trades are ahead of the clock.
    pub now_ms: i64,
}

impl Market {
    /// Makes a market for a plugin that looks back so far.
    #[must_use]
    pub fn new(seed: u64, horizon_ms: u64) -> Self {
        let mut random = Random::new(seed);
        // Every third market lives around 1970, where times are negative.
        let now_ms = match random.below(3) {
            0 => 0,
            _ => 1_772_366_400_000 + random.below(3_600_000).cast_signed(),
        };
        Self { tokens: 1 + random.below(8), random, horizon_ms, now_ms }
    }

    /// Lets time go on: mostly a little, sometimes so far that windows empty.
    pub fn advance(&mut self) {
        let span = match self.random.below(10) {
            0 => 2 * self.horizon_ms,
            1 | 2 => self.horizon_ms / 4,
            _ => 5_000,
        };
        self.now_ms += self.random.below(span.max(1)).cast_signed();
    }

    /// Gives some trades around the present: most of the last seconds, some late, some ahead.
    pub fn trades(&mut self) -> Vec<Sample> {
        let count = self.random.below(40);
        (0..count).map(|_| self.trade()).collect()
    }

    fn trade(&mut self) -> Sample {
        let random = &mut self.random;
        let back_ms = match random.below(12) {
            0 => random.below(2 * self.horizon_ms).cast_signed(),
            1 => -random.below(300_000).cast_signed(),
            // Block times are whole seconds.
            2..=4 => self.now_ms.rem_euclid(1000),
            _ => random.below(3_000).cast_signed(),
        };
        let amount = random.below(1_000_000) as f64 / 10f64.powi(random.below(7) as i32);
        let price = random.below(100_000) as f64 / 10f64.powi(random.below(14) as i32);
        Sample {
            token: format!("token{}", random.below(self.tokens)),
            time_ms: self.now_ms - back_ms,
            side: if random.once_in(2) { Side::Sell } else { Side::Buy },
            native: random.below(5_000_000_000).cast_signed(),
            amount,
            price,
            wallet: format!("wallet{}", random.below(6)),
            tx_hash: format!("tx{}", random.below(100)),
        }
    }
}
