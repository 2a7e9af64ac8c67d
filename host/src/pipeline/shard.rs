//! A shard: a fixed part of all tokens with its cells, owned by one worker for good.
//!
//! Not for threads or queues. Invariant: every mark of a partition that feeds the shard reaches all
//! its cells in order, after the trades of its batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Feed, Mark, Progress};
use super::catch_up::{DemandId, Demands, Lag, Want};
use super::cell::{Cell, CellId, Sight};
use super::cell_clock::{Now, UNKNOWN};
use super::kept::{Columns, Kept, Reach};
use super::quarantine::Quarantined;
use super::route::{Routed, Share};
use super::tokens::Tokens;
use crate::config::ClockMode;
use crate::plugin::catalog::Running;
use crate::plugin::{PluginError, Stage};
use crate::trade::{Reason, Rejected};

/// For how long a batch is taken trade by trade: everything else of the worker waits meanwhile.
const ONE_BY_ONE: Duration = Duration::from_secs(5);

/// How far back any plugin can still use a trade.
#[derive(Debug, Clone)]
pub struct Horizon {
    /// The longest horizon of all plugins, in milliseconds.
    pub length_ms: i64,
    /// Of each plugin the horizon, and the steps in which it counts time, in milliseconds.
    each: Vec<(i64, i64)>,
}

impl Horizon {
    /// The longest horizon among plugins.
    pub fn longest<'a>(plugins: impl IntoIterator<Item = &'a Running>) -> Self {
        let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let of = |plugin: &Running| (ms(plugin.settings.horizon_ms), ms(plugin.settings.step_ms));
        let each: Vec<(i64, i64)> = plugins.into_iter().map(of).collect();
        Self { length_ms: each.iter().map(|(length_ms, _)| *length_ms).max().unwrap_or(0), each }
    }

    /// The first event time that is not too late at clock T for some plugin. A short one with fine steps may reach
    /// further back than the longest one: that counts the step that T is in as a whole.
    fn begins(&self, clock_ms: i64) -> i64 {
        let of = |(length_ms, step_ms): (i64, i64)| {
            let step = clock_ms.div_euclid(step_ms) - length_ms / step_ms + 1;
            step.saturating_mul(step_ms)
        };
        self.each.iter().map(|&each| of(each)).min().unwrap_or(i64::MIN)
    }
}

/// What a shard took of a batch.
#[derive(Debug, Default)]
pub struct Taken {
    /// Trades that at least one visible cell took, now or before the checkpoint that it comes from.
    pub trades: u64,
    /// Tokens among them that traded for the first time in this period of the batch log.
    pub new_in_period: u64,
    /// Trades that turned out to kill a plugin.
    pub quarantined: Vec<Quarantined>,
}

/// One shard.
pub struct Shard {
    /// Its number.
    pub id: u32,
    /// Its tokens.
    pub tokens: Tokens,
    /// One cell for each plugin.
    pub cells: Vec<Cell>,
    /// How many batches it has taken, its cells as far as they follow.
    pub(super) batches: u64,
    pub(super) horizon: Horizon,
    /// Tokens that the last cell has let go of outside of a flush: they leave the active list with the next.
    pub(super) gone: Vec<Arc<str>>,
    /// Numbers of tokens whose results are compared with the next flush, and where the next ones begin.
    pub(super) sample: Vec<u32>,
    pub(super) compared_to: u32,
    /// How often the store had forgotten when everything was last counted as changed for it.
    pub(super) lineage: u64,
    /// Where the live stream stands: for each partition its last mark, alone.
    live: BTreeMap<i32, Mark>,
    /// The share's distinct tokens with their rows, and the token of each row; kept for their memory.
    share_tokens: Vec<(u32, u32)>,
    numbers: Vec<u32>,
    /// What each cell takes of the share; kept for its memory.
    reaches: Vec<Reach>,
    /// Batches tell of a source, whose marks move the clocks.
    sourced: bool,
}

