//! State on its way from one cell to another of the same shard: page by page, between batches.
//!
//! A first round exports everything; each further one what changed meanwhile, until a round fits one page:
//! then both cells are of the same moment. Not for other shards: numbers of tokens are this shard's.
//! Invariant: while state is carried, no checkpoint of the giving cell is taken, so that it forgets no
//! removal and no number becomes another token's.

use super::cell::Cell;
use super::tokens::Tokens;
use crate::plugin::{PluginError, Stage};

/// How many bytes a page has, about: as much as a worker may spend between two batches.
const PAGE_BYTES: u32 = 256 << 10;
/// From this round on pages grow, so that rounds end however much changes meanwhile.
const PATIENT_ROUNDS: u32 = 8;
/// The longest page: what an instance may hand to the host at once.
const MOST_PAGE_BYTES: u32 = 32 << 20;

/// How far an export has come.
#[derive(Debug)]
pub(super) struct Carry {
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
    pub(super) fn new() -> Self {
        Self { since: 0, cursor: 0, generation: 0, page_bytes: PAGE_BYTES, rounds: 0, bytes: 0 }
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
