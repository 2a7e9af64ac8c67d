//! Which of a slot's sixty panes have trades, and where they stand: one word instead of a search.
//!
//! Panes with trades lie one behind the other, so a pane's place is the number of those before it. The invariant: an
//! index is below sixty.

use super::grid::PANES_PER_SLOT;

/// A bit for each pane that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Present(u64);

impl Present {
    /// Adds the pane of an index.
    pub(super) fn add(&mut self, index: u8) {
        self.0 |= 1 << index;
    }

    /// Adds the pane of an index that must lie behind all others; says whether it does, and can be one at all.
    pub(super) fn append(&mut self, index: u8) -> bool {
        let fits = i64::from(index) < PANES_PER_SLOT && self.0 >> index == 0;
        if fits {
            self.add(index);
        }
        fits
    }

    /// Whether the pane of an index is there.
    pub(super) fn has(self, index: u8) -> bool {
        self.0 >> index & 1 != 0
    }

    /// How many there are.
    pub(super) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Where the pane of an index stands, or would.
    pub(super) fn place(self, index: u8) -> usize {
        Self(self.0 & ((1 << index) - 1)).len()
    }

    /// The first one, where there is any.
    pub(super) fn first(self) -> Option<u8> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as u8)
    }

    /// Those behind an index.
    pub(super) fn behind(self, index: u8) -> Self {
        Self(self.0 & (u64::MAX << index << 1))
    }

    /// The indexes, in order of time.
    pub(super) fn indexes(self) -> impl Iterator<Item = u8> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let first = rest.first()?;
            rest = rest.behind(first);
            Some(first)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Present;

    proptest! {
        #[test]
        fn it_is_a_set_in_order(indexes in proptest::collection::btree_set(0u8..60, 0..60), index in 0u8..60) {
            let mut present = Present::default();
            indexes.iter().for_each(|&index| present.add(index));
            prop_assert_eq!(present.indexes().collect::<BTreeSet<u8>>(), indexes.clone());
            prop_assert_eq!(present.len(), indexes.len());
            prop_assert_eq!(present.has(index), indexes.contains(&index));
            prop_assert_eq!(present.place(index), indexes.range(..index).count());
            prop_assert_eq!(present.first(), indexes.first().copied());
            let behind: Vec<u8> = indexes.range(index + 1..).copied().collect();
            prop_assert_eq!(present.behind(index).indexes().collect::<Vec<_>>(), behind);
            prop_assert_eq!(present.append(index), indexes.last().is_none_or(|&last| last < index));
        }
    }

    #[test]
    fn an_index_that_no_pane_can_have_is_refused() {
        for index in [60, 63] {
            assert!(!Present::default().append(index));
        }
    }
}
