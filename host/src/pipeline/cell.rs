//! A cell: one plugin's instance for one shard, with its clock and vector. The unit of exactness.
//!
//! Not for writing results, nor for what becomes of a plugin that fails. Invariant: a cell's vector moves
//! to a batch's `next` exactly when the cell has taken the batch or had nothing in it; what its vector
//! covers already it never takes again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::batch::{Feed, Mark, Progress, SourceMarks};
use super::catch_up::Lag;
use super::cell_clock::{CellClock, Now};
use super::checkpoint::Job;
use super::cost::Cost;
use super::due::Due;
use super::flush::Handed;
use super::kept::Columns;
use super::moved::Moved;
use super::page::StatePage;
use super::recovery::Recovery;
use super::tokens::Tokens;
use super::upkeep::Written;
use crate::config::ClockMode;
use crate::plugin::catalog::Running;
use crate::plugin::contract::{Batch, EntriesParam, NewToken, Page, RemovalsParam, Table, TextColumnParam};
use crate::plugin::{Instance, PluginError, Stage};
use crate::trade::Texts;

/// Whether the rows of a cell are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// They are.
    Visible,
    /// Not before its marks say live, so that results never go backwards.
    Withheld,
    /// They are discarded: another cell of the same plugin is visible.
    Hidden,
}

/// What a cell has to do with a token number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Knowledge {
    /// Nothing.
    #[default]
    None,
    /// The instance has state of the token.
    Known,
    /// The instance has forgotten the token, and no checkpoint says so yet.
    Parting,
}

/// Tells cells apart; never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CellId(u64);

impl CellId {
    fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// One plugin's instance for one shard.
pub struct Cell {
    /// What the writer's answers call it.
    pub(super) id: CellId,
    /// The plugin it runs.
    pub running: Running,
    /// The last part of its Redis keys.
    pub result_key: Arc<str>,
    /// T and the vector.
    pub clock: CellClock,
    /// Whether its rows are written.
    pub sight: Sight,
    /// When it took its first batch, in monotonic milliseconds.
    pub first_taken_ms: Option<u64>,
    /// The checkpoint that is being taken or waits to be due.
    pub(super) job: Job,
    /// What is done about failures.
    pub(super) recovery: Recovery,
    /// While its state comes from the shards of a former layout: what it has taken of each token.
    pub(super) moved: Option<Moved>,
    /// The partitions that it takes from the catch-up reader.
    pub(super) lag: Option<Lag>,
    /// It is saved, and put back when it fails; a new version is not, until it is accepted.
    pub(super) settled: bool,
    /// Its state is being carried to a new version.
    pub(super) giving: bool,
    /// What its calls cost.
    pub(super) cost: Cost,
    /// None while the plugin has failed.
    pub(super) instance: Option<Box<dyn Instance>>,
    /// It is to take another cell's place; until then its rows are drained apart.
    pub(super) apart: bool,
    /// What the instance took when it was made and had got its state.
    pub(super) lean_bytes: usize,
    /// By token number: when its row was handed over.
    pub(super) written: Vec<Written>,
    /// Up to when all its rows were handed over; none since all of them counted as changed.
    pub(super) handed: Option<Handed>,
    /// The rows that it can have left to give.
    pub(super) due: Due,
    /// By token number.
    pub(super) known: Vec<Knowledge>,
    /// Numbers that are [`Knowledge::Parting`], or were until the token came back.
    parting: Vec<u32>,
}

impl Cell {
    /// Makes a cell with an empty state. One of which no instance can be made now has failed, and is put back like any
    /// other.
    pub fn new(running: &Running, clock: ClockMode, sight: Sight) -> Self {
        let (instance, error) = match running.plugin.instantiate(&running.configuration) {
            Ok((instance, _)) => (Some(instance), None),
            Err(error) => (None, Some(error)),
        };
        let mut cell = Self { sight, settled: true, ..Self::around(running, instance, clock) };
        if let Some(error) = error {
            cell.fail(error, &mut Tokens::default());
        }
        cell
    }

    /// Makes a hidden cell that is not settled, around a new instance.
    pub(super) fn beside(running: &Running, instance: Box<dyn Instance>, clock: ClockMode) -> Self {
        Self::around(running, Some(instance), clock)
    }

