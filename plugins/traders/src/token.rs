//! One token: the minutes of its trades, and when each of its wallets was last seen.
//!
//! Not for finding tokens or due times. The invariant: a wallet that was last seen in a pane is counted in that
//! pane, once as a buyer, once as a seller, once as a wallet, and in no other.

use aggregator_sdk::{Map, Side, Trade};

use crate::Span;
use crate::export::Piece;
use crate::minute::{Minute, Of, PANES, Sum};

/// Stands for no pane: the wallet never bought or never sold, nothing is ever due.
pub(crate) const NEVER: i64 = i64::MIN;

/// How far apart the minutes of one token may lie; export cursors rely on it.
const FARTHEST: i64 = 1 << 14;

/// The panes in which a wallet was last seen.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) bought: i64,
    pub(crate) sold: i64,
}

impl Seen {
    const NOT: Self = Self { bought: NEVER, sold: NEVER };

    pub(crate) fn on(self, side: Side) -> i64 {
        if side == Side::Buy { self.bought } else { self.sold }
    }

    fn set(&mut self, side: Side, pane: i64) {
        match side {
            Side::Buy => self.bought = pane,
            Side::Sell => self.sold = pane,
        }
    }

    fn last(self) -> i64 {
        self.bought.max(self.sold)
    }
}

/// The state of one token.
pub(crate) struct Token {
    /// Oldest first.
    pub(crate) minutes: Vec<Minute>,
    pub(crate) wallets: Map<u64, Seen>,
    /// The generation of the last change of any minute.
    pub(crate) changed: u32,
    /// Under which pane of the clock the token is due.
    pub(crate) due: i64,
    /// Whether it waits for a flush.
    pub(crate) dirty: bool,
}

impl Default for Token {
    fn default() -> Self {
        Self { minutes: Vec::new(), wallets: Map::default(), changed: 0, due: NEVER, dirty: false }
    }
}

impl Token {
    /// Adds a trade; says whether it was taken, which it is not where its time is absurd.
    pub(crate) fn add(&mut self, pane: i64, trade: &Trade, generation: u32) -> bool {
        let number = pane.div_euclid(PANES);
        if !self.reaches(number) {
            return false;
        }
        self.changed = generation;
        let minute = self.minute_mut(number);
        minute.changed = generation;
        minute.add(pane, trade);
        let seen = self.wallets.entry(trade.wallet_hash).or_insert(Seen::NOT);
        // A late trade is not the wallet's last one.
        if pane > seen.on(trade.side) {
            let before = *seen;
            seen.set(trade.side, pane);
            let after = *seen;
            self.recount(trade.side, before, after, generation);
        }
        true
    }

    /// Whether a minute lies near enough to the others.
    fn reaches(&self, number: i64) -> bool {
        let near = |other: &Minute| (number.abs_diff(other.number)) < FARTHEST.unsigned_abs();
        self.minutes.first().is_none_or(near) && self.minutes.last().is_none_or(near)
    }

    fn position(&self, number: i64) -> Result<usize, usize> {
        match self.minutes.last() {
            Some(last) if last.number == number => Ok(self.minutes.len() - 1),
            Some(last) if last.number < number => Err(self.minutes.len()),
            _ => self.minutes.binary_search_by_key(&number, |minute| minute.number),
        }
    }

    fn minute_mut(&mut self, number: i64) -> &mut Minute {
        let at = self.position(number).unwrap_or_else(|at| {
            self.minutes.insert(at, Minute::new(number));
            at
        });
        &mut self.minutes[at]
    }

    /// Moves a wallet to the pane in which it was last seen on a side, or out of all panes.
    fn place(&mut self, wallet: u64, side: Side, pane: i64, generation: u32) {
        let seen = self.wallets.entry(wallet).or_insert(Seen::NOT);
        let before = *seen;
        seen.set(side, pane);
        let after = *seen;
        if after.last() == NEVER {
            self.wallets.remove(&wallet);
        }
        self.recount(side, before, after, generation);
    }

    /// Counts a wallet where it was seen last now, and where it was before no more.
    fn recount(&mut self, side: Side, before: Seen, after: Seen, generation: u32) {
        let of = if side == Side::Buy { Of::Buyers } else { Of::Sellers };
        self.count_on(of, before.on(side), after.on(side), generation);
        self.count_on(Of::Wallets, before.last(), after.last(), generation);
    }

