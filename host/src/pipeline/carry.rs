//! State on its way from one cell to another of the same shard: page by page, between batches.
//!
//! With the last page of the export both cells are of the same moment. What was imported counts as changed in the
//! taking cell, though nobody has to see it again: these rows are drained apart, some at a time. Not for other shards:
//! numbers of tokens are this shard's. Invariant: while state is carried, no checkpoint of the giving cell is taken, so
//! that it forgets no removal and no number becomes another token's.

use std::sync::Arc;
use std::time::Duration;

use super::cell::Cell;
use super::cell_clock::Now;
use super::rounds::Rounds;
use super::tokens::Tokens;
use crate::clock::WallClock;
use crate::plugin::PluginError;

/// For how long rows are drained between two batches.
const DRAIN_FOR: Duration = Duration::from_millis(2);
/// The most rows that are drained at once: of a state that was just imported nothing is merged yet, so that each
/// of its first rows takes long.
const DRAINED_ROWS: u32 = 4;
/// How many bytes a page has, about: as much as a worker may spend between two batches.
const PAGE_BYTES: u32 = 64 << 10;
/// From this round on pages grow, so that rounds end however much changes meanwhile.
const PATIENT_ROUNDS: u32 = 8;

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

/// Begins to carry all state of a cell.
pub(super) fn begin() -> Rounds {
    Rounds::new(0, PAGE_BYTES, PATIENT_ROUNDS)
}

/// Carries one page.
pub(super) fn step(rounds: &mut Rounds, from: &mut Cell, to: &mut Cell, tokens: &mut Tokens) -> Carried {
    let Some(turn) = rounds.step(from, tokens) else {
        return Carried::Lost;
    };
    let state_version = from.running.plugin.description().state_version;
    if let Err(error) = to.adopt(state_version, &turn.page, tokens) {
        return Carried::Refused(error);
    }
    if !turn.is_last {
        return Carried::More;
    }
    to.clock = from.clock.clone();
    to.first_taken_ms = from.first_taken_ms;
    Carried::InStep
}

/// The draining of a cell that has taken state over.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Draining {
    /// How many rows it has given.
    pub(super) rows: usize,
}

impl Draining {
    /// Has the cell give changed rows that nobody needs, for as long as a batch may wait; says whether that is enough:
    /// each token's row, however fast more of them change meanwhile. Addresses that no cell knows any more go to `gone`.
    /// None where the cell has failed, or does not know T.
    pub(super) fn step(
        &mut self,
        cell: &mut Cell,
        tokens: &mut Tokens,
        gone: &mut Vec<Arc<str>>,
        clock: &WallClock,
        now: Now,
    ) -> Option<bool> {
        let clock_ms = cell.clock.advance(now)?;
        let until = clock.monotonic() + DRAIN_FOR;
        let mut more = true;
        while more && clock.monotonic() < until {
            let table = cell.flush(clock_ms, DRAINED_ROWS, tokens)?;
            gone.extend(table.forgotten.iter().filter_map(|&number| cell.forgotten(number, false, tokens)));
            self.rows += table.tokens.len();
            more = table.more;
        }
        Some(!more || self.rows > cell.known.len())
    }
}

impl Cell {
    /// Begins where the cell stands whose state it is to take over, since what that one has taken by now it never
    /// takes itself; and apart from flushes until both are of one moment.
    pub(super) fn begin_like(&mut self, former: &Self) {
        self.clock = former.clock.clone();
        self.recovery.quarantined.clone_from(&former.recovery.quarantined);
        self.apart = true;
    }
}
