//! A running plugin and one in its shadow, compared row by row.
//!
//! Not for judging: numbers and examples are for people. Invariant: rows are compared only when both were
//! flushed at the same moment, and nothing here grows beyond the tokens that changed since.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

/// How many differing rows are kept as examples.
const EXAMPLES: usize = 10;
/// How much of a row an example shows.
const EXAMPLE_BYTES: usize = 2_000;
/// More rows than this do not wait for their counterparts; the oldest comparison is given up and counted.
const MOST_WAITING: usize = 100_000;

/// A moment of a shard's life: two cells that are in step have taken the same, and stand at the same T.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    /// T, unix milliseconds.
    pub(super) clock_ms: i64,
    /// How many batches the shard has taken. T alone does not tell: it may stand still while trades come.
    pub(super) batches: u64,
}

/// What comparing has come to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Comparison {
    /// Rows that were equal, byte by byte.
    pub equal_rows: u64,
    /// Rows that differed.
    pub different_rows: u64,
    /// Rows that only one of the two gave.
    pub unmatched_rows: u64,
    /// Some that differed.
    pub examples: Vec<Example>,
}

/// A row that differed.
#[derive(Debug, Clone, Serialize)]
pub struct Example {
    /// The token's address.
    pub token: String,
    /// T of the flush, unix milliseconds.
    pub clock_ms: i64,
    /// What the running plugin gave.
    pub running: String,
    /// What the one in its shadow gave.
    pub shadow: String,
}

impl Comparison {
    /// Adds what one shard has found.
    pub(super) fn add(&mut self, other: Self) {
        self.equal_rows += other.equal_rows;
        self.different_rows += other.different_rows;
        self.unmatched_rows += other.unmatched_rows;
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }
}

/// Rows of one of the two that wait for those of the other.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    rows: BTreeMap<(Moment, Arc<str>), (bool, Vec<u8>)>,
}

impl Waiting {
    /// Takes a row of one of the two; compares it if the other one's is there.
    pub(super) fn take(
        &mut self,
        shadow: bool,
        moment: Moment,
        token: &Arc<str>,
        row: &[u8],
        found: &mut Comparison,
    ) {
        let key = (moment, Arc::clone(token));
        let Some((of_shadow, other)) = self.rows.remove(&key) else {
            self.rows.insert(key, (shadow, row.to_vec()));
            while self.rows.len() > MOST_WAITING {
                self.rows.pop_first();
                found.unmatched_rows += 1;
            }
            return;
        };
        if of_shadow == shadow {
            // Written twice at one moment: the later row counts.
            self.rows.insert(key, (shadow, row.to_vec()));
        } else if other == row {
            found.equal_rows += 1;
        } else {
            found.different_rows += 1;
            if found.examples.len() < EXAMPLES {
                let text =
                    |row: &[u8]| String::from_utf8_lossy(&row[..row.len().min(EXAMPLE_BYTES)]).into_owned();
                let (running, in_shadow) = if shadow { (&other[..], row) } else { (row, &other[..]) };
                found.examples.push(Example {
                    token: token.to_string(),
                    clock_ms: moment.clock_ms,
                    running: text(running),
                    shadow: text(in_shadow),
                });
            }
        }
    }

    /// Gives up rows of earlier flushes than this one.
    pub(super) fn give_up_before(&mut self, moment: Moment, found: &mut Comparison) {
        let first: Arc<str> = "".into();
        let later = self.rows.split_off(&(moment, first));
        found.unmatched_rows += self.rows.len() as u64;
        self.rows = later;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(batches: u64) -> Moment {
        Moment { clock_ms: 1, batches }
    }

    #[test]
    fn rows_of_one_token_and_moment_are_compared_whoever_comes_first() {
        let (mut waiting, mut found) = (Waiting::default(), Comparison::default());
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        waiting.take(false, after(1), &a, b"1", &mut found);
        waiting.take(true, after(1), &b, b"2", &mut found);
        waiting.take(true, after(1), &a, b"1", &mut found);
        waiting.take(false, after(1), &b, b"3", &mut found);
        waiting.take(false, after(1), &a, b"4", &mut found);
        waiting.give_up_before(after(2), &mut found);
        assert_eq!((found.equal_rows, found.different_rows, found.unmatched_rows), (1, 1, 1));
        let example = &found.examples[0];
        assert_eq!((&*example.token, &*example.running, &*example.shadow), ("b", "3", "2"));
    }

    #[test]
    fn rows_with_a_batch_between_them_are_not_compared() {
        let (mut waiting, mut found) = (Waiting::default(), Comparison::default());
        let a: Arc<str> = "a".into();
        waiting.take(false, after(1), &a, b"1", &mut found);
        waiting.take(true, after(2), &a, b"2", &mut found);
        waiting.give_up_before(after(2), &mut found);
        assert_eq!((found.different_rows, found.unmatched_rows), (0, 1));
    }
}
