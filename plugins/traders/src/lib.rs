//! Who trades: unique buyers, sellers and wallets of each token over sliding windows, the largest trade, and how
//! far buying outweighs selling.
//!
//! A plugin of the raw level: a wallet counts once in a window whatever it does there, which no pane can know. One
//! map from wallet to the pane in which it was seen last serves the windows of every length: a window's wallets are
//! those that were last seen in one of its panes, so each pane counts them and a window is a sum.
//!
//! A wallet is known by its 64-bit hash: among a million wallets of a token, two share one with a probability of
//! 3 in 100 million. The invariant: the cost of a trade depends on no window.

mod export;
mod minute;
mod token;

use std::collections::{BTreeSet, VecDeque};

use aggregator_sdk::contract::{
    Batch, Counter, Description, Entries, Fold, Gauge, NewToken, OptionalColumns, Page, Removals, Settings,
    Table,
};
use aggregator_sdk::field::{Declared, Rows, described};
use aggregator_sdk::windows::Windows;
use aggregator_sdk::{MOST_TOKENS, Plugin, Trade, export_plugin, fault, float, integer, trades};

use export::Removed;
use token::{NEVER, Token};

const NAME: &str = "traders";
const STATE_VERSION: u32 = 1;
const FIELDS: &[Declared] =
    &[integer("buyers"), integer("sellers"), integer("wallets"), float("largest_usd"), float("pressure")];

/// One window in panes, and its place in configured order.
struct Span {
    panes: i64,
    group: usize,
}

/// The traders of one shard's tokens.
pub struct Traders {
    resolution_ms: i64,
    /// Shortest first.
    spans: Vec<Span>,
    /// By number.
    tokens: Vec<Option<Box<Token>>>,
    alive: usize,
    /// Tokens that wait for a flush; one that was forgotten meanwhile is skipped.
    dirty: VecDeque<u32>,
    /// When something leaves a window of a token next: the pane of the clock, and the token.
    due: BTreeSet<(i64, u32)>,
    /// The latest pane of the clock; none before the first flush.
    clock: Option<i64>,
    /// The newest pane that no window can hold any more.
    expired: i64,
    removed: Removed,
    /// Rises with every export; stamps changes.
    generation: u32,
    late_trades: u64,
    unknown_trades: u64,
}

impl Traders {
    fn token(&mut self, number: u32) -> Option<&mut Token> {
        self.tokens.get_mut(number as usize)?.as_deref_mut()
    }

    /// Introduces a token. It counts as changed, so that it is forgotten in order when none of its trades counts.
    fn announce(&mut self, number: u32) {
        if number >= MOST_TOKENS {
            return;
        }
        let at = number as usize;
        if self.tokens.len() <= at {
            self.tokens.resize_with(at + 1, || None);
        }
        if self.tokens[at].is_none() {
            self.tokens[at] = Some(Box::default());
            self.alive += 1;
            self.mark(number);
        }
    }

    /// Counts a token as changed.
    fn mark(&mut self, number: u32) {
        if let Some(token) = self.token(number)
            && !token.dirty
        {
            token.dirty = true;
            self.dirty.push_back(number);
        }
    }

    fn add(&mut self, number: u32, trade: &Trade) {
        let pane = trade.time_ms.div_euclid(self.resolution_ms);
        let (expired, generation) = (self.expired, self.generation);
        let Some(token) = self.token(number) else {
            self.unknown_trades += 1;
            return;
        };
        if pane > expired && token.add(pane, trade, generation) {
            self.mark(number);
        } else {
            self.late_trades += 1;
        }
    }

    /// Writes a token's row; says whether the token lives on.
    fn settle(&mut self, number: u32, clock: i64, rows: &mut Rows) -> bool {
        let Some(Some(token)) = self.tokens.get_mut(number as usize) else {
            return false;
        };
        rows.begin_row();
        let next_due = token.settle(&self.spans, clock, |span, sum| {
            let mut row = rows.group(span.group);
            row.integer(sum.buyers.into());
            row.integer(sum.sellers.into());
            row.integer(sum.wallets.into());
            row.float(sum.largest_usd);
            row.float(sum.pressure());
        });
        if next_due == NEVER {
            self.drop_token(number);
            return false;
        }
        token.dirty = false;
        if token.due != next_due {
            self.due.remove(&(token.due, number));
            self.due.insert((next_due, number));
            token.due = next_due;
        }
        for minute in token.expire(self.expired) {
            self.removed.push(self.generation, number, minute);
        }
        true
    }

    fn drop_token(&mut self, number: u32) {
        let place = self.tokens.get_mut(number as usize);
        if let Some(token) = place.and_then(Option::take) {
            self.alive -= 1;
            self.due.remove(&(token.due, number));
            for minute in token.minutes {
                self.removed.push(self.generation, number, minute.number);
            }
        }
    }
}

