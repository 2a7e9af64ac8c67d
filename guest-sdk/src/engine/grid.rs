//! Where a time lies: which pane, which slot.
//!
//! Not for windows' contents. The invariant: all arithmetic stays far from overflow, because times
//! beyond [`FARTHEST_MS`] are refused at the door.

use crate::windows::Windows;

/// Panes in a slot; a slot is the unit of sealing, export and caching.
pub(super) const PANES_PER_SLOT: i64 = 60;

/// The farthest time from 1970 in either direction, about a million years.
const FARTHEST_MS: i64 = 1 << 55;

/// How far apart in slots the trades of one token may lie; export cursors rely on it.
const FARTHEST_SLOTS: i64 = 1 << 23;

/// One window in the engine's terms.
pub(super) struct Span {
    /// Its length in panes.
    pub(super) panes: i64,
    /// Its place in configured order.
    pub(super) group: usize,
}

/// The lattice of panes and slots.
pub(super) struct Grid {
    resolution_ms: i64,
    slot_ms: i64,
    /// Shortest first.
    pub(super) spans: Vec<Span>,
}

impl Grid {
    pub(super) fn new(windows: &Windows) -> Self {
        let resolution_ms = windows.resolution_ms().cast_signed();
        let mut spans: Vec<_> = windows
            .list()
            .iter()
            .enumerate()
            .map(|(group, window)| Span { panes: window.length_ms.cast_signed() / resolution_ms, group })
            .collect();
        spans.sort_by_key(|span| span.panes);
        Self { resolution_ms, slot_ms: resolution_ms * PANES_PER_SLOT, spans }
    }

    /// The longest window in panes.
    pub(super) fn longest(&self) -> i64 {
        self.spans.last().map_or(0, |span| span.panes)
    }

    /// Gives the pane of a clock, which is held within reach.
    pub(super) fn clock_pane(&self, clock_ms: i64) -> i64 {
        clock_ms.clamp(-FARTHEST_MS, FARTHEST_MS).div_euclid(self.resolution_ms)
    }

    /// Gives the slot of a trade, or none where the time is absurd.
    pub(super) fn slot_of(&self, time_ms: i64) -> Option<i64> {
        let reachable = (-FARTHEST_MS..=FARTHEST_MS).contains(&time_ms);
        reachable.then(|| time_ms.div_euclid(self.slot_ms))
    }

    /// Gives how far behind the beginning of a slot a time lies, if it lies in it.
    #[inline]
    pub(super) fn offset_in(&self, slot: i64, time_ms: i64) -> Option<i64> {
        let offset_ms = time_ms.wrapping_sub(slot * self.slot_ms);
        (0..self.slot_ms).contains(&offset_ms).then_some(offset_ms)
    }

    /// Splits an offset within a slot into the pane's index and the rest in milliseconds.
    #[inline]
    pub(super) fn split(&self, offset_ms: i64) -> (u8, u32) {
        // Division by a constant is a multiplication, and nearly everybody has this resolution.
        let index = if self.resolution_ms == 1000 {
            i64::from(offset_ms as u32 / 1000)
        } else {
            offset_ms / self.resolution_ms
        };
        (index as u8, (offset_ms - index * self.resolution_ms) as u32)
    }

    /// Whether a slot's number is one that a trade can have.
    pub(super) fn holds(&self, slot: i64) -> bool {
        let farthest = FARTHEST_MS / self.slot_ms;
        (-farthest..=farthest).contains(&slot)
    }
}

/// Whether two slots may belong to one token.
pub(super) fn within_reach(one: i64, other: i64) -> bool {
    (one - other).abs() < FARTHEST_SLOTS
}

#[cfg(test)]
mod tests {
    use super::Grid;
    use crate::windows::Windows;

    #[test]
    fn times_before_1970_floor_like_all_others() {
        for resolution_ms in [1000, 250] {
            let grid = Grid::new(&Windows::parse("1min", resolution_ms).unwrap());
            for time_ms in [-120_001, -1, 0, 1, 59_999, 60_000, 1_700_000_123_456] {
                let slot = grid.slot_of(time_ms).unwrap();
                let offset = grid.offset_in(slot, time_ms).unwrap();
                let (index, rest) = grid.split(offset);
                let pane = slot * 60 + i64::from(index);
                assert_eq!(pane, grid.clock_pane(time_ms));
                let resolution_ms = resolution_ms.cast_signed();
                assert_eq!(pane * resolution_ms + i64::from(rest), time_ms);
                assert_eq!(grid.offset_in(slot + 1, time_ms), None);
            }
        }
    }

    #[test]
    fn absurd_times_have_no_slot() {
        let grid = Grid::new(&Windows::parse("1min", 1).unwrap());
        assert_eq!(grid.slot_of(i64::MAX), None);
        assert_eq!(grid.slot_of(i64::MIN), None);
        assert!(grid.clock_pane(i64::MIN) < 0);
        assert!(!grid.holds(i64::MIN) && grid.holds(0));
    }
}