impl Shard {
    /// Makes a shard with empty cells.
    pub fn new(id: u32, plugins: &[Running], clock: ClockMode, sight: Sight) -> Self {
        Self {
            id,
            tokens: Tokens::default(),
            cells: plugins.iter().map(|running| Cell::new(running, clock, sight)).collect(),
            batches: 0,
            horizon: Horizon::longest(plugins),
            gone: Vec::new(),
            sample: Vec::new(),
            compared_to: 0,
            lineage: 0,
            live: BTreeMap::new(),
            share_tokens: Vec::new(),
            numbers: Vec::new(),
            reaches: Vec::new(),
            sourced: false,
        }
    }

    /// Takes in a cell, right behind the one whose place it may take: they are flushed at one moment then.
    pub(super) fn add(&mut self, cell: Cell, behind: Option<usize>) {
        self.cells.insert(behind.map_or(self.cells.len(), |place| place + 1), cell);
        self.horizon = Horizon::longest(self.cells.iter().map(|cell| &cell.running));
    }

    /// Drops a cell with all that it holds.
    pub(super) fn remove(&mut self, place: usize) {
        let gone = self.cells.remove(place).release(&mut self.tokens);
        self.gone.extend(gone);
        self.horizon = Horizon::longest(self.cells.iter().map(|cell| &cell.running));
    }

    /// Has a new cell read what a cell reads that starts with nothing.
    pub(super) fn begin_with_nothing(&mut self, id: CellId, demands: &Arc<Demands>, now: Now) {
        if let Some(cell) = self.cells.iter_mut().find(|cell| cell.id == id) {
            for &partition in self.live.keys() {
                cell.clock.assign(partition, UNKNOWN, i64::MAX);
            }
            if self.sourced {
                cell.clock.follow_source();
            }
            self.catch_up(id, demands, now);
        }
    }

    /// Learns that a partition feeds the shard from `next` on; see [`CellClock::assign`].
    ///
    /// [`CellClock::assign`]: super::cell_clock::CellClock::assign
    pub fn assign(&mut self, partition: i32, next: i64, end: i64, now: Now) {
        let mark = Mark { partition, first: next, next, newest_ms: None, progress: Progress::Behind };
        if next != UNKNOWN {
            self.live.insert(partition, mark);
        }
        for cell in &mut self.cells {
            cell.clock.assign(partition, next, end);
            if let Some(moved) = &mut cell.moved {
                moved.cut(partition, end);
            }
            cell.meet_live(partition, self.live.get(&partition), now);
        }
    }

    /// Takes a batch's share, if it has one here, and its mark.
    pub fn take(
        &mut self,
        routed: &Routed,
        share: Option<&Share>,
        now: Now,
        period: u64,
        rejected: &mut Vec<Rejected>,
    ) -> Taken {
        self.batches += 1;
        let taken = match share {
            Some(share) => self.take_share(routed, share, now, period, rejected),
            None => Taken::default(),
        };
        if let Some(told) = &routed.sources {
            self.sourced = true;
            for cell in &mut self.cells {
                cell.take_sources(told, &routed.mark, routed.feed, now);
            }
        }
        self.take_mark(&routed.mark, routed.feed, now);
        taken
    }

    /// Takes a mark, after the trades of its batch.
    fn take_mark(&mut self, mark: &Mark, feed: Feed, now: Now) {
        if feed == Feed::Live {
            self.live.insert(mark.partition, mark.alone());
        }
        let live = self.live.get(&mark.partition);
        for cell in &mut self.cells {
            cell.take_mark(mark, feed, live, now);
        }
    }

    /// Has a cell that was put back take what it lacks from the catch-up reader.
    pub(super) fn catch_up(&mut self, id: CellId, demands: &Arc<Demands>, now: Now) {
        let Some(cell) = self.cells.iter_mut().find(|cell| cell.id == id && cell.is_active()) else {
            return;
        };
        let clock = &cell.clock;
        let want = |(&partition, live): (&i32, &Mark)| match clock.next(partition)? {
            UNKNOWN => Some((partition, Want::Horizon { not_before: clock.begun(partition) })),
            next if next < live.next => Some((partition, Want::From(next))),
            _ => None,
        };
        let wants: BTreeMap<i32, Want> = self.live.iter().filter_map(want).collect();
        for live in self.live.values().filter(|live| !wants.contains_key(&live.partition)) {
            cell.clock.take(live, now.monotonic_ms);
        }
        cell.lag = Lag::begin(demands, wants);
    }

