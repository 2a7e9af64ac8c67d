//! What consecutive sealed slots of one token come to, remembered.
//!
//! Each window has the stretch of whole slots between its edge and the next shorter window's. When an edge moves
//! on, the stretch is merged anew: from blocks of [`BLOCK`] slots, which stay as they are while edges move, so that a
//! window of a day costs little more than one of an hour. Not for slots that may change: whoever opens, adds or
//! deletes one of these drops everything here. The invariant: what is remembered is found by the numbers of its first
//! and last slot, and holds all slots that the token has between them.

use std::ops::Range;

use super::slot::Slot;
use crate::pane::Pane;

/// The numbers of slots in a block; an hour has one at most.
const BLOCK: i64 = 32;
/// Blocks with so few slots are merged anew.
const FEW: usize = 2;

/// The stretches and blocks of one token.
pub(super) struct Stretches<P> {
    /// For each window, shortest first.
    windows: Vec<Option<Stretch<P>>>,
    /// Oldest first.
    blocks: Vec<Stretch<P>>,
}

/// Consecutive slots as one pane.
pub(super) struct Stretch<P> {
    /// The numbers of the oldest and the newest slot.
    ends: (i64, i64),
    pub(super) oldest_pane: i64,
    pub(super) pane: P,
}

impl<P: Pane> Stretch<P> {
    /// What slots were merged into.
    fn of(slots: &[Slot<P>], pane: P) -> Self {
        Self { ends: ends(slots), oldest_pane: slots[0].oldest_pane(), pane }
    }
}

impl<P> Default for Stretches<P> {
    fn default() -> Self {
        Self { windows: Vec::new(), blocks: Vec::new() }
    }
}

impl<P: Pane> Stretches<P> {
    /// Gives the stretch of a window, which has these slots of all that the token has. `cut` says that a shorter
    /// window's edge lies in the newest of them.
    pub(super) fn get(
        &mut self,
        window: usize,
        slots: &mut [Slot<P>],
        range: Range<usize>,
        cut: bool,
    ) -> &Stretch<P> {
        if self.windows.len() <= window {
            self.windows.resize_with(window + 1, || None);
        }
        let ends = ends(&slots[range.clone()]);
        let known = self.windows[window].take().filter(|known| known.ends == ends);
        let stretch = known.unwrap_or_else(|| self.merge(slots, range, cut));
        self.windows[window].insert(stretch)
    }

    fn merge(&mut self, slots: &mut [Slot<P>], range: Range<usize>, cut: bool) -> Stretch<P> {
        let oldest = slots[0].number;
        self.blocks.retain(|block| block.ends.0 >= oldest);
        let Range { start, end } = range;
        // The suffixes of a slot with an edge are kept, as long as it is asked for by itself.
        let uncut = if cut { end - 1 } else { end };
        let mut pane = P::default();
        let mut at = start;
        while at < end {
            match whole_block(slots, at).filter(|&next| next <= uncut && next - at > FEW) {
                Some(next) => {
                    pane.merge(&self.block(&mut slots[at..next]).pane);
                    at = next;
                }
                None => {
                    pane.merge(&slots[at].whole(cut && at == end - 1));
                    at += 1;
                }
            }
        }
        Stretch::of(&slots[start..end], pane)
    }

    /// Gives all slots of a block as one.
    fn block(&mut self, slots: &mut [Slot<P>]) -> &Stretch<P> {
        let ends = ends(slots);
        let at = self.blocks.partition_point(|block| block.ends < ends);
        if self.blocks.get(at).is_none_or(|block| block.ends != ends) {
            let mut pane = P::default();
            slots.iter_mut().for_each(|slot| pane.merge(&slot.whole(false)));
            self.blocks.insert(at, Stretch::of(slots, pane));
        }
        &self.blocks[at]
    }
}

/// The numbers of the first and the last slot of some.
fn ends<P>(slots: &[Slot<P>]) -> (i64, i64) {
    (slots[0].number, slots[slots.len() - 1].number)
}

/// Where the block ends that begins at a slot; none where it may begin before, or get a slot at its end. One with the
/// token's oldest slot is about to lose that.
fn whole_block<P: Pane>(slots: &[Slot<P>], at: usize) -> Option<usize> {
    let block = |slot: &Slot<P>| slot.number.div_euclid(BLOCK);
    let number = block(&slots[at]);
    if block(&slots[at.checked_sub(1)?]) == number {
        return None;
    }
    let next = at + slots[at..].partition_point(|slot| block(slot) == number);
    (next < slots.len()).then_some(next)
}
