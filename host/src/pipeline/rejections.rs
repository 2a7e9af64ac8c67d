//! What was rejected: counted by reason, the last ones readable, each handed on as a dead letter.
//!
//! Invariant: nothing is dropped silently. What cannot be handed on yet waits with the worker, which
//! then takes nothing new until it can.

mod quotes;
mod undelivered;
mod waiting;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Sender, TrySendError};
use serde::Serialize;
use serde_json::value::RawValue;

use super::batch::Records;
use crate::metrics::Metrics;
use crate::trade::Rejected;
use quotes::{Quote, Quotes, each_record};
pub use undelivered::Undelivered;
pub use waiting::Letters;
use waiting::Waiting;

/// How many rejections stay readable.
const KEPT: usize = 100;
/// How much of a rejected text stays readable.
pub(super) const QUOTE_BYTES: usize = 512;
/// With so many records waiting for their letters nothing is taken by any worker.
const MOST_WAITING: usize = 2_000;
/// How many letters are handed on in one go; a worker has other things to do meanwhile.
const LETTERS_AT_ONCE: usize = 1_024;

/// One rejected record, for people.
#[derive(Debug, Clone, Serialize)]
pub struct Rejection {
    /// The reason's label.
    pub reason: &'static str,
    /// The field that was judged; empty where it was the element or the message.
    pub field: &'static str,
    /// Where it was.
    pub partition: i32,
    /// Where it was.
    pub offset: i64,
    /// Its index in the array.
    pub index: u32,
    /// The record's timestamp in unix milliseconds.
    pub timestamp_ms: Option<i64>,
    /// The beginning of its text.
    pub record: String,
}

/// A rejected record on its way to the dead-letter topic.
#[derive(Debug)]
pub struct DeadLetter {
    /// The reason's label.
    pub reason: &'static str,
    /// Where it was.
    pub partition: i32,
    /// Where it was.
    pub offset: i64,
    /// Its index in the array.
    pub index: u32,
    /// The record's timestamp in unix milliseconds.
    pub timestamp_ms: Option<i64>,
    /// The element's own text, or the whole message where that was rejected.
    pub payload: Vec<u8>,
    /// Where it was read: partition, offset and index. The same as where it was, but where the feed is
    /// repartitioned.
    pub read_at: (i32, i64, u32),
}

/// Where rejections go.
pub struct Rejections {
    metrics: Arc<Metrics>,
    last: Mutex<VecDeque<Rejection>>,
    dead_letters: Option<Sender<DeadLetter>>,
    undelivered: Undelivered,
    /// The workers' records are parcels, not messages.
    parcels: bool,
}

impl Rejections {
    /// Keeps the last rejections, and hands on dead letters where there is a topic for them.
    pub fn new(
        metrics: Arc<Metrics>,
        dead_letters: Option<Sender<DeadLetter>>,
        undelivered: Undelivered,
    ) -> Self {
        Self { metrics, last: Mutex::default(), dead_letters, undelivered, parcels: false }
    }

    /// The same for workers whose records are parcels.
    #[must_use]
    pub fn of_parcels(self) -> Self {
        Self { parcels: true, ..self }
    }

    /// The first offset of a partition with a dead letter that the broker does not have yet.
    pub fn first_undelivered(&self, partition: i32) -> Option<i64> {
        self.undelivered.first(partition)
    }

    /// Whether no worker should take anything new: one may take nothing itself and yet be given late trades by the others.
    pub fn are_congested(&self) -> bool {
        self.dead_letters.is_some() && self.undelivered.waiting() > MOST_WAITING
    }

    /// Counts the rejections of a batch; those whose dead letters could not be handed on yet wait in `letters`.
    pub fn reject(
        &self,
        partition: i32,
        records: &dyn Records,
        // Taken and not lent, so that the memory of a flood goes with it.
        mut rejected: Vec<Rejected>,
        letters: &mut Letters,
    ) {
        self.count_each(partition, records, &mut rejected, self.parcels, |quotes, of_record| {
            if self.dead_letters.is_some() {
                letters.add(Waiting::new(quotes, of_record), &self.undelivered);
            }
        });
        self.hand_on(letters);
    }

    /// Counts the rejections of a batch of messages whose dead letters go another way.
    pub fn count(&self, partition: i32, records: &dyn Records, rejected: &mut [Rejected]) {
        self.count_each(partition, records, rejected, false, |_, _| ());
    }

