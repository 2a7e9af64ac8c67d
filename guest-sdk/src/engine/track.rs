//! The trades of one token, and what its windows come to.
//!
//! Not for finding tokens or due times. The invariant: slots stand in order of time, none twice and
//! none empty.

use std::ops::Range;

use super::grid::{Grid, PANES_PER_SLOT, Span, within_reach};
use super::slot::Slot;
use super::stretch::Stretches;
use crate::pane::Pane;
use crate::trade::Trade;

/// So few slots are passed one by one rather than remembered as one.
const FEW: usize = 2;

/// Stands for no expiry: nothing of the token will ever leave a window.
pub(super) const NEVER: i64 = i64::MAX;

/// The state of one token.
pub(super) struct Track<P> {
    /// Oldest first.
    pub(super) slots: Vec<Slot<P>>,
    /// The pane of the clock at which something leaves a window next, as found by the last settle.
    pub(super) next_expiry: i64,
    /// The generation of the last change of any slot.
    pub(super) changed: u32,
    /// Whether the token waits for a flush.
    pub(super) dirty: bool,
    /// No slot before this one is open.
    open_from: i64,
    /// What was merged across sealed slots.
    stretches: Stretches<P>,
}

/// What a settle found besides the values.
pub(super) struct Settled {
    /// How many slots, the oldest, lie wholly behind the longest window.
    pub(super) expired_slots: usize,
    /// When something leaves a window next; [`NEVER`] when all windows are empty.
    pub(super) next_expiry: i64,
}

