//! The window engine: panes per token, and windows of every length over them.
//!
//! Not for any particular metric (that is a [`Pane`]) and not for the contract's calls (that is
//! [`PanePlugin`](crate::PanePlugin)). The invariant: the cost of a trade does not depend on windows;
//! all window work happens in [`Engine::flush`], for tokens that changed or whose windows moved.

mod carry;
mod cursor;
mod expiries;
mod grid;
mod present;
mod removed;
mod slot;
mod stretch;
mod track;

use std::collections::VecDeque;

use crate::contract::{Batch, Table};
use crate::fault;
use crate::field::Rows;
use crate::pane::Pane;
use crate::trade::{Columns, Trade};
use crate::windows::Windows;
use expiries::Expiries;
use grid::Grid;
use removed::Removed;
use track::{NEVER, Track};

/// Token numbers are below this, so that an absurd one cannot take gigabytes.
pub const MOST_TOKENS: u32 = 1 << 24;

/// Sliding windows of one metric over the tokens of one shard.
pub struct Engine<P> {
    grid: Grid,
    /// By token number.
    tracks: Vec<Option<Box<Track<P>>>>,
    /// How many tracks there are.
    tokens: usize,
    /// Tokens that wait for a flush, in the order in which they changed; a token that was forgotten
    /// meanwhile is skipped.
    dirty: VecDeque<u32>,
    expiries: Expiries,
    /// The latest pane of the clock; none before the first flush.
    clock_pane: Option<i64>,
    /// The newest pane that no window can hold any more.
    expired_pane: i64,
    /// Rises with every export; stamps changes.
    generation: u32,
    removed: Removed,
    /// Trades that no window could hold, since the last flush.
    late_trades: u64,
    /// Trades of tokens that nobody introduced, since the last flush.
    unknown_trades: u64,
    /// Where slots are packed; kept for its memory.
    scratch: Vec<u8>,
}

impl<P: Pane> Engine<P> {
    /// Makes an engine without any trade.
    #[must_use]
    pub fn new(windows: &Windows) -> Self {
        Self {
            grid: Grid::new(windows),
            tracks: Vec::new(),
            tokens: 0,
            dirty: VecDeque::new(),
            expiries: Expiries::default(),
            clock_pane: None,
            expired_pane: i64::MIN,
            generation: 1,
            removed: Removed::default(),
            late_trades: 0,
            unknown_trades: 0,
            scratch: Vec::new(),
        }
    }

    /// Introduces a token; an absurd number is ignored. The token counts as changed, so that it is
    /// forgotten in order when none of its trades is taken.
    pub fn announce(&mut self, token: u32) {
        let at = token as usize;
        if token >= MOST_TOKENS {
            return;
        }
        if self.tracks.len() <= at {
            self.tracks.resize_with(at + 1, || None);
        }
        if self.tracks[at].is_none() {
            self.tracks[at] = Some(Box::new(Track::new()));
            self.tokens += 1;
            self.mark(token);
        }
    }

    /// Adds one trade of a token that was introduced.
    #[inline]
    pub fn add(&mut self, token: u32, trade: Trade<'_>) {
        let Some(Some(track)) = self.tracks.get_mut(token as usize) else {
            self.unknown_trades += 1;
            return;
        };
        if !track.add(&self.grid, self.expired_pane, self.generation, trade) {
            self.late_trades += 1;
        } else if !track.dirty {
            track.dirty = true;
            self.dirty.push_back(token);
        }
    }

    /// Adds the trades of a batch.
    pub fn process(&mut self, batch: &Batch) {
        for token in &batch.new_tokens {
            self.announce(token.id);
        }
        let columns = Columns::of(batch);
        for (row, &token) in columns.tokens.iter().enumerate() {
            fault::at_row(row as u32);
            self.add(token, columns.trade(row));
        }
        fault::clear();
    }

    /// Gives the rows that changed by trades or by the clock, at most `max_rows` of them, in the order
    /// in which tokens changed. The clock never goes back; an earlier one counts as the latest.
    pub fn flush(&mut self, clock_ms: i64, max_rows: u32) -> Table {
        let clock_pane = self.grid.clock_pane(clock_ms);
        let clock_pane = self.clock_pane.map_or(clock_pane, |last| last.max(clock_pane));
        self.clock_pane = Some(clock_pane);
        self.expired_pane = clock_pane - self.grid.longest();
        self.mark_due(clock_pane);
        let mut rows = Rows::new(P::FIELDS, self.grid.spans.len());
        let mut table = Table::default();
        while table.tokens.len() < max_rows as usize
            && let Some(token) = self.dirty.pop_front()
        {
            // Forgotten since it changed, or listed twice because it came back.
            if !self.track(token).is_some_and(|track| track.dirty) {
                continue;
            }
            table.tokens.push(token);
            if !self.settle(token, clock_pane, &mut rows) {
                table.forgotten.push(token);
            }
        }
        table.columns = rows.finish();
        table.more = !self.dirty.is_empty();
        table
    }

