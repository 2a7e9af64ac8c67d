//! A cell: one plugin's instance for one shard, with its clock and vector. The unit of exactness.
//!
//! Not for writing results. Invariant: a cell's vector moves to a batch's `next` exactly when the
//! cell has taken the batch or had nothing in it; what its vector covers already it never takes again;
//! a plugin that fails takes nothing any more.

use std::collections::HashSet;
use std::sync::Arc;

use super::batch::Mark;
use super::cell_clock::{CellClock, Now};
use super::checkpoint::{Job, StatePage};
use super::tokens::Tokens;
use crate::config::ClockMode;
use crate::plugin::catalog::Running;
use crate::plugin::contract::{Batch, NewToken, Page, Table, TextColumnParam};
use crate::plugin::{Instance, PluginError, Stage};
use crate::store::Head;
use crate::trade::Texts;

/// The rows of a share as column slices; `numbers` are the shard's token numbers.
#[derive(Debug)]
pub struct Columns<'a> {
    /// The distinct tokens, each with its number of rows.
    pub tokens: &'a [(u32, u32)],
    /// The token of each row.
    pub numbers: &'a [u32],
    /// Event times.
    pub times_ms: &'a [i64],
    /// Sides.
    pub sides: &'a [u8],
    /// Billionths of the chain's coin.
    pub natives: &'a [i64],
    /// Token amounts.
    pub amounts: &'a [f64],
    /// Prices in USD.
    pub prices: &'a [f64],
    /// Wallet addresses.
    pub wallets: &'a Texts,
    /// Wallet hashes.
    pub wallet_hashes: &'a [u64],
    /// Transaction hashes.
    pub tx_hashes: &'a Texts,
}

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
enum Knowledge {
    /// Nothing.
    #[default]
    None,
    /// The instance has state of the token.
    Known,
    /// The instance has forgotten the token, and no checkpoint says so yet.
    Parting,
}

/// One plugin's instance for one shard.
pub struct Cell {
    /// The plugin it runs.
    pub running: Running,
    /// The last part of its Redis keys.
    pub result_key: Arc<str>,
    /// T and the vector.
    pub clock: CellClock,
    /// Whether its rows are written.
    pub sight: Sight,
    /// Why the plugin is suspended; its instance is gone then.
    pub fault: Option<PluginError>,
    /// When it took its first batch, in monotonic milliseconds.
    pub first_taken_ms: Option<u64>,
    /// The checkpoint that is being taken or waits to be due.
    pub(super) job: Job,
    instance: Option<Box<dyn Instance>>,
    /// By token number.
    known: Vec<Knowledge>,
    /// Numbers that are [`Knowledge::Parting`], or were until the token came back.
    parting: Vec<u32>,
}

impl Cell {
    /// Makes a cell with an empty state.
    pub fn new(running: &Running, clock: ClockMode, sight: Sight) -> Result<Self, PluginError> {
        let (instance, _) = running.plugin.instantiate(&running.configuration)?;
        Ok(Self {
            result_key: running.result_key().into(),
            running: running.clone(),
            clock: CellClock::new(clock),
            sight,
            fault: None,
            first_taken_ms: None,
            job: Job::default(),
            instance: Some(instance),
            known: Vec::new(),
            parting: Vec::new(),
        })
    }

    /// Takes over what a checkpoint holds. State that the plugin refuses is left: the cell begins with
    /// nothing and reads the horizon again.
    pub(super) fn restore(&mut self, head: &Head, pages: &[StatePage], tokens: &mut Tokens) {
        self.import(head, pages, tokens);
        let Some(refused) = self.fault.take_if(|error| error.stage == Stage::Import) else {
            return;
        };
        match Self::new(&self.running, self.clock.mode(), self.sight) {
            Ok(fresh) => {
                tracing::warn!(plugin = self.running.name(), reason = %refused.reason, "State refused; begins with nothing");
                *self = fresh;
                self.job.replaces(head);
            }
            Err(error) => self.fault = Some(error),
        }
    }

    fn import(&mut self, head: &Head, pages: &[StatePage], tokens: &mut Tokens) {
        self.clock.restore(head);
        self.job.restored(head);
        for page in pages {
            let numbers: Vec<u32> = page.tokens.iter().map(|token| tokens.intern_text(&token.text)).collect();
            for (&number, token) in numbers.iter().zip(&page.tokens) {
                tokens.restore(number, token.last_trade_ms);
            }
            let fresh = self.meet(numbers.iter().copied(), tokens);
            let new_tokens = introductions(&fresh, tokens);
            let Some(instance) = self.instance.as_mut() else {
                return;
            };
            let imported = page.import(&numbers, |entries, removed| {
                instance.import_state(head.state_version, &new_tokens, entries, removed)
            });
            if let Err(error) = imported {
                return self.suspend(error, tokens);
            }
        }
    }