    fn around(running: &Running, instance: Option<Box<dyn Instance>>, clock: ClockMode) -> Self {
        Self {
            id: CellId::next(),
            result_key: running.result_key().into(),
            running: running.clone(),
            clock: CellClock::new(clock),
            sight: Sight::Hidden,
            first_taken_ms: None,
            job: Job::default(),
            recovery: Recovery::default(),
            moved: None,
            lag: None,
            settled: false,
            giving: false,
            apart: false,
            lean_bytes: instance.as_ref().map_or(0, |instance| instance.memory_bytes()),
            cost: Cost::default(),
            instance,
            written: Vec::new(),
            handed: None,
            due: Due::default(),
            known: Vec::new(),
            parting: Vec::new(),
        }
    }

    /// Takes over the state that a checkpoint holds.
    pub(super) fn import(
        &mut self,
        state_version: u32,
        pages: &[StatePage],
        tokens: &mut Tokens,
    ) -> Result<(), PluginError> {
        for page in pages {
            let numbers: Vec<u32> = page.tokens.iter().map(|token| tokens.intern_text(&token.text)).collect();
            for (&number, token) in numbers.iter().zip(&page.tokens) {
                tokens.restore(number, token.last_trade_ms, token.partition);
            }
            let fresh = self.meet(numbers.iter().copied(), tokens);
            let new_tokens = introductions(&fresh, tokens);
            let Some(instance) = self.instance.as_mut() else {
                return Ok(());
            };
            page.import(&numbers, |entries, removed| {
                instance.import_state(state_version, &new_tokens, entries, removed)
            })?;
        }
        self.note_lean();
        Ok(())
    }

    /// Takes over a page of state from another cell of the same shard.
    pub(super) fn adopt(
        &mut self,
        state_version: u32,
        page: &Page,
        tokens: &mut Tokens,
    ) -> Result<(), PluginError> {
        let Page { entries, removed, .. } = page;
        let fresh = self.meet(entries.tokens.iter().copied(), tokens);
        let new_tokens = introductions(&fresh, tokens);
        let Some(instance) = self.instance.as_mut() else {
            return Ok(());
        };
        // What this cell has not met it has nothing to remove of.
        let known = |number: u32| self.known.get(number as usize) == Some(&Knowledge::Known);
        let pairs = removed.tokens.iter().zip(&removed.slots).filter(|(number, _)| known(**number));
        let (removed_tokens, removed_slots): (Vec<u32>, Vec<u64>) = pairs.unzip();
        let entries = EntriesParam {
            tokens: &entries.tokens,
            slots: &entries.slots,
            ends: &entries.ends,
            bytes: &entries.bytes,
        };
        let removed = RemovalsParam { tokens: &removed_tokens, slots: &removed_slots };
        instance.import_state(state_version, &new_tokens, entries, removed)
    }

    /// Whether the instance has state of a token.
    pub(super) fn knows(&self, number: u32) -> bool {
        self.known.get(number as usize) == Some(&Knowledge::Known)
    }

    /// Whether a removal waits for the checkpoint, or for the new version, that must hear of it.
    pub(super) fn keeps_removals(&self, rules: &super::FlushRules) -> bool {
        self.giving || (self.settled && !rules.trim)
    }

    /// The offset from which this cell takes a batch that a reader brings: what lies before its vector it
    /// has, and what lies behind a gap it takes later, from the catch-up reader.
    pub(super) fn takes_from(&self, mark: &Mark, feed: Feed) -> i64 {
        match self.follows(mark, feed) {
            true => self.clock.next(mark.partition).unwrap_or(i64::MIN),
            false => i64::MAX,
        }
    }

    /// Whether the cell takes this batch's partition from this reader.
    fn follows(&self, mark: &Mark, feed: Feed) -> bool {
        let lags = self.lag.as_ref().is_some_and(|lag| lag.has(mark.partition));
        let no_gap = || self.clock.next(mark.partition).is_none_or(|next| next >= mark.first);
        match feed {
            Feed::Live => !lags || no_gap(),
            Feed::CatchUp => lags && no_gap(),
        }
    }

    /// Notes that the instance has state of these tokens from now on; returns those that are news to it.
    fn meet(&mut self, numbers: impl Iterator<Item = u32>, tokens: &mut Tokens) -> Vec<u32> {
        let mut fresh = Vec::new();
        for number in numbers {
            let index = number as usize;
            if index >= self.known.len() {
                self.known.resize(index + 1, Knowledge::None);
            }
            let before = std::mem::replace(&mut self.known[index], Knowledge::Known);
            if before == Knowledge::None {
                tokens.hold(number);
            }
            if before != Knowledge::Known {
                tokens.learn(number);
                fresh.push(number);
            }
        }
        fresh
    }

