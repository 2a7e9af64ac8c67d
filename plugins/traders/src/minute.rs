//! Sixty panes of one token: what was traded in each, and how many wallets were last seen there.
//!
//! Not for which wallets those are, which the token knows. The invariant: a minute's sum is the sum of its panes,
//! and no pane is without a trade.

use aggregator_sdk::{Side, Trade};

/// Panes in a minute; a minute is the piece in which state is carried.
pub(crate) const PANES: i64 = 60;

/// What the trades of a stretch of time come to.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum {
    /// Billionths of the chain's coin.
    pub(crate) bought: i128,
    /// Billionths of the chain's coin.
    pub(crate) sold: i128,
    /// In USD.
    pub(crate) largest_usd: f64,
    /// Wallets whose last purchase lies here.
    pub(crate) buyers: u32,
    /// Wallets whose last sale lies here.
    pub(crate) sellers: u32,
    /// Wallets whose last trade lies here.
    pub(crate) wallets: u32,
}

/// Which wallets are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Buyers,
    Sellers,
    Wallets,
}

impl Sum {
    fn add(&mut self, trade: &Trade) {
        match trade.side {
            Side::Buy => self.bought += i128::from(trade.native),
            Side::Sell => self.sold += i128::from(trade.native),
        }
        self.largest_usd = self.largest_usd.max(trade.price * trade.amount);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.bought += other.bought;
        self.sold += other.sold;
        self.largest_usd = self.largest_usd.max(other.largest_usd);
        self.buyers += other.buyers;
        self.sellers += other.sellers;
        self.wallets += other.wallets;
    }

    /// How far buying outweighs selling: from -1, only sales, to 1, only purchases.
    pub(crate) fn pressure(&self) -> f64 {
        match self.bought + self.sold {
            0 => 0.0,
            all => (self.bought - self.sold) as f64 / all as f64,
        }
    }

    fn count(&mut self, of: Of, more: bool) {
        let count = match of {
            Of::Buyers => &mut self.buyers,
            Of::Sellers => &mut self.sellers,
            Of::Wallets => &mut self.wallets,
        };
        *count = if more { *count + 1 } else { *count - 1 };
    }
}

/// Sixty panes.
pub(crate) struct Minute {
    /// The minute since 1970; with another resolution, the stretch of sixty panes.
    pub(crate) number: i64,
    /// The generation of its last change.
    pub(crate) changed: u32,
    pub(crate) sum: Sum,
    /// By their place in the minute, in order.
    panes: Vec<(u8, Sum)>,
}

impl Minute {
    pub(crate) fn new(number: i64) -> Self {
        Self { number, changed: 0, sum: Sum::default(), panes: Vec::new() }
    }

    /// The first pane that it can hold.
    pub(crate) fn begin(&self) -> i64 {
        self.number * PANES
    }

    pub(crate) fn add(&mut self, pane: i64, trade: &Trade) {
        self.sum.add(trade);
        self.pane_mut(pane).add(trade);
    }

    /// Counts a wallet in a pane, or counts it no more.
    pub(crate) fn count(&mut self, pane: i64, of: Of, more: bool) {
        self.sum.count(of, more);
        self.pane_mut(pane).count(of, more);
    }

    fn pane_mut(&mut self, pane: i64) -> &mut Sum {
        let index = pane.rem_euclid(PANES) as u8;
        let at = match self.panes.last() {
            Some(&(last, _)) if last == index => self.panes.len() - 1,
            _ => match self.panes.binary_search_by_key(&index, |(index, _)| *index) {
                Ok(at) => at,
                Err(at) => {
                    self.panes.insert(at, (index, Sum::default()));
                    at
                }
            },
        };
        &mut self.panes[at].1
    }

    /// Panes in order, with their numbers.
    pub(crate) fn panes(&self) -> impl Iterator<Item = (i64, &Sum)> {
        let begin = self.begin();
        self.panes.iter().map(move |(index, sum)| (begin + i64::from(*index), sum))
    }

    /// Appends the panes without their counts of wallets, which whoever imports counts anew.
    pub(crate) fn pack(&self, out: &mut Vec<u8>) {
        out.push(self.panes.len() as u8);
        for (index, sum) in &self.panes {
            out.push(*index);
            out.extend_from_slice(&sum.bought.to_le_bytes());
            out.extend_from_slice(&sum.sold.to_le_bytes());
            out.extend_from_slice(&sum.largest_usd.to_le_bytes());
        }
    }

    /// Reads what was packed; none where it is not.
    pub(crate) fn unpack(number: i64, bytes: &mut &[u8]) -> Option<Self> {
        let mut minute = Self::new(number);
        let [panes] = take(bytes)?;
        for _ in 0..panes {
            let [index] = take(bytes)?;
            let after = minute.panes.last().is_none_or(|(last, _)| *last < index);
            if !after || i64::from(index) >= PANES {
                return None;
            }
            let sum = Sum {
                bought: i128::from_le_bytes(take(bytes)?),
                sold: i128::from_le_bytes(take(bytes)?),
                largest_usd: f64::from_le_bytes(take(bytes)?),
                ..Sum::default()
            };
            minute.sum.merge(&sum);
            minute.panes.push((index, sum));
        }
        Some(minute).filter(|minute| !minute.panes.is_empty())
    }

    /// Whether it has this pane.
    pub(crate) fn holds(&self, pane: i64) -> bool {
        let index = pane - self.begin();
        self.panes.binary_search_by_key(&index, |(index, _)| i64::from(*index)).is_ok()
    }
}

/// Takes so many bytes off the front.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}
