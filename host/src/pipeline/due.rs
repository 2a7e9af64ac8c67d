//! How many rows a cell can have left to give.
//!
//! Not for which tokens they are of. Invariant: a plugin that gives what has changed, once, never gives more.

/// Counts rows that may come: each token has one for whatever changes it.
#[derive(Debug, Default)]
pub(super) struct Due {
    rows: usize,
    /// T of the pass under way; none before the first one and after each that was ended.
    clock_ms: Option<i64>,
}

impl Due {
    /// So many tokens have changed.
    pub(super) fn changed(&mut self, tokens: usize) {
        self.rows = self.rows.saturating_add(tokens);
    }

    /// Rows are asked for at T, with which all tokens may have changed. At the beginning of a pass each has one row,
    /// whatever has changed it before.
    pub(super) fn asked(&mut self, clock_ms: i64, tokens: usize) {
        match self.clock_ms.replace(clock_ms) {
            None => self.rows = tokens,
            Some(before_ms) if before_ms != clock_ms => self.changed(tokens),
            Some(_) => {}
        }
    }

    /// Rows were given; says whether so many could have changed.
    pub(super) fn gave(&mut self, rows: usize, more: bool) -> bool {
        let enough = rows <= self.rows;
        self.rows = self.rows.saturating_sub(rows);
        if !more {
            self.clock_ms = None;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_due_for_each_token_at_each_t_and_for_each_change() {
        let mut due = Due::default();
        due.changed(7);
        due.asked(1_000, 3);
        assert!(due.gave(2, true));
        due.asked(1_000, 3);
        due.changed(1);
        assert!(due.gave(2, true));
        due.asked(1_000, 3);
        assert!(!due.gave(1, true));
        due.asked(2_000, 3);
        assert!(due.gave(3, false));
        // A further pass, also at the same T.
        due.asked(2_000, 3);
        assert!(due.gave(3, false));
    }
}