    /// Counts the rejections of a batch, and passes on what was rejected of each record.
    fn count_each(
        &self,
        partition: i32,
        records: &dyn Records,
        rejected: &mut [Rejected],
        parcels: bool,
        mut pass_on: impl FnMut(&mut Quotes<'_>, &[Rejected]),
    ) {
        // The last ones of the batch push these out of what stays readable.
        let mut unread = rejected.len().saturating_sub(KEPT);
        each_record(partition, records, rejected, parcels, |mut quotes, of_record| {
            of_record.iter().for_each(|one| self.metrics.rejected(one.reason).inc());
            let skipped = unread.min(of_record.len());
            unread -= skipped;
            for one in &of_record[skipped..] {
                self.keep(one, &quotes.quote(one));
            }
            pass_on(&mut quotes, of_record);
        });
    }

    fn keep(&self, rejected: &Rejected, quote: &Quote<'_>) {
        let text = &quote.text[..quote.text.len().min(QUOTE_BYTES)];
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(Rejection {
            reason: rejected.reason.as_str(),
            field: rejected.detail(),
            partition: quote.partition,
            offset: quote.offset,
            index: quote.index,
            timestamp_ms: quote.timestamp_ms,
            record: String::from_utf8_lossy(text).into_owned(),
        });
    }

    /// Hands dead letters on, as far as their queue has room; says whether none is left.
    pub fn hand_on(&self, letters: &mut Letters) -> bool {
        let Some(queue) = &self.dead_letters else {
            return letters.is_empty();
        };
        for _ in 0..LETTERS_AT_ONCE {
            let Some(letter) = letters.take(&self.undelivered) else {
                return true;
            };
            if let Err(TrySendError::Full(letter)) = queue.try_send(letter) {
                letters.give_back(letter);
                return false;
            }
        }
        letters.is_empty()
    }

    /// The last rejections, latest first.
    pub fn last(&self) -> Vec<Rejection> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}

impl DeadLetter {
    /// Where its record was read: partition, offset and index.
    pub fn place(&self) -> (i32, i64, u32) {
        self.read_at
    }
}

/// The dead letters of a batch of messages.
pub fn letters(partition: i32, records: &dyn Records, rejected: &mut [Rejected]) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    each_record(partition, records, rejected, false, |mut quotes, of_record| {
        letters.extend(Waiting::new(&mut quotes, of_record));
    });
    letters
}

