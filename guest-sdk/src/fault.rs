//! Which trade is being processed, so that a panic can name the one that kills.
//!
//! Not error handling: a plugin that panics is dead, and the host suspends it while the others go on.
//! The invariant: noting a row costs one store.

use std::cell::Cell;

/// Stands for no row.
const NONE: u32 = u32::MAX;

thread_local! {
    static ROW: Cell<u32> = const { Cell::new(NONE) };
}

/// Notes the row of the current batch that is processed next.
///
/// The pane level does it by itself; an author of a raw [`Plugin`](crate::Plugin) calls it for each
/// trade.
#[inline]
pub fn at_row(row: u32) {
    ROW.set(row);
}

/// Notes that no row is being processed.
#[inline]
pub fn clear() {
    ROW.set(NONE);
}

/// Gives the row that is being processed.
#[must_use]
pub fn row() -> Option<u32> {
    Some(ROW.get()).filter(|&row| row != NONE)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_noted_row_is_known_until_cleared() {
        super::at_row(3);
        assert_eq!(super::row(), Some(3));
        super::clear();
        assert_eq!(super::row(), None);
    }
}