    /// Learns where a partition begins for the cell behind a demand.
    pub(super) fn begin(&mut self, demand: DemandId, partition: i32, next: i64, now: Now) {
        let behind = |cell: &&mut Cell| cell.lag.as_ref().is_some_and(|lag| lag.is_behind(demand));
        if let Some(cell) = self.cells.iter_mut().find(behind) {
            cell.begin(partition, next);
            cell.meet_live(partition, self.live.get(&partition), now);
        }
    }

    fn take_share(
        &mut self,
        routed: &Routed,
        share: &Share,
        now: Now,
        period: u64,
        rejected: &mut Vec<Rejected>,
    ) -> Taken {
        let horizon = &self.horizon;
        let reach = |cell: &mut Cell| {
            let clock_ms = cell.clock.advance(now);
            let begins_ms = clock_ms.map_or(i64::MIN, |clock_ms| horizon.begins(clock_ms));
            Reach { from: cell.takes_from(&routed.mark, routed.feed), begins_ms }
        };
        self.reaches.clear();
        self.reaches.extend(self.cells.iter_mut().map(reach));
        let new_in_period = self.number_tokens(routed, share, period);
        // No number may become another token's while cells come and go over this batch.
        self.hold_share();
        let quarantined = self.process(routed, share);
        self.release_share();
        if routed.feed == Feed::CatchUp {
            // Its trades were counted and judged when the live stream brought them.
            return Taken { quarantined, ..Taken::default() };
        }
        let late = self.reject_late(routed, share, rejected);
        Taken { trades: share.rows.len() as u64 - late, new_in_period, quarantined }
    }

    /// Hands every cell what it takes of a share; returns trades that turned out to kill a plugin.
    fn process(&mut self, routed: &Routed, share: &Share) -> Vec<Quarantined> {
        let whole = Columns {
            tokens: &self.share_tokens,
            numbers: &self.numbers,
            times_ms: &routed.times_ms[share.rows.clone()],
            sides: &routed.sides[share.rows.clone()],
            natives: &routed.natives[share.rows.clone()],
            amounts: &routed.amounts[share.rows.clone()],
            prices: &routed.prices[share.rows.clone()],
            wallets: &share.wallets,
            wallet_hashes: routed.wallet_hashes.get(share.rows.clone()).unwrap_or_default(),
            tx_hashes: &share.tx_hashes,
        };
        let mut quarantined = Vec::new();
        for (cell, reach) in self.cells.iter_mut().zip(&self.reaches) {
            if reach.is_past(routed) {
                continue;
            }
            let mark = &routed.mark;
            let careful =
                cell.recovery.leaves_out_of(mark) || cell.recovery.watches(mark) || cell.moved.is_some();
            let died_at = if !careful && reach.covers(routed, share) {
                let survived = cell.process(&whole, &mut self.tokens);
                (!survived).then(|| cell.recovery.named_row().map(|row| share.rows.start + row))
            } else {
                let has = |token: usize, row: usize| {
                    let hash = routed.tokens[share.tokens.start + token].hash;
                    cell.moved
                        .as_ref()
                        .is_some_and(|moved| moved.has(hash, mark.partition, routed.offset(row)))
                };
                let takes = |token: usize, row: usize| {
                    reach.takes(routed, row)
                        && !has(token, row)
                        && !cell.recovery.leaves_out(routed.spot(row))
                };
                let kept = Kept::new(routed, share, &self.share_tokens, takes);
                process_kept(cell, &kept, mark, &mut self.tokens)
            };
            match died_at {
                Some(Some(row)) if share.rows.contains(&row) => {
                    quarantined.push(cell.quarantine(self.id, routed, row));
                }
                Some(_) => cell.recovery.watch(mark),
                None => {}
            }
        }
        quarantined
    }