    /// The offset from which this cell takes a batch: what lies before its vector it has.
    pub(super) fn takes_from(&self, mark: &Mark) -> i64 {
        self.clock.next(mark.partition).unwrap_or(i64::MIN)
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
    pub fn process(&mut self, columns: &Columns<'_>, tokens: &mut Tokens) {
        if self.instance.is_none() {
            return;
        }
        let fresh = self.meet(columns.tokens.iter().map(|&(number, _)| number), tokens);
        let new_tokens = introductions(&fresh, tokens);
        let Some(instance) = self.instance.as_mut() else {
            return;
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
        if let Err(error) = instance.process(batch) {
            self.suspend(error, tokens);
        }
    }

    /// Takes a mark: the vector moves, never back.
    pub fn take_mark(&mut self, mark: &Mark, now: Now) {
        if mark.next > mark.first {
            self.first_taken_ms.get_or_insert(now.monotonic_ms);
        }
        self.clock.take(mark, now.monotonic_ms);
    }

    /// Gives changed rows at T, checked against the schema; none while T is unknown.
    pub fn flush(&mut self, clock_ms: i64, max_rows: u32, tokens: &mut Tokens) -> Option<Table> {
        let instance = self.instance.as_mut()?;
        let flushed = instance.flush(clock_ms, max_rows).and_then(|table| {
            let unknown = |number: &&u32| self.known.get(**number as usize) != Some(&Knowledge::Known);
            let words = match self.running.schema.check(&table) {
                Err(error) => error.to_string(),
                Ok(()) if table.tokens.len() > max_rows as usize => {
                    format!("more than {max_rows} rows")
                }
                Ok(()) => match table.tokens.iter().chain(&table.forgotten).find(unknown) {
                    Some(number) => format!("token number {number} was never given to it"),
                    None => return Ok(table),
                },
            };
            Err(PluginError::new(self.running.name(), Stage::Flush, words))
        });
        flushed.map_err(|error| self.suspend(error, tokens)).ok()
    }

    /// Counts all tokens as changed.
    pub fn touch_all(&mut self, tokens: &mut Tokens) {
        let touched = self.instance.as_mut().map_or(Ok(()), |instance| instance.touch(None));
        if let Err(error) = touched {
            self.suspend(error, tokens);
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
        page.map_err(|error| self.suspend(error, tokens)).ok()
    }

    /// Notes that the instance has forgotten a token; returns its address once all cells have. Its
    /// number stays held until [`Cell::part`], where `until_saved` says that a checkpoint will name it.
    pub fn forgotten(&mut self, number: u32, until_saved: bool, tokens: &mut Tokens) -> Option<Arc<str>> {
        let known = self.known.get_mut(number as usize).filter(|known| **known == Knowledge::Known)?;
        *known = Knowledge::Parting;
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

    /// Lets the plugin forget removals that are saved.
    pub(super) fn trim(&mut self, generation: u64, tokens: &mut Tokens) {
        let trimmed = self.instance.as_mut().map_or(Ok(()), |instance| instance.trim(generation));
        if let Err(error) = trimmed {
            self.suspend(error, tokens);
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

    /// Gives the plugin up: its instance is dropped, the other cells and the stream go on.
    fn suspend(&mut self, error: PluginError, tokens: &mut Tokens) {
        tracing::error!(
            plugin = self.running.name(), stage = %error.stage, row = error.row, reason = %error.reason,
            "Plugin failed and is suspended"
        );
        self.instance = None;
        self.fault = Some(error);
        self.parting.clear();
        for (number, known) in std::mem::take(&mut self.known).into_iter().enumerate() {
            if known == Knowledge::Known {
                tokens.forget(number as u32);
            }
            if known != Knowledge::None {
                tokens.release(number as u32);
            }
        }
    }
}

/// How the instance is told which tokens these numbers stand for.
fn introductions<'a>(numbers: &[u32], tokens: &'a Tokens) -> Vec<NewToken<'a>> {
    numbers.iter().filter_map(|&id| Some(NewToken { id, text: &tokens.get(id)?.text })).collect()
}

fn text_column(texts: &Texts) -> TextColumnParam<'_> {
    TextColumnParam { bytes: &texts.bytes, ends: &texts.ends }
}