impl Plugin for Traders {
    fn describe() -> Description {
        let counter = |name: &str, help: &str| Counter { name: name.to_owned(), help: help.to_owned() };
        Description {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state_version: STATE_VERSION,
            columns: OptionalColumns::WALLET_HASH,
            result_key: NAME.to_owned(),
            fields: described(FIELDS),
            gauges: vec![Gauge {
                name: "tokens".to_owned(),
                help: "Tokens with trades in the longest window.".to_owned(),
                fold: Fold::Sum,
            }],
            counters: vec![
                counter("late_trades", "Trades that came when the longest window had passed them."),
                counter("unknown_trades", "Trades of tokens that were not introduced."),
            ],
        }
    }

    fn configure(json: &str) -> Result<(Self, Settings), String> {
        let windows = Windows::from_json(json).map_err(|error| error.to_string())?;
        let resolution_ms = windows.resolution_ms().cast_signed();
        let span =
            |(group, length_ms): (usize, u64)| Span { panes: length_ms.cast_signed() / resolution_ms, group };
        let mut spans: Vec<Span> =
            windows.list().iter().map(|window| window.length_ms).enumerate().map(span).collect();
        spans.sort_by_key(|span| span.panes);
        let plugin = Self {
            resolution_ms,
            spans,
            tokens: Vec::new(),
            alive: 0,
            dirty: VecDeque::new(),
            due: BTreeSet::new(),
            clock: None,
            expired: i64::MIN,
            removed: Removed::default(),
            generation: 1,
            late_trades: 0,
            unknown_trades: 0,
        };
        let settings = Settings {
            groups: windows.list().iter().map(|window| window.name.clone()).collect(),
            horizon_ms: windows.longest_ms(),
            step_ms: windows.resolution_ms(),
        };
        Ok((plugin, settings))
    }

    fn process(&mut self, batch: &Batch) {
        for token in &batch.new_tokens {
            self.announce(token.id);
        }
        for (row, (number, trade)) in trades(batch).enumerate() {
            fault::at_row(row as u32);
            self.add(number, &trade);
        }
        fault::clear();
    }

    fn flush(&mut self, clock_ms: i64, max_rows: u32) -> Table {
        let clock = clock_ms.div_euclid(self.resolution_ms);
        let clock = self.clock.map_or(clock, |last| last.max(clock));
        self.clock = Some(clock);
        self.expired = clock - self.spans.last().map_or(0, |span| span.panes);
        while let Some(&(_, number)) = self.due.first().filter(|(pane, _)| *pane <= clock) {
            self.due.pop_first();
            if let Some(token) = self.token(number) {
                token.due = NEVER;
            }
            self.mark(number);
        }
        let mut rows = Rows::new(FIELDS, self.spans.len());
        let mut table = Table::default();
        while table.tokens.len() < max_rows as usize
            && let Some(number) = self.dirty.pop_front()
        {
            if !self.token(number).is_some_and(|token| token.dirty) {
                continue;
            }
            table.tokens.push(number);
            if !self.settle(number, clock, &mut rows) {
                table.forgotten.push(number);
            }
        }
        table.columns = rows.finish();
        table.more = !self.dirty.is_empty();
        table.gauges = vec![self.alive as f64];
        table.counters =
            vec![std::mem::take(&mut self.late_trades), std::mem::take(&mut self.unknown_trades)];
        table
    }

    fn touch(&mut self, tokens: Option<&[u32]>) {
        match tokens {
            Some(tokens) => tokens.iter().for_each(|&number| self.mark(number)),
            None => (0..self.tokens.len() as u32).for_each(|number| self.mark(number)),
        }
    }

    fn export_state(&mut self, since: u64, cursor: u64, max_bytes: u32) -> Page {
        self.export(since, cursor, max_bytes as usize)
    }

    fn trim(&mut self, generation: u64) {
        self.removed.trim(generation);
    }

    fn import_state(
        &mut self,
        state_version: u32,
        new_tokens: &[NewToken],
        entries: &Entries,
        removed: &Removals,
    ) -> Result<(), String> {
        if state_version != STATE_VERSION {
            return Err(format!(
                "{NAME} reads state of version {STATE_VERSION}, not of version {state_version}"
            ));
        }
        // All of it is read before any of it is taken.
        let pieces = export::pieces(entries, self.generation)?;
        for token in new_tokens {
            self.announce(token.id);
        }
        for (number, piece) in pieces {
            self.announce(number);
            if let Some(token) = self.token(number) {
                token.replace(piece)?;
            }
            self.mark(number);
        }
        for (&number, &slot) in removed.tokens.iter().zip(&removed.slots) {
            let minute = slot.cast_signed();
            let generation = self.generation;
            if self.token(number).is_some_and(|token| token.delete(minute, generation)) {
                self.removed.push(generation, number, minute);
                self.mark(number);
            }
        }
        Ok(())
    }

    fn forget(&mut self, tokens: &[u32]) {
        tokens.iter().for_each(|&number| self.drop_token(number));
    }
}

export_plugin!(Traders);
