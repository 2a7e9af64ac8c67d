//! A cell: one plugin's instance for one shard, with its clock and vector. The unit of exactness.
//!
//! Not for writing results. Invariant: a cell's vector moves to a batch's `next` exactly when the
//! cell has taken the batch or had nothing in it; a plugin that fails takes nothing any more.

use std::sync::Arc;

use super::batch::Mark;
use super::cell_clock::{CellClock, Now};
use super::tokens::Tokens;
use crate::config::ClockMode;
use crate::plugin::catalog::Running;
use crate::plugin::contract::{Batch, NewToken, Table, TextColumnParam};
use crate::plugin::{Instance, PluginError, Stage};
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
    instance: Option<Box<dyn Instance>>,
    /// By token number: whether the instance knows the token.
    known: Vec<bool>,
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
            instance: Some(instance),
            known: Vec::new(),
        })
    }

    /// Takes the trades of a batch. The mark is taken apart, since a batch without trades has one too.
    pub fn process(&mut self, columns: &Columns<'_>, tokens: &mut Tokens) {
        let Some(instance) = self.instance.as_mut() else {
            return;
        };
        let mut new_numbers = Vec::new();
        for &(number, _) in columns.tokens {
            let index = number as usize;
            if index >= self.known.len() {
                self.known.resize(index + 1, false);
            }
            if !std::mem::replace(&mut self.known[index], true) {
                tokens.hold(number);
                new_numbers.push(number);
            }
        }
        let new_tokens: Vec<NewToken<'_>> =
            new_numbers.iter().filter_map(|&id| Some(NewToken { id, text: &tokens.get(id)?.text })).collect();
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

    /// Takes a mark: the vector moves.
    pub fn take_mark(&mut self, mark: &Mark, now: Now) {
        self.clock.take(mark, now.monotonic_ms);
    }

    /// Gives changed rows at T, checked against the schema; none while T is unknown.
    pub fn flush(&mut self, clock_ms: i64, max_rows: u32, tokens: &mut Tokens) -> Option<Table> {
        let instance = self.instance.as_mut()?;
        let flushed = instance.flush(clock_ms, max_rows).and_then(|table| {
            let unknown = |number: &&u32| !self.known.get(**number as usize).copied().unwrap_or(false);
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

    /// Lets the plugin forget its removals: nobody is going to export them.
    pub fn trim_all(&mut self, tokens: &mut Tokens) {
        let trimmed = self.instance.as_mut().map_or(Ok(()), |instance| instance.trim(u64::MAX));
        if let Err(error) = trimmed {
            self.suspend(error, tokens);
        }
    }

    /// Notes that the instance has forgotten a token; returns its address once no cell knows it.
    pub fn forgotten(&mut self, number: u32, tokens: &mut Tokens) -> Option<Arc<str>> {
        let known = self.known.get_mut(number as usize)?;
        std::mem::take(known).then(|| tokens.release(number)).flatten()
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
        for (number, known) in std::mem::take(&mut self.known).into_iter().enumerate() {
            if known {
                tokens.release(number as u32);
            }
        }
    }
}

fn text_column(texts: &Texts) -> TextColumnParam<'_> {
    TextColumnParam { bytes: &texts.bytes, ends: &texts.ends }
}