    /// Takes the trades of a batch. The mark is taken apart, since a batch without trades has one too.
    /// Says whether the plugin has survived.
    pub fn process(&mut self, columns: &Columns<'_>, tokens: &mut Tokens) -> bool {
        if self.instance.is_none() {
            return true;
        }
        let fresh = self.meet(columns.tokens.iter().map(|&(number, _)| number), tokens);
        let new_tokens = introductions(&fresh, tokens);
        let Some(instance) = self.instance.as_mut() else {
            return true;
        };
        let batch = Batch {
            new_tokens: &new_tokens,
            tokens: columns.numbers,
            times_ms: columns.times_ms,
            sides: columns.sides,
            natives: columns.natives,
            amounts: columns.amounts,
            prices: columns.prices,
            wallets: text_column(columns.wallets),
            wallet_hashes: columns.wallet_hashes,
            tx_hashes: text_column(columns.tx_hashes),
        };
        self.due.changed(columns.tokens.len());
        let began = Instant::now();
        let processed = instance.process(batch);
        self.cost.processed(columns.numbers.len(), began);
        processed.map_err(|error| self.fail(error, tokens)).is_ok()
    }

    /// Takes a mark: the vector moves, never back. `live` says where the live stream stands.
    pub fn take_mark(&mut self, mark: &Mark, feed: Feed, live: Option<&Mark>, now: Now) {
        if !self.follows(mark, feed) {
            return;
        }
        if mark.next > mark.first {
            self.first_taken_ms.get_or_insert(now.monotonic_ms);
        }
        if self.is_active() {
            // One that has just failed, or waits for its checkpoint, has passed nothing.
            self.recovery.passed(mark.partition, mark.next);
        }
        match feed {
            Feed::Live => self.clock.take(mark, now.monotonic_ms),
            Feed::CatchUp => {
                // However the other reader stands, this cell is behind until it has met the live stream.
                self.clock.take(&Mark { progress: Progress::Behind, ..*mark }, now.monotonic_ms);
                if let Some(lag) = &self.lag {
                    lag.moved(mark.partition, mark.next);
                }
            }
        }
        self.meet_live(mark.partition, live, now);
        self.moved.take_if(|moved| moved.is_passed(&self.clock));
    }

    /// Learns where a partition begins of which nothing was known.
    pub(super) fn begin(&mut self, partition: i32, next: i64) {
        self.clock.begin(partition, next);
        if let Some(lag) = self.lag.as_ref().filter(|lag| lag.has(partition)) {
            lag.moved(partition, next);
        }
    }

    /// Notes where the cell has met the live stream: from now on it takes the partition from there.
    pub(super) fn meet_live(&mut self, partition: i32, live: Option<&Mark>, now: Now) {
        let (Some(lag), Some(live)) = (&mut self.lag, live) else {
            return;
        };
        if lag.has(partition) && self.clock.next(partition).is_some_and(|next| next >= live.next) {
            lag.met(partition);
            self.clock.take(live, now.monotonic_ms);
            self.lag.take_if(|lag| lag.is_over());
        }
    }

    /// Takes what a batch tells of the source, before the batch's own mark.
    pub(super) fn take_sources(&mut self, told: &SourceMarks, mark: &Mark, feed: Feed, now: Now) {
        let has = mark.first < mark.next && mark.next <= self.takes_from(mark, feed);
        if self.follows(mark, feed) && !has {
            self.clock.take_sources(told, now.monotonic_ms);
        }
    }

    /// Gives changed rows at T, checked against the schema. Ends an instance that gives more than can have changed.
    pub fn flush(&mut self, clock_ms: i64, max_rows: u32, tokens: &mut Tokens) -> Option<Table> {
        let instance = self.instance.as_mut()?;
        self.due.asked(clock_ms, self.known.len());
        let began = Instant::now();
        let flushed = instance.flush(clock_ms, max_rows);
        self.cost.flushed(flushed.as_ref().map_or(0, |table| table.tokens.len()), began);
        let flushed = flushed.and_then(|table| {
            let enough = self.due.gave(table.tokens.len(), table.more);
            let unknown = |number: &&u32| !self.knows(**number);
            let words = match self.running.schema.check(&table) {
                Err(error) => error.to_string(),
                Ok(()) if table.tokens.len() > max_rows as usize => {
                    format!("more than {max_rows} rows")
                }
                Ok(()) if !enough => format!("more rows than its {} tokens", self.known.len()),
                Ok(()) => match table.tokens.iter().chain(&table.forgotten).find(unknown) {
                    Some(number) => format!("token number {number} was never given to it"),
                    None => return Ok(table),
                },
            };
            Err(PluginError::new(self.running.name(), Stage::Flush, words))
        });
        flushed.map_err(|error| self.fail(error, tokens)).ok()
    }

