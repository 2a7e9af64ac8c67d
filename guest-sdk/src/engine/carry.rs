//! Taking state out and putting it in: checkpoints, recovery, swaps.
//!
//! Not for the form of a pane (see [`crate::Pack`]). The invariant: whatever changes after the first
//! page of an export carries a later generation, so a reader that comes again misses nothing.

use super::cursor::{Cursor, Place, at_or_behind, low_bits};
use super::slot::Slot;
use super::{Engine, MOST_TOKENS};
use crate::contract::{Entries, NewToken, Page, Removals};
use crate::pane::Pane;

/// What an entry takes besides its bytes.
const ENTRY_BYTES: usize = 16;

impl<P: Pane> Engine<P> {
    /// Gives a page of the state that changed after a generation, as the contract says.
    pub fn export(&mut self, since: u64, cursor: u64, max_bytes: u32) -> Page {
        let since = u32::try_from(since).unwrap_or(u32::MAX);
        let begun =
            if cursor == 0 { self.begin_export(since) } else { Cursor::decode(cursor, self.generation) };
        let mut page = Page { generation: u64::from(begun.generation), ..Page::default() };
        let max_bytes = max_bytes as usize;
        let next = match begun.place {
            Place::Removed(sequence) => self
                .removed_page(sequence, max_bytes, &mut page.removed)
                .or_else(|| self.slots_page(since, (0, None), max_bytes, &mut page.entries)),
            Place::Slot(token, low) => {
                self.slots_page(since, (token, Some(low)), max_bytes, &mut page.entries)
            }
        };
        page.next = next.map(|place| Cursor { place, ..begun }.encode());
        page
    }

    /// Closes a generation.
    fn begin_export(&mut self, since: u32) -> Cursor {
        let generation = self.generation;
        self.generation = generation.saturating_add(1);
        let place = match since {
            // Everything, for a reader that has nothing which could have gone away.
            0 => Place::Removed(self.removed.end()),
            _ => Place::Removed(self.removed.first_after(since)),
        };
        Cursor { generation, place }
    }

    /// Fills a page with removals; gives where the next begins, if there are more.
    fn removed_page(&self, sequence: u64, max_bytes: usize, page: &mut Removals) -> Option<Place> {
        for (sequence, removal) in self.removed.from(sequence) {
            if page.tokens.len() * ENTRY_BYTES >= max_bytes.max(1) {
                return Some(Place::Removed(sequence));
            }
            // What came back is an entry; reporting it as removed too would delete it.
            if !self.has_slot(removal.token, removal.slot) {
                page.tokens.push(removal.token);
                page.slots.push(removal.slot.cast_unsigned());
            }
        }
        None
    }

    /// Fills a page with slots; gives where the next begins, if there are more.
    fn slots_page(
        &self,
        since: u32,
        (first, low): (u32, Option<u32>),
        max_bytes: usize,
        page: &mut Entries,
    ) -> Option<Place> {
        for (token, track) in self.tracks_from(first) {
            if track.changed <= since {
                continue;
            }
            let low = low.filter(|_| token == first);
            for slot in &track.slots {
                let passed = low.is_some_and(|low| !at_or_behind(slot.number, low));
                if passed || slot.changed <= since {
                    continue;
                }
                let bytes = page.bytes.len() + page.tokens.len() * ENTRY_BYTES;
                if bytes >= max_bytes.max(1) {
                    return Some(Place::Slot(token, low_bits(slot.number)));
                }
                slot.pack(&mut page.bytes);
                page.tokens.push(token);
                page.slots.push(slot.number.cast_unsigned());
                page.ends.push(page.bytes.len() as u32);
            }
        }
        None
    }

    /// Whether a slot exists.
    fn has_slot(&self, token: u32, number: i64) -> bool {
        self.track(token).is_some_and(|track| {
            let at = track.position(number);
            track.slots.get(at).is_some_and(|s| s.number == number)
        })
    }

    /// Lets the engine forget which slots were removed up to a generation.
    pub fn trim(&mut self, generation: u64) {
        let generation = u32::try_from(generation).unwrap_or(u32::MAX);
        self.removed.trim(generation);
    }

    /// Replaces slots by these, then deletes the removed ones. All these tokens count as changed.
    ///
    /// # Errors
    /// Says in words what is wrong with the state; nothing was taken then.
    pub fn import(
        &mut self,
        new_tokens: &[NewToken],
        entries: &Entries,
        removed: &Removals,
    ) -> Result<(), String> {
        let slots = self.checked(entries)?;
        if removed.tokens.len() != removed.slots.len() {
            return Err("the columns of the removals are not equally long".to_owned());
        }
        for token in new_tokens {
            self.announce(token.id);
        }
        for (&token, slot) in entries.tokens.iter().zip(slots) {
            self.announce(token);
            self.replace(token, slot)?;
        }
        for (&token, &slot) in removed.tokens.iter().zip(&removed.slots) {
            self.delete(token, slot.cast_signed());
        }
        Ok(())
    }

    /// Reads all entries, so that a fault in the last one leaves the state as it was.
    fn checked(&self, entries: &Entries) -> Result<Vec<Slot<P>>, String> {
        let pieces = entries.tokens.len();
        if entries.slots.len() != pieces || entries.ends.len() != pieces {
            return Err("the columns of the entries are not equally long".to_owned());
        }
        let mut slots = Vec::with_capacity(pieces);
        let mut begin = 0;
        for (at, &token) in entries.tokens.iter().enumerate() {
            let end = entries.ends[at] as usize;
            let number = entries.slots[at].cast_signed();
            let slot = entries
                .bytes
                .get(begin..end)
                .filter(|_| token < MOST_TOKENS && self.grid.holds(number))
                .and_then(|bytes| Slot::from_packed(number, bytes, self.generation))
                .ok_or_else(|| format!("slot {number} of token {token} is no packed slot"))?;
            slots.push(slot);
            begin = end;
        }
        Ok(slots)
    }

    /// Puts a slot in its place.
    fn replace(&mut self, token: u32, slot: Slot<P>) -> Result<(), String> {
        let generation = self.generation;
        let Some(track) = self.track_mut(token) else {
            return Err(format!("there is no token {token}"));
        };
        if !track.reaches(slot.number) {
            let number = slot.number;
            return Err(format!("slot {number} of token {token} is too far from its others"));
        }
        track.changed = generation;
        track.drop_stretches();
        let at = track.position(slot.number);
        match track.slots.get_mut(at) {
            Some(old) if old.number == slot.number => *old = slot,
            _ => track.slots.insert(at, slot),
        }
        self.mark(token);
        Ok(())
    }

    /// Deletes a slot, where there is one.
    fn delete(&mut self, token: u32, number: i64) {
        if !self.has_slot(token, number) {
            return;
        }
        if let Some(track) = self.track_mut(token) {
            let at = track.position(number);
            track.slots.remove(at);
            track.drop_stretches();
        }
        self.log_removed(token, number);
        self.mark(token);
    }
}