/// The elements of a message that is an array; none of any other.
pub(super) fn split(payload: &[u8]) -> Vec<&RawValue> {
    serde_json::from_slice(payload).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::Receiver;

    use super::super::batch::OwnedRecords;
    use super::*;
    use crate::trade::Reason;

    /// Rejections with a queue for so many letters, and its other end.
    struct Stand {
        rejections: Rejections,
        metrics: Arc<Metrics>,
        undelivered: Undelivered,
        queue: Receiver<DeadLetter>,
    }

    impl Stand {
        fn with_room_for(letters: usize) -> Self {
            let (sender, queue) = crossbeam_channel::bounded(letters);
            let (metrics, undelivered) = (Arc::new(Metrics::new().unwrap()), Undelivered::default());
            let rejections = Rejections::new(Arc::clone(&metrics), Some(sender), undelivered.clone());
            Self { rejections, metrics, undelivered, queue }
        }

        /// The letters that are in the queue: offset, index and text.
        fn taken(&self) -> Vec<(i64, u32, String)> {
            let told = |letter: DeadLetter| {
                (letter.offset, letter.index, String::from_utf8(letter.payload).unwrap())
            };
            self.queue.try_iter().map(told).collect()
        }
    }

    fn two_records() -> OwnedRecords {
        let first = br#"[0, 11 ,"a"]"#.to_vec();
        OwnedRecords(vec![(7, Some(70), first), (9, None, b"[2]".to_vec())])
    }

    fn element(record: u32, element: u32) -> Rejected {
        Rejected { reason: Reason::WrongType, column: None, whole: false, record, element }
    }

    #[test]
    fn letters_without_room_wait_and_are_handed_on_in_their_order() {
        let stand = Stand::with_room_for(2);
        let mut letters = Letters::default();
        let rejected = vec![element(1, 0), element(0, 2), element(0, 1), element(0, 0)];
        stand.rejections.reject(3, &two_records(), rejected, &mut letters);
        assert_eq!((letters.len(), letters.is_empty()), (2, false));
        assert!(!stand.rejections.hand_on(&mut letters));
        assert_eq!(stand.taken(), [(7, 0, "0".to_owned()), (7, 1, "11".to_owned())]);
        assert!(stand.rejections.hand_on(&mut letters));
        assert_eq!((letters.len(), letters.is_empty()), (0, true));
        assert_eq!(stand.taken(), [(7, 2, "\"a\"".to_owned()), (9, 0, "2".to_owned())]);
        assert_eq!(stand.metrics.rejected(Reason::WrongType).get(), 4);
    }

    #[test]
    fn a_letter_says_what_its_record_says_and_one_of_a_too_large_record_has_no_text() {
        let stand = Stand::with_room_for(2);
        let mut letters = Letters::default();
        let rejected = vec![Rejected::message(Reason::NotJson, 0), Rejected::message(Reason::TooLarge, 1)];
        stand.rejections.reject(3, &two_records(), rejected, &mut letters);
        let taken: Vec<DeadLetter> = stand.queue.try_iter().collect();
        let [whole, too_large] = taken.as_slice() else { panic!("{taken:?}") };
        assert_eq!((whole.reason, whole.partition, whole.timestamp_ms), ("not_json", 3, Some(70)));
        assert_eq!((whole.read_at, &*whole.payload), ((3, 7, 0), &br#"[0, 11 ,"a"]"#[..]));
        assert_eq!((too_large.reason, too_large.offset, too_large.payload.len()), ("too_large", 9, 0));
    }

    #[test]
    fn the_first_undelivered_offset_is_known_before_the_letters_are_made() {
        let stand = Stand::with_room_for(1);
        let mut letters = Letters::default();
        let rejected = vec![element(0, 0), element(0, 2), element(1, 0)];
        stand.rejections.reject(3, &two_records(), rejected, &mut letters);
        assert_eq!(stand.rejections.first_undelivered(4), None);
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(stand.rejections.first_undelivered(3));
            let letter = stand.queue.try_recv().unwrap();
            stand.undelivered.delivered(letter.place());
            stand.rejections.hand_on(&mut letters);
        }
        assert_eq!(seen, [Some(7), Some(7), Some(9)]);
        assert_eq!((stand.rejections.first_undelivered(3), letters.is_empty()), (None, true));
    }

    #[test]
    fn a_record_that_waits_with_two_workers_is_undelivered_until_both_have_made_its_letters() {
        let stand = Stand::with_room_for(1);
        let mut waiting = [Letters::default(), Letters::default()];
        let rejected = [vec![element(0, 0), element(0, 1)], vec![element(0, 2)]];
        for (letters, rejected) in waiting.iter_mut().zip(rejected) {
            stand.rejections.reject(3, &two_records(), rejected, letters);
        }
        let mut delivered = 0;
        while delivered < 3 {
            assert_eq!(stand.rejections.first_undelivered(3), Some(7));
            for letter in stand.queue.try_iter() {
                stand.undelivered.delivered(letter.place());
                delivered += 1;
            }
            for letters in &mut waiting {
                stand.rejections.hand_on(letters);
            }
        }
        assert!(waiting.iter().all(Letters::is_empty));
        assert_eq!(stand.rejections.first_undelivered(3), None);
    }

    #[test]
    fn of_a_flood_the_last_are_readable_and_a_bounded_part_is_handed_on_in_one_go() {
        let count = 3 * LETTERS_AT_ONCE;
        let payload = format!("[{}0]", "0,".repeat(count - 1)).into_bytes();
        let records = OwnedRecords(vec![(7, None, payload)]);
        let stand = Stand::with_room_for(count);
        let mut letters = Letters::default();
        let rejected = (0..count as u32).map(|index| element(0, index)).collect();
        stand.rejections.reject(3, &records, rejected, &mut letters);
        assert_eq!((stand.queue.len(), letters.len()), (LETTERS_AT_ONCE, count - LETTERS_AT_ONCE));
        while !stand.rejections.hand_on(&mut letters) {}
        assert_eq!(stand.queue.len(), count);
        let last = stand.rejections.last();
        assert_eq!((last.len(), last[0].index as usize), (KEPT, count - 1));
        assert_eq!((last[KEPT - 1].index as usize, &*last[0].record), (count - KEPT, "0"));
        assert_eq!(stand.metrics.rejected(Reason::WrongType).get(), count as u64);
    }

    #[test]
    fn without_a_topic_for_them_no_letters_wait() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let rejections = Rejections::new(metrics, None, Undelivered::default());
        let mut letters = Letters::default();
        rejections.reject(3, &two_records(), vec![element(0, 1)], &mut letters);
        assert!(letters.is_empty() && rejections.hand_on(&mut letters));
        assert_eq!((rejections.last()[0].offset, rejections.first_undelivered(3)), (7, None));
    }
}
