//! State on its way from one cell to another of the same shard: page by page, between batches.
//!
//! A first round exports everything; each further one what changed meanwhile, until a round fits one page:
//! then both cells are of the same moment. What was imported counts as changed in the taking cell, though nobody
//! has to see it again: these rows are drained apart, some at a time. Not for other shards: numbers of tokens are
//! this shard's. Invariant: while state is carried, no checkpoint of the giving cell is taken, so that it forgets
//! no removal and no number becomes another token's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::cell::Cell;
use super::cell_clock::{CellClock, Now};
use super::quarantine::Spot;
use super::tokens::Tokens;
use crate::clock::WallClock;
use crate::plugin::{PluginError, Stage};

/// For how long rows are drained between two batches.
const DRAIN_FOR: Duration = Duration::from_millis(5);
/// The most rows that are drained at once: of a state that was just imported nothing is merged yet, so that each
/// of its first rows takes long.
const DRAINED_ROWS: u32 = 16;
/// How many bytes a page has, about: as much as a worker may spend between two batches.
const PAGE_BYTES: u32 = 64 << 10;
/// From this round on pages grow, so that rounds end however much changes meanwhile.
const PATIENT_ROUNDS: u32 = 8;
/// The longest page: what an instance may hand to the host at once.
const MOST_PAGE_BYTES: u32 = 32 << 20;

/// How far an export has come.
#[derive(Debug)]
pub(super) struct Carry {
    /// The giving cell's clock and vector when it began: what it has taken by then the other never takes.
    clock: CellClock,
    quarantined: BTreeSet<Spot>,
    since: u64,
    cursor: u64,
    generation: u64,
    page_bytes: u32,
    rounds: u32,
    /// The bytes carried so far.
    pub(super) bytes: u64,
}

/// What a step came to.
#[derive(Debug)]
pub(super) enum Carried {
    /// There is more.
    More,
    /// Both cells are of the same moment.
    InStep,
    /// The giving cell has failed.
    Lost,
    /// The taking cell has failed, or refuses the state.
    Refused(PluginError),
}

impl Carry {
    pub(super) fn new(from: &Cell) -> Self {
        Self {
            clock: from.clock.clone(),
            quarantined: from.recovery.quarantined.clone(),
            since: 0,
            cursor: 0,
            generation: 0,
            page_bytes: PAGE_BYTES,
            rounds: 0,
            bytes: 0,
        }
    }

    /// Has the taking cell begin where the giving one stands, and drained apart until both are of one moment.
    pub(super) fn begin(&self, to: &mut Cell) {
        to.clock = self.clock.clone();
        to.recovery.quarantined.clone_from(&self.quarantined);
        to.apart = true;
    }

    /// Carries one page.
    pub(super) fn step(&mut self, from: &mut Cell, to: &mut Cell, tokens: &mut Tokens) -> Carried {
        let opening = self.cursor == 0;
        let Some(page) = from.export(self.since, self.cursor, self.page_bytes, tokens) else {
            return Carried::Lost;
        };
        if opening {
            self.generation = page.generation;
        }
        if !from.has_all(&page.entries.tokens) {
            let words = "exports state of a token that was never given to it";
            from.fail(PluginError::new(from.running.name(), Stage::Export, words), tokens);
            return Carried::Lost;
        }
        self.bytes += page.entries.bytes.len() as u64;
        let state_version = from.running.plugin.description().state_version;
        if let Err(error) = to.adopt(state_version, &page, tokens) {
            return Carried::Refused(error);
        }
        match page.next {
            Some(next) => self.cursor = next,
            None if opening => {
                to.clock = from.clock.clone();
                to.first_taken_ms = from.first_taken_ms;
                return Carried::InStep;
            }
            None => {
                self.since = self.generation;
                self.cursor = 0;
                self.rounds += 1;
                if self.rounds >= PATIENT_ROUNDS {
                    self.page_bytes = self.page_bytes.saturating_mul(4).min(MOST_PAGE_BYTES);
                }
            }
        }
        Carried::More
    }
}

/// What draining came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drained {
    /// How many rows were given.
    pub(super) rows: usize,
    /// There are more.
    pub(super) more: bool,
}

impl Cell {
    /// Has the cell give changed rows that nobody needs, for as long as a batch may wait, with the addresses that no
    /// cell knows any more. None where it has failed, or does not know T.
    pub(super) fn drain(
        &mut self,
        tokens: &mut Tokens,
        gone: &mut Vec<Arc<str>>,
        clock: &WallClock,
        now: Now,
    ) -> Option<Drained> {
        let clock_ms = self.clock.advance(now)?;
        let until = clock.monotonic() + DRAIN_FOR;
        let mut drained = Drained { rows: 0, more: true };
        while drained.more && clock.monotonic() < until {
            let table = self.flush(clock_ms, DRAINED_ROWS, tokens)?;
            gone.extend(table.forgotten.iter().filter_map(|&number| self.forgotten(number, false, tokens)));
            drained = Drained { rows: drained.rows + table.tokens.len(), more: table.more };
        }
        Some(drained)
    }
}