    /// Numbers the tokens of a share and its rows; returns how many are new in this period.
    fn number_tokens(&mut self, routed: &Routed, share: &Share, period: u64) -> u64 {
        self.share_tokens.clear();
        self.numbers.clear();
        let mut new_in_period = 0;
        for token in &routed.tokens[share.tokens.clone()] {
            let number = self.tokens.intern(token.hash, routed.text(token));
            let news = if routed.feed == Feed::Live { token.rows } else { 0 };
            new_in_period +=
                u64::from(self.tokens.count(number, news, routed.mark.partition, token.newest_ms, period));
            self.share_tokens.push((number, token.rows));
            self.numbers.resize(self.numbers.len() + token.rows as usize, number);
        }
        new_in_period
    }

    /// Rejects the trades that every cell whose rows count finds too late; returns how many. What a cell
    /// has taken before was judged then.
    fn reject_late(&self, routed: &Routed, share: &Share, rejected: &mut Vec<Rejected>) -> u64 {
        let sighted = self.cells.iter().zip(&self.reaches).filter(|(cell, _)| cell.sight != Sight::Hidden);
        // One that lags meets these trades later, from another reader.
        let judges: Vec<Reach> = sighted.map(|(_, reach)| *reach).filter(|reach| reach.follows()).collect();
        let content = |judge: &Reach| judge.is_past(routed) || judge.begins_ms <= share.oldest_ms;
        if judges.is_empty() || judges.iter().any(content) {
            return 0;
        }
        let before = rejected.len();
        for row in share.rows.clone() {
            if judges.iter().all(|judge| judge.finds_late(routed, row)) {
                let place = routed.places[row];
                rejected.push(Rejected {
                    reason: Reason::TooLate,
                    column: None,
                    whole: false,
                    record: place.record,
                    element: place.element,
                });
            }
        }
        (rejected.len() - before) as u64
    }

    fn hold_share(&mut self) {
        for &(number, _) in &self.share_tokens {
            self.tokens.hold(number);
        }
    }

    /// Forgets those tokens of the share that no cell has taken.
    fn release_share(&mut self) {
        for &(number, _) in &self.share_tokens {
            self.tokens.release(number);
        }
    }

    /// Tokens whose address left every cell, as far as they have not come back since.
    pub fn still_gone(&self, gone: Vec<Arc<str>>) -> Vec<Arc<str>> {
        gone.into_iter().filter(|text| !self.tokens.is_alive(text)).collect()
    }
}

/// Hands a cell copied rows, one by one where the batch has killed it before. Says where it died, if it
/// did, and at which row of the batch, if that is known.
fn process_kept(cell: &mut Cell, kept: &Kept, mark: &Mark, tokens: &mut Tokens) -> Option<Option<usize>> {
    if kept.is_empty() {
        return None;
    }
    if !cell.recovery.watches(mark) {
        let survived = cell.process(&kept.columns(), tokens);
        return (!survived).then(|| cell.recovery.named_row().and_then(|row| kept.rows.get(row).copied()));
    }
    let began = Instant::now();
    for at in 0..kept.rows.len() {
        if began.elapsed() >= ONE_BY_ONE {
            let words = "its trades take too long, also one by one";
            cell.fail(PluginError::new(cell.running.name(), Stage::Process, words), tokens);
            return Some(None);
        }
        if !cell.process(&kept.single(at).columns(), tokens) {
            return Some(Some(kept.rows[at]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trade_is_too_late_only_when_no_plugin_can_use_it() {
        const HOUR_MS: i64 = 3_600_000;
        // Windows of two hours in steps of two hours, and of one in steps of a second.
        let each = vec![(2 * HOUR_MS, 2 * HOUR_MS), (HOUR_MS, 1_000)];
        let horizon = Horizon { length_ms: 2 * HOUR_MS, each };
        let clock_ms = 4 * HOUR_MS + 500;
        assert_eq!(horizon.begins(clock_ms), 3 * HOUR_MS + 1_000);
        assert_eq!(horizon.begins(clock_ms + 90 * 60_000), 4 * HOUR_MS);
    }
}