    /// Counts all tokens as changed.
    pub fn touch_all(&mut self, tokens: &mut Tokens) {
        self.written.clear();
        self.handed = None;
        self.due.changed(self.known.len());
        let touched = self.instance.as_mut().map_or(Ok(()), |instance| instance.touch(None));
        if let Err(error) = touched {
            self.fail(error, tokens);
        }
    }

    /// Gives one page of the state; none when that failed and the cell is suspended.
    pub(super) fn export(
        &mut self,
        since: u64,
        cursor: u64,
        max_bytes: u32,
        tokens: &mut Tokens,
    ) -> Option<Page> {
        let page = self.instance.as_mut()?.export_state(since, cursor, max_bytes);
        page.map_err(|error| self.fail(error, tokens)).ok()
    }

    /// Notes that the instance has forgotten a token; returns its address once all cells have. Its
    /// number stays held until [`Cell::part`], where `until_saved` says that a checkpoint will name it.
    pub fn forgotten(&mut self, number: u32, until_saved: bool, tokens: &mut Tokens) -> Option<Arc<str>> {
        let known = self.known.get_mut(number as usize).filter(|known| **known == Knowledge::Known)?;
        *known = Knowledge::Parting;
        if let Some(written) = self.written.get_mut(number as usize) {
            *written = Written::default();
        }
        let gone = tokens.forget(number);
        match until_saved {
            true => self.parting.push(number),
            false => self.part(vec![number], tokens),
        }
        gone
    }

    /// Takes the numbers of forgotten tokens that a checkpoint now being taken names as removed.
    pub(super) fn take_parting(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.parting)
    }

    /// Puts numbers back that no checkpoint has named after all.
    pub(super) fn keep_parting(&mut self, numbers: Vec<u32>) {
        self.parting.extend(numbers);
    }

    /// How many forgotten tokens wait for a checkpoint.
    pub(super) fn waiting_removals(&self) -> usize {
        self.parting.len()
    }

    /// Gives numbers of forgotten tokens up, except of those that have come back.
    pub(super) fn part(&mut self, numbers: Vec<u32>, tokens: &mut Tokens) {
        // Forgotten once more since: that removal is not saved yet.
        let again: HashSet<u32> = self.parting.iter().copied().collect();
        for number in numbers.into_iter().filter(|number| !again.contains(number)) {
            if let Some(known) = self.known.get_mut(number as usize)
                && *known == Knowledge::Parting
            {
                *known = Knowledge::None;
                tokens.release(number);
            }
        }
    }

    /// Lets go of forgotten tokens that no checkpoint will name.
    pub(super) fn let_go(&mut self, tokens: &mut Tokens) {
        let parting = self.take_parting();
        self.part(parting, tokens);
        self.trim(u64::MAX, tokens);
    }

    /// Lets the plugin forget removals that are saved.
    pub(super) fn trim(&mut self, generation: u64, tokens: &mut Tokens) {
        let trimmed = self.instance.as_mut().map_or(Ok(()), |instance| instance.trim(generation));
        if let Err(error) = trimmed {
            self.fail(error, tokens);
        }
    }

    /// Whether the cell runs.
    pub fn is_active(&self) -> bool {
        self.instance.is_some()
    }

    /// The instance's linear memory in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.instance.as_ref().map_or(0, |instance| instance.memory_bytes())
    }

    /// Drops the instance with all that it holds; returns the addresses that no cell knows any more.
    #[must_use]
    pub(super) fn release(&mut self, tokens: &mut Tokens) -> Vec<Arc<str>> {
        self.instance = None;
        self.parting.clear();
        self.written.clear();
        let mut gone = Vec::new();
        for (number, known) in (0..).zip(std::mem::take(&mut self.known)) {
            if known == Knowledge::Known {
                gone.extend(tokens.forget(number));
            }
            if known != Knowledge::None {
                tokens.release(number);
            }
        }
        gone
    }
}

/// How the instance is told which tokens these numbers stand for.
fn introductions<'a>(numbers: &[u32], tokens: &'a Tokens) -> Vec<NewToken<'a>> {
    numbers.iter().filter_map(|&id| Some(NewToken { id, text: &tokens.get(id)?.text })).collect()
}

fn text_column(texts: &Texts) -> TextColumnParam<'_> {
    TextColumnParam { bytes: &texts.bytes, ends: &texts.ends }
}
