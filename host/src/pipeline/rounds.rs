//! An export of a cell's state, page by page while batches go on.
//!
//! A first round exports everything, or what has changed since a generation; each further one what changed meanwhile,
//! until a round fits one page: then all of it is of one moment. Not for what becomes of the pages. Invariant: an
//! export ends, whatever the plugin answers: pages grow, and one that gives more than any state can be has failed.

use super::cell::Cell;
use super::tokens::Tokens;
use crate::plugin::contract::Page;
use crate::plugin::{PluginError, Stage};

/// The longest page: what an instance may hand to the host at once.
const MOST_PAGE_BYTES: u32 = 32 << 20;
/// The most pages of all rounds.
const MOST_PAGES: u32 = 1 << 17;
/// The most bytes of all rounds: so many times the plugin's memory, of which so much is taken for granted.
const MOST_TIMES_MEMORY: u64 = 8;
const MEMORY_BYTES: u64 = 32 << 20;

/// How far an export has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounds {
    since: u64,
    cursor: u64,
    /// The one with which the round began: what the pages hold when the export ends.
    pub(super) generation: u64,
    page_bytes: u32,
    /// How many rounds may go by before pages grow.
    patience: u32,
    pages: u32,
    /// The bytes of state exported so far.
    pub(super) bytes: u64,
}

/// The next page.
pub(super) struct Turn {
    pub(super) page: Page,
    /// It is the only one of its round: everything up to it is of this moment.
    pub(super) is_last: bool,
}

impl Rounds {
    /// Begins to export what has changed since a generation (0: everything), in pages of about so many bytes that grow
    /// after so many rounds.
    pub(super) fn new(since: u64, page_bytes: u32, patience: u32) -> Self {
        Self { since, cursor: 0, generation: 0, page_bytes, patience, pages: 0, bytes: 0 }
    }

    /// Exports the next page; none where the cell has failed.
    pub(super) fn step(&mut self, cell: &mut Cell, tokens: &mut Tokens) -> Option<Turn> {
        let opening = self.cursor == 0;
        let page = cell.export(self.since, self.cursor, self.page_bytes, tokens)?;
        self.pages += 1;
        self.bytes += page.entries.bytes.len() as u64;
        if let Some(words) = self.wrong(cell, &page) {
            cell.fail(PluginError::new(cell.running.name(), Stage::Export, words), tokens);
            return None;
        }
        if opening {
            self.generation = page.generation;
        }
        match page.next {
            Some(next) => self.cursor = next,
            None => {
                (self.since, self.cursor) = (self.generation, 0);
                self.patience = self.patience.saturating_sub(1);
                if self.patience == 0 {
                    self.page_bytes = self.page_bytes.saturating_mul(4).min(MOST_PAGE_BYTES);
                }
            }
        }
        Some(Turn { is_last: opening && page.next.is_none(), page })
    }

    /// What is wrong with a page, if something is.
    fn wrong(&self, cell: &Cell, page: &Page) -> Option<&'static str> {
        let most_bytes = MOST_TIMES_MEMORY * (cell.memory_bytes() as u64).max(MEMORY_BYTES);
        if !page.entries.tokens.iter().all(|&number| cell.knows(number)) {
            Some("exports state of a token that was never given to it")
        } else if page.next == Some(0) || self.pages > MOST_PAGES || self.bytes > most_bytes {
            Some("exports state without end")
        } else {
            None
        }
    }
}