impl<P: Pane> Track<P> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            next_expiry: NEVER,
            changed: 0,
            dirty: false,
            open_from: NEVER,
            stretches: Stretches::default(),
        }
    }

    /// Adds a trade; says whether it was taken, which it is not where no window can hold it: its pane
    /// is `expired_pane` or older, or absurdly far from the others.
    #[inline]
    pub(super) fn add(
        &mut self,
        grid: &Grid,
        expired_pane: i64,
        generation: u32,
        mut trade: Trade<'_>,
    ) -> bool {
        let newest = self.slots.last().and_then(|slot| {
            let offset_ms = grid.offset_in(slot.number, trade.time_ms)?;
            Some((self.slots.len() - 1, offset_ms))
        });
        let Some((at, offset_ms)) = newest.or_else(|| self.find(grid, expired_pane, trade.time_ms)) else {
            return false;
        };
        let (index, rest_ms) = grid.split(offset_ms);
        if self.slots[at].begin() + i64::from(index) <= expired_pane {
            return false;
        }
        if !self.slots[at].is_open() {
            self.drop_stretches();
            self.open_from = self.open_from.min(self.slots[at].number);
        }
        let slot = &mut self.slots[at];
        trade.offset_ms = rest_ms;
        slot.changed = generation;
        slot.pane_mut(index).add(&trade);
        self.changed = generation;
        true
    }

    /// Finds or makes the slot of a time; gives its place and the time's offset in it.
    #[cold]
    fn find(&mut self, grid: &Grid, expired_pane: i64, time_ms: i64) -> Option<(usize, i64)> {
        let number = grid.slot_of(time_ms)?;
        let offset_ms = grid.offset_in(number, time_ms)?;
        // Checked before a slot is made, so that none stays empty.
        if number * PANES_PER_SLOT + i64::from(grid.split(offset_ms).0) <= expired_pane {
            return None;
        }
        let at = self.position(number);
        if self.slots.get(at).is_none_or(|slot| slot.number != number) {
            if !self.reaches(number) {
                return None;
            }
            if at < self.slots.len() {
                self.drop_stretches();
            }
            // As many as before: a token that trades each second shall not grow its slots again and again.
            let room = at.checked_sub(1).map_or(1, |before| self.slots[before].panes());
            self.slots.insert(at, Slot::new(number, room));
            self.open_from = self.open_from.min(number);
        }
        Some((at, offset_ms))
    }

    /// Whether a slot is near enough to all others of the token.
    pub(super) fn reaches(&self, number: i64) -> bool {
        let ends = [self.slots.first(), self.slots.last()];
        ends.into_iter().flatten().all(|slot| within_reach(slot.number, number))
    }

    /// Gives the place of a slot, or where it would stand.
    pub(super) fn position(&self, number: i64) -> usize {
        // Trades mostly come in order; a search would read many cold lines.
        if self.slots.last().is_none_or(|newest| newest.number < number) {
            return self.slots.len();
        }
        self.slots.partition_point(|slot| slot.number < number)
    }

    /// Gives the windows' contents at a pane of the clock, shortest window first; none for an empty
    /// window.
    pub(super) fn settle(
        &mut self,
        spans: &[Span],
        clock_pane: i64,
        give: impl FnMut(&Span, Option<&P>),
    ) -> Settled {
        let mut walk = Walk { give, newer: None, oldest_pane: NEVER, next_expiry: NEVER };
        // Slots before this one are not passed yet; the last of them may be cut by a shorter window.
        let mut passed = self.slots.len();
        let mut cut = false;
        for (at, span) in spans.iter().enumerate() {
            let tail = clock_pane - span.panes;
            let begin = self.first_behind(tail, passed);
            self.pass(at, begin..passed, cut, clock_pane, &mut walk);
            passed = begin;
            let last = begin.checked_sub(1).map(|last| &mut self.slots[last]);
            let last = last.filter(|slot| slot.end() > tail);
            cut = last.is_some();
            match last {
                Some(slot) => walk.give_cut(span, slot.after((tail - slot.begin()) as u8)),
                None => walk.give_newer(span),
            }
        }
        let longest = spans.last().map_or(0, |span| span.panes);
        let expired = |slot: &Slot<P>| slot.end() <= clock_pane - longest;
        Settled {
            expired_slots: self.slots.iter().take_while(|slot| expired(slot)).count(),
            next_expiry: walk.next_expiry,
        }
    }

    /// Gives the place of the first slot that lies wholly behind a tail, of those before `passed`.
    fn first_behind(&self, tail: i64, passed: usize) -> usize {
        self.slots[..passed].partition_point(|slot| slot.begin() <= tail)
    }

    /// Passes whole slots from the newest to the oldest, many at once where that was done before.
    /// `cut` says that a shorter window's edge lies in the newest of them.
    fn pass<G: FnMut(&Span, Option<&P>)>(
        &mut self,
        at: usize,
        slots: Range<usize>,
        mut cut: bool,
        clock_pane: i64,
        walk: &mut Walk<P, G>,
    ) {
        let Range { start, mut end } = slots;
        // Slots that the clock has not passed go one by one. All older ones are sealed after every
        // settle, so none of them changes without being opened, which drops the stretches.
        while end > start && (end - start <= FEW || self.slots[end - 1].end() >= clock_pane) {
            end -= 1;
            let slot = &mut self.slots[end];
            walk.take(slot.oldest_pane(), slot.whole(cut));
            cut = false;
        }
        if start == end {
            return;
        }
        let stretch = self.stretches.get(at, &mut self.slots, start..end, cut);
        walk.take(stretch.oldest_pane, stretch.pane.clone());
    }

    /// Drops what was merged across slots; for changes of slots that stood still.
    pub(super) fn drop_stretches(&mut self) {
        self.stretches = Stretches::default();
    }

    /// Seals the slots that the clock has passed, where trades are no longer expected.
    pub(super) fn seal(&mut self, clock_pane: i64, scratch: &mut Vec<u8>) {
        let clock_slot = clock_pane.div_euclid(PANES_PER_SLOT);
        let first = self.position(self.open_from);
        let passed = self.slots[first..].iter_mut().take_while(|slot| slot.number < clock_slot);
        passed.for_each(|slot| slot.seal(scratch));
        self.open_from = self.open_from.max(clock_slot);
    }
}

/// A walk from the newest pane to the oldest: windows are nested, so one walk serves all of them.
struct Walk<P, G> {
    give: G,
    /// All panes passed so far as one.
    newer: Option<P>,
    /// The oldest pane passed so far.
    oldest_pane: i64,
    next_expiry: i64,
}

impl<P: Pane, G: FnMut(&Span, Option<&P>)> Walk<P, G> {
    /// Gives a window what was passed so far.
    fn give_newer(&mut self, span: &Span) {
        (self.give)(span, self.newer.as_ref());
        if self.newer.is_some() {
            self.next_expiry = self.next_expiry.min(self.oldest_pane + span.panes);
        }
    }

    /// Gives a window the part of a slot behind its tail, and what was passed so far.
    fn give_cut(&mut self, span: &Span, part: Option<(i64, P)>) {
        let Some((oldest_pane, mut pane)) = part else {
            return self.give_newer(span);
        };
        if let Some(newer) = &self.newer {
            pane.merge(newer);
        }
        (self.give)(span, Some(&pane));
        self.next_expiry = self.next_expiry.min(oldest_pane + span.panes);
    }

    /// Passes older panes.
    fn take(&mut self, oldest_pane: i64, mut pane: P) {
        if let Some(newer) = &self.newer {
            pane.merge(newer);
        }
        self.newer = Some(pane);
        self.oldest_pane = oldest_pane;
    }
}