    /// Counts a wallet in another pane than before.
    fn count_on(&mut self, of: Of, from: i64, to: i64, generation: u32) {
        if from == to {
            return;
        }
        for (pane, more) in [(from, false), (to, true)] {
            if pane != NEVER
                && let Ok(at) = self.position(pane.div_euclid(PANES))
            {
                self.minutes[at].count(pane, of, more);
                self.minutes[at].changed = generation;
            }
        }
    }

    /// Gives each window's sum, shortest first, and the pane of the clock at which something leaves one of them;
    /// [`NEVER`] where all are empty.
    pub(crate) fn settle(&self, spans: &[Span], clock: i64, mut write: impl FnMut(&Span, &Sum)) -> i64 {
        let mut due = None;
        // The minutes that lie wholly in the window, from the newest on, and their sum.
        let (mut first, mut whole) = (self.minutes.len(), Sum::default());
        for span in spans {
            let tail = clock - span.panes;
            while first > 0 && self.minutes[first - 1].begin() > tail {
                first -= 1;
                whole.merge(&self.minutes[first].sum);
            }
            let mut sum = whole;
            let mut oldest = self.minutes.get(first).and_then(|minute| minute.panes().next());
            if let Some(cut) = first.checked_sub(1) {
                let mut inside = self.minutes[cut].panes().skip_while(|(pane, _)| *pane <= tail).peekable();
                oldest = inside.peek().copied().or(oldest);
                inside.for_each(|(_, pane)| sum.merge(pane));
            }
            write(span, &sum);
            if let Some((pane, _)) = oldest {
                let leaves = pane + span.panes;
                due = Some(due.map_or(leaves, |due: i64| due.min(leaves)));
            }
        }
        due.unwrap_or(NEVER)
    }

    /// Drops the minutes that lie wholly behind the longest window, and the wallets that were not seen since; gives
    /// the minutes' numbers.
    pub(crate) fn expire(&mut self, expired: i64) -> Vec<i64> {
        let past = self.minutes.partition_point(|minute| minute.begin() + PANES - 1 <= expired);
        let dropped: Vec<i64> = self.minutes.drain(..past).map(|minute| minute.number).collect();
        if let Some(last) = dropped.last() {
            let end = (last + 1) * PANES - 1;
            let unseen = |pane: &mut i64| {
                if *pane <= end {
                    *pane = NEVER;
                }
            };
            self.wallets.retain(|_, seen| {
                unseen(&mut seen.bought);
                unseen(&mut seen.sold);
                seen.last() != NEVER
            });
        }
        dropped
    }

    /// Puts a minute with its wallets in the place of what is there.
    pub(crate) fn replace(&mut self, piece: Piece) -> Result<(), String> {
        let (number, generation) = (piece.minute.number, piece.minute.changed);
        self.delete(number, generation);
        if !self.reaches(number) {
            return Err(format!("minute {number} is too far from the token's others"));
        }
        let at = self.position(number).unwrap_or_else(|at| at);
        self.minutes.insert(at, piece.minute);
        for (wallet, side, pane) in piece.members {
            self.place(wallet, side, pane, generation);
        }
        self.changed = generation;
        Ok(())
    }

    /// Removes a minute with the wallets that were last seen in it; says whether there was one.
    pub(crate) fn delete(&mut self, number: i64, generation: u32) -> bool {
        if self.position(number).is_err() {
            return false;
        }
        for (wallet, side, _) in self.members(number) {
            self.place(wallet, side, NEVER, generation);
        }
        if let Ok(at) = self.position(number) {
            self.minutes.remove(at);
        }
        self.changed = generation;
        true
    }

    /// The wallets that were last seen in a minute on either side, in order.
    pub(crate) fn members(&self, number: i64) -> Vec<(u64, Side, i64)> {
        let mut members = Vec::new();
        for (&wallet, seen) in &self.wallets {
            for side in [Side::Buy, Side::Sell] {
                let pane = seen.on(side);
                if pane != NEVER && pane.div_euclid(PANES) == number {
                    members.push((wallet, side, pane));
                }
            }
        }
        members.sort_unstable_by_key(|&(wallet, side, _)| (wallet, side == Side::Sell));
        members
    }
}
