//! Where an export goes on, in one number.
//!
//! Not stored in the engine: an export that its reader gives up leaves nothing behind. The invariant:
//! a cursor that goes on is never 0, which begins an export.

use super::MOST_TOKENS;

const GENERATION_BITS: u32 = 15;
const SLOT_BITS: u32 = 24;
const PLACE_BITS: u32 = 48;
const REMOVED: u64 = 1 << 63;

/// Generations are told apart by so many remainders; one stays free to keep cursors from being 0.
const GENERATIONS: u32 = (1 << GENERATION_BITS) - 1;

/// Where the next page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At this removal of the log.
    Removed(u64),
    /// At this token, and there at this slot's low bits or later.
    Slot(u32, u32),
}

/// An export that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The generation when it began.
    pub(super) generation: u32,
    pub(super) place: Place,
}

/// The low bits of a slot's number. A token's slots lie near each other (`grid::within_reach`), so
/// that they suffice.
pub(super) fn low_bits(slot: i64) -> u32 {
    (slot as u32) & ((1 << SLOT_BITS) - 1)
}

/// Whether a slot stands at or behind the one whose low bits are given.
pub(super) fn at_or_behind(slot: i64, low: u32) -> bool {
    let ahead = low_bits(slot).wrapping_sub(low) & ((1 << SLOT_BITS) - 1);
    ahead < 1 << (SLOT_BITS - 1)
}

impl Cursor {
    pub(super) fn encode(self) -> u64 {
        let generation = u64::from(self.generation % GENERATIONS + 1) << PLACE_BITS;
        generation
            | match self.place {
                Place::Removed(sequence) => REMOVED | sequence & ((1 << PLACE_BITS) - 1),
                Place::Slot(token, low) => u64::from(token) << SLOT_BITS | u64::from(low),
            }
    }

    /// Reads a cursor of an export that began before generation `now`.
    pub(super) fn decode(cursor: u64, now: u32) -> Self {
        let remainder = (cursor & !REMOVED) >> PLACE_BITS;
        // The latest generation before now with that remainder.
        let back = (now.wrapping_sub(1) % GENERATIONS + GENERATIONS + 1 - remainder as u32) % GENERATIONS;
        let place = cursor & ((1 << PLACE_BITS) - 1);
        Self {
            generation: now.saturating_sub(1).saturating_sub(back),
            place: if cursor & REMOVED != 0 {
                Place::Removed(place)
            } else {
                Place::Slot((place >> SLOT_BITS) as u32, place as u32 & ((1 << SLOT_BITS) - 1))
            },
        }
    }
}

const _: () = assert!(MOST_TOKENS as u64 == 1 << (PLACE_BITS - SLOT_BITS));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Cursor, Place, at_or_behind, low_bits};

    proptest! {
        #[test]
        fn a_cursor_comes_back(
            generation in 1u32..200_000, later in 1u32..30_000, token in 0u32..1 << 24, low in 0u32..1 << 24
        ) {
            for place in [Place::Slot(token, low), Place::Removed(u64::from(low) << 20)] {
                let cursor = Cursor { generation, place };
                prop_assert_ne!(cursor.encode(), 0);
                prop_assert_eq!(Cursor::decode(cursor.encode(), generation + later), cursor);
            }
        }

        #[test]
        fn any_number_decodes_without_panic(cursor: u64, now: u32) {
            Cursor::decode(cursor, now);
        }

        #[test]
        fn near_slots_keep_their_order(slot in -1i64 << 40..1 << 40, distance in 0i64..1 << 23) {
            prop_assert!(at_or_behind(slot + distance, low_bits(slot)));
            prop_assert!(distance == 0 || !at_or_behind(slot - distance, low_bits(slot)));
        }
    }
}
