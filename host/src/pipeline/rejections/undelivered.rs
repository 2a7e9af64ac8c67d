//! Which dead letters the broker does not have yet, so that no checkpoint passes them.
//!
//! Not for the letters themselves. Invariant: a place is here from the moment of rejecting until the broker has
//! the letter, first as its record's, then as its own.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The places of dead letters that the broker does not have yet: those of letters that were made, and
/// those of records of which not all letters are made.
#[derive(Debug, Clone, Default)]
pub struct Undelivered(Arc<Mutex<Places>>);

/// See [`Undelivered`].
#[derive(Debug, Default)]
struct Places {
    /// Partition, offset and index; each leaves when the broker has the letter.
    letters: BTreeSet<(i32, i64, u32)>,
    /// Partition and offset, and how often the record waits: with several workers, or twice with one.
    records: BTreeMap<(i32, i64), usize>,
}

impl Undelivered {
    fn with<R>(&self, act: impl FnOnce(&mut Places) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that the broker has a letter.
    pub fn delivered(&self, place: (i32, i64, u32)) {
        self.with(|places| places.letters.remove(&place));
    }

    /// Notes that a letter is made, and will be delivered.
    pub(super) fn made(&self, place: (i32, i64, u32)) {
        self.with(|places| places.letters.insert(place));
    }

    /// Notes that letters of a record will be made.
    pub(super) fn awaits(&self, record: (i32, i64)) {
        self.with(|places| *places.records.entry(record).or_default() += 1);
    }

    /// Notes that the letters are made that one call of `awaits` has told of.
    pub(super) fn made_all(&self, record: (i32, i64)) {
        self.with(|places| {
            if let Entry::Occupied(mut waiting) = places.records.entry(record) {
                *waiting.get_mut() -= 1;
                if *waiting.get() == 0 {
                    waiting.remove();
                }
            }
        });
    }

    /// How many records wait for their letters to be made, with all workers.
    pub(super) fn waiting(&self) -> usize {
        self.with(|places| places.records.len())
    }

    /// The first offset of a partition with something undelivered.
    pub(super) fn first(&self, partition: i32) -> Option<i64> {
        let letters = (partition, i64::MIN, 0)..=(partition, i64::MAX, u32::MAX);
        let records = (partition, i64::MIN)..=(partition, i64::MAX);
        self.with(|places| {
            let letter = places.letters.range(letters).next().map(|place| place.1);
            let record = places.records.range(records).next().map(|(place, _)| place.1);
            letter.into_iter().chain(record).min()
        })
    }
}