    /// Marks the tokens whose windows moved.
    fn mark_due(&mut self, clock_pane: i64) {
        while let Some((pane, token)) = self.expiries.pop_due(clock_pane) {
            if let Some(track) = self.track_mut(token)
                && track.next_expiry == pane
            {
                track.next_expiry = NEVER;
                self.mark(token);
            }
        }
        if self.expiries.is_bloated(self.tokens) {
            let live = (0..).zip(&self.tracks).filter_map(|(token, track)| {
                let track = track.as_ref().filter(|t| t.next_expiry != NEVER)?;
                Some((track.next_expiry, token))
            });
            self.expiries.rebuild(live);
        }
    }

    /// Writes a token's row; says whether the token lives on.
    fn settle(&mut self, token: u32, clock_pane: i64, rows: &mut Rows) -> bool {
        let Some(Some(track)) = self.tracks.get_mut(token as usize) else {
            return false;
        };
        rows.begin_row();
        let settled = track.settle(&self.grid.spans, clock_pane, |span, pane| {
            let mut row = rows.group(span.group);
            match pane {
                Some(pane) => pane.write(&mut row),
                None => P::default().write(&mut row),
            }
        });
        if settled.next_expiry == NEVER {
            self.drop_track(token);
            return false;
        }
        track.dirty = false;
        track.seal(clock_pane, &mut self.scratch);
        if track.next_expiry != settled.next_expiry {
            track.next_expiry = settled.next_expiry;
            self.expiries.push(settled.next_expiry, token);
        }
        if settled.expired_slots > 0 {
            let expired: Vec<_> = track.slots.drain(..settled.expired_slots).collect();
            for slot in expired {
                self.log_removed(token, slot.number);
            }
        }
        true
    }

    /// Counts a token as changed.
    fn mark(&mut self, token: u32) {
        if let Some(Some(track)) = self.tracks.get_mut(token as usize)
            && !track.dirty
        {
            track.dirty = true;
            self.dirty.push_back(token);
        }
    }

    /// Counts these tokens as changed, or all of them; unknown ones are ignored.
    pub fn touch(&mut self, tokens: Option<&[u32]>) {
        match tokens {
            Some(tokens) => tokens.iter().for_each(|&token| self.mark(token)),
            None => (0..self.tracks.len() as u32).for_each(|token| self.mark(token)),
        }
    }

    /// Drops all state of these tokens; unknown ones are ignored.
    pub fn forget(&mut self, tokens: &[u32]) {
        tokens.iter().for_each(|&token| self.drop_track(token));
    }

    /// How many tokens have state.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Takes the number of trades that no window could hold, since it was last taken.
    pub fn take_late_trades(&mut self) -> u64 {
        std::mem::take(&mut self.late_trades)
    }

    /// Takes the number of trades of tokens that nobody introduced, since it was last taken.
    pub fn take_unknown_trades(&mut self) -> u64 {
        std::mem::take(&mut self.unknown_trades)
    }

    fn drop_track(&mut self, token: u32) {
        let track = self.tracks.get_mut(token as usize).and_then(Option::take);
        if let Some(track) = track {
            self.tokens -= 1;
            for slot in track.slots {
                self.log_removed(token, slot.number);
            }
        }
    }

    /// Remembers a removal; before the first export nobody can miss the slot.
    fn log_removed(&mut self, token: u32, slot: i64) {
        if self.generation > 1 {
            self.removed.push(self.generation, token, slot);
        }
    }

    fn track(&self, token: u32) -> Option<&Track<P>> {
        self.tracks.get(token as usize)?.as_deref()
    }

    fn track_mut(&mut self, token: u32) -> Option<&mut Track<P>> {
        self.tracks.get_mut(token as usize)?.as_deref_mut()
    }

    /// Gives the tracks from a token number on.
    fn tracks_from(&self, first: u32) -> impl Iterator<Item = (u32, &Track<P>)> {
        let tracks = self.tracks.get(first as usize..).unwrap_or(&[]);
        (first..).zip(tracks).filter_map(|(token, track)| Some((token, track.as_deref()?)))
    }
}
