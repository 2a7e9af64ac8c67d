//! A plugin in a few lines: the number of trades of each token since the beginning.
//!
//! It holds the host to the contract: a number that stands for no token is an error. It can be told to fail
//! at a token, or to wait there. Not for windows. Invariant: every trade that it takes counts once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_channel::Receiver;

use super::PATIENCE;
use crate::plugin::catalog::Running;
use crate::plugin::contract::{
    Batch, Column, Description, EntriesParam, EntriesResult, Field, Kind, NewToken, OptionalColumns, Page,
    RemovalsParam, RemovalsResult, Settings, Table,
};
use crate::plugin::{Instance, Plugin, PluginError, Stage};

/// How far back a trade counts: a minute, so that a clock that runs ahead is noticed at once.
pub(super) const HORIZON_MS: i64 = 60_000;
/// The one group of its results.
pub(super) const GROUP: &str = "all";
/// The one field of its results.
pub(super) const FIELD: &str = "trades";

/// What it says that a token takes; it never gives memory back.
pub(super) const TOKEN_BYTES: usize = 1 << 20;

/// How a counter behaves.
#[derive(Clone)]
pub(super) enum Manner {
    /// It counts.
    Sound,
    /// It fails when it meets this token.
    FailsAt(&'static str),
    /// The same, and it names the row.
    NamesRowAt(&'static str),
    /// Its second instance, the first that a shard asks for, cannot be made.
    SecondNotMade(Arc<AtomicU32>),
    /// It fails at every flush.
    NeverFlushes,
    /// It gives the same rows again and again.
    NeverEnds,
    /// Its state has no end.
    NeverExported,
    /// It refuses any state.
    RefusesState,
    /// It counts every trade twice.
    CountsTwice,
    /// It keeps its worker when it meets this token, until the other end of the gate is dropped.
    WaitsAt(String, Receiver<()>),
}

/// A counter that writes under this result key, ready to run.
pub(super) fn counter(name: &str, result_key: &str, manner: Manner) -> Running {
    version(name, result_key, manner, "counter")
}

/// A version of a counter, told from others by its digest.
pub(super) fn version(name: &str, result_key: &str, manner: Manner, digest: &str) -> Running {
    let description = Description {
        name: name.to_owned(),
        version: "1".to_owned(),
        state_version: 1,
        columns: OptionalColumns::empty(),
        result_key: result_key.to_owned(),
        fields: vec![Field { name: FIELD.to_owned(), kind: Kind::Integer }],
        gauges: Vec::new(),
        counters: Vec::new(),
    };
    Running::new(Arc::new(Counter { description, manner }), "{}", digest).unwrap()
}

struct Counter {
    description: Description,
    manner: Manner,
}

impl Plugin for Counter {
    fn description(&self) -> &Description {
        &self.description
    }

    fn instantiate(&self, _: &str) -> Result<(Box<dyn Instance>, Settings), PluginError> {
        if let Manner::SecondNotMade(asked) = &self.manner
            && asked.fetch_add(1, Ordering::Relaxed) == 1
        {
            return Err(PluginError::new(&self.description.name, Stage::Instantiate, "not now"));
        }
        let settings =
            Settings { groups: vec![GROUP.to_owned()], horizon_ms: HORIZON_MS as u64, step_ms: 1_000 };
        let instance = Counting {
            name: self.description.name.clone(),
            manner: self.manner.clone(),
            texts: BTreeMap::new(),
            counts: BTreeMap::new(),
            changed: BTreeSet::new(),
            generation: 1,
            generations: BTreeMap::new(),
            removed: Vec::new(),
            most: 0,
        };
        Ok((Box::new(instance), settings))
    }
}

/// The counts of one cell, by token number.
struct Counting {
    name: String,
    manner: Manner,
    texts: BTreeMap<u32, String>,
    counts: BTreeMap<u32, i64>,
    changed: BTreeSet<u32>,
    /// Rises with every export; what a token had when it changed last.
    generation: u64,
    generations: BTreeMap<u32, u64>,
    /// Tokens that were forgotten, with the generation of that.
    removed: Vec<(u64, u32)>,
    /// The most tokens that it ever had.
    most: usize,
}

impl Instance for Counting {
    fn process(&mut self, batch: Batch<'_>) -> Result<(), PluginError> {
        for token in batch.new_tokens {
            self.texts.insert(token.id, token.text.to_owned());
        }
        for (row, &number) in batch.tokens.iter().enumerate() {
            let failed = |words: String| PluginError::new(&self.name, Stage::Process, words);
            let Some(text) = self.texts.get(&number) else {
                return Err(failed(format!("number {number} stands for no token")));
            };
            match &self.manner {
                Manner::FailsAt(token) if token == text => {
                    return Err(failed(format!("fails at {text}")));
                }
                Manner::NamesRowAt(token) if token == text => {
                    return Err(PluginError { row: Some(row as u32), ..failed(format!("fails at {text}")) });
                }
                Manner::WaitsAt(token, gate) if token == text => {
                    gate.recv_timeout(PATIENCE).ok();
                }
                _ => {}
            }
            let once = if matches!(self.manner, Manner::CountsTwice) { 2 } else { 1 };
            *self.counts.entry(number).or_default() += once;
            self.changed.insert(number);
            self.generations.insert(number, self.generation);
        }
        self.most = self.most.max(self.counts.len());
        Ok(())
    }

    fn flush(&mut self, _: i64, max_rows: u32) -> Result<Table, PluginError> {
        if matches!(self.manner, Manner::NeverFlushes) {
            return Err(PluginError::new(&self.name, Stage::Flush, "cannot flush"));
        }
        let tokens: Vec<u32> = self.changed.iter().copied().take(max_rows as usize).collect();
        let ends = !matches!(self.manner, Manner::NeverEnds);
        for number in tokens.iter().filter(|_| ends) {
            self.changed.remove(number);
        }
        Ok(Table {
            columns: vec![Column::Integers(tokens.iter().map(|number| self.counts[number]).collect())],
            tokens,
            forgotten: Vec::new(),
            more: !self.changed.is_empty(),
            gauges: Vec::new(),
            counters: Vec::new(),
        })
    }

    fn touch(&mut self, tokens: Option<&[u32]>) -> Result<(), PluginError> {
        match tokens {
            Some(tokens) => {
                self.changed.extend(tokens.iter().filter(|&token| self.counts.contains_key(token)))
            }
            None => self.changed.extend(self.counts.keys()),
        }
        Ok(())
    }

    /// Pages of three tokens: the cursor is the number of the next one.
    fn export_state(&mut self, since: u64, cursor: u64, _: u32) -> Result<Page, PluginError> {
        if cursor == 0 {
            self.generation += 1;
        }
        let newer = |number: &u32| self.generations[number] > since;
        let mut left =
            self.counts.keys().copied().filter(newer).filter(|number| u64::from(*number) >= cursor);
        let tokens: Vec<u32> = left.by_ref().take(3).collect();
        let next = match self.manner {
            Manner::NeverExported => Some(cursor + 1),
            _ => left.next().map(u64::from).filter(|next| *next > 0),
        };
        let gone =
            self.removed.iter().filter(|(generation, _)| cursor == 0 && since > 0 && *generation > since);
        let gone: Vec<u32> =
            gone.map(|(_, token)| *token).filter(|token| !self.counts.contains_key(token)).collect();
        let bytes: Vec<u8> = tokens.iter().flat_map(|number| self.counts[number].to_le_bytes()).collect();
        Ok(Page {
            entries: EntriesResult {
                slots: vec![0; tokens.len()],
                ends: (1..=tokens.len() as u32).map(|count| count * 8).collect(),
                bytes,
                tokens,
            },
            removed: RemovalsResult { slots: vec![0; gone.len()], tokens: gone },
            next,
            generation: self.generation - 1,
        })
    }

    fn trim(&mut self, _: u64) -> Result<(), PluginError> {
        Ok(())
    }

    fn import_state(
        &mut self,
        _: u32,
        new_tokens: &[NewToken<'_>],
        entries: EntriesParam<'_>,
        removed: RemovalsParam<'_>,
    ) -> Result<(), PluginError> {
        if matches!(self.manner, Manner::RefusesState) {
            return Err(PluginError::new(&self.name, Stage::Import, "cannot read this state"));
        }
        for token in new_tokens {
            self.texts.insert(token.id, token.text.to_owned());
        }
        for (number, bytes) in entries.tokens.iter().zip(entries.bytes.chunks_exact(8)) {
            self.counts.insert(*number, i64::from_le_bytes(bytes.try_into().unwrap()));
            self.changed.insert(*number);
            self.generations.insert(*number, self.generation);
        }
        self.most = self.most.max(self.counts.len());
        self.forget(removed.tokens)
    }

    fn forget(&mut self, tokens: &[u32]) -> Result<(), PluginError> {
        for token in tokens {
            if self.counts.remove(token).is_some() {
                self.changed.remove(token);
                self.removed.push((self.generation, *token));
            }
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        self.most * TOKEN_BYTES
    }
}
