//! Rejected records that wait to become dead letters.
//!
//! Not for sending. Invariant: what waits is small, a few bytes and the text for each letter, since a hostile
//! message of 8 MiB can hold four million rejected elements. The record itself is not kept: it would keep the
//! client alive that has read it.

use std::collections::VecDeque;
use std::vec::IntoIter;

use super::quotes::Quotes;
use super::{DeadLetter, Undelivered};
use crate::trade::{Reason, Rejected};

/// What was rejected and is not handed on yet, in the order in which that will be done.
#[derive(Default)]
pub struct Letters {
    /// The letter that its queue had no room for.
    made: Option<DeadLetter>,
    records: VecDeque<Waiting>,
}

impl Letters {
    /// Puts a record behind the others; it is undelivered from now on.
    pub(super) fn add(&mut self, record: Waiting, undelivered: &Undelivered) {
        undelivered.awaits(record.place());
        self.records.push_back(record);
    }

    /// Makes the letter whose turn it is; none when there are no more.
    pub(super) fn take(&mut self, undelivered: &Undelivered) -> Option<DeadLetter> {
        if let Some(letter) = self.made.take() {
            return Some(letter);
        }
        while let Some(record) = self.records.front_mut() {
            if let Some(letter) = record.next() {
                undelivered.made(letter.place());
                return Some(letter);
            }
            undelivered.made_all(record.place());
            self.records.pop_front();
        }
        None
    }

    /// Takes a letter back that its queue had no room for; it is the next one.
    pub(super) fn give_back(&mut self, letter: DeadLetter) {
        self.made = Some(letter);
    }

    /// Whether everything is handed on.
    pub fn is_empty(&self) -> bool {
        self.made.is_none() && self.records.is_empty()
    }

    /// How many letters are not handed on.
    pub fn len(&self) -> usize {
        let to_be_made: usize = self.records.iter().map(|record| record.slips.len()).sum();
        usize::from(self.made.is_some()) + to_be_made
    }
}

/// What was rejected of one record.
pub(super) struct Waiting {
    partition: i32,
    offset: i64,
    timestamp_ms: Option<i64>,
    slips: IntoIter<Slip>,
    /// Where trades of a parcel were in the source; none where that is where they were read.
    origins: IntoIter<(i32, i64, u32)>,
    /// The texts of all letters, one behind the other.
    texts: Vec<u8>,
    /// Where the next letter's text begins.
    begin: usize,
}

/// What a letter that is to be made does not share with the others of its record.
struct Slip {
    reason: Reason,
    element: u32,
    text_bytes: u32,
}

impl Waiting {
    pub(super) fn new(quotes: &mut Quotes<'_>, of_record: &[Rejected]) -> Self {
        let mut slips = Vec::with_capacity(of_record.len());
        let (mut origins, mut texts) = (Vec::new(), Vec::new());
        for one in of_record {
            let quote = quotes.quote(one);
            // A message beyond the limit is named by its headers; its bytes would not fit a topic.
            let text: &[u8] = if one.reason == Reason::TooLarge { &[] } else { &quote.text };
            texts.extend_from_slice(text);
            slips.push(Slip { reason: one.reason, element: one.element, text_bytes: text.len() as u32 });
            if quotes.parcels {
                origins.push((quote.partition, quote.offset, quote.index));
            }
        }
        Self {
            partition: quotes.partition,
            offset: quotes.record.offset,
            timestamp_ms: quotes.record.timestamp_ms,
            slips: slips.into_iter(),
            origins: origins.into_iter(),
            texts,
            begin: 0,
        }
    }

    /// Where the record was read.
    fn place(&self) -> (i32, i64) {
        (self.partition, self.offset)
    }
}

impl Iterator for Waiting {
    type Item = DeadLetter;

    /// Makes the next letter.
    fn next(&mut self) -> Option<DeadLetter> {
        let slip = self.slips.next()?;
        let read_at = (self.partition, self.offset, slip.element);
        let (partition, offset, index) = self.origins.next().unwrap_or(read_at);
        let end = self.begin + slip.text_bytes as usize;
        let payload = self.texts[self.begin..end].to_vec();
        self.begin = end;
        let (reason, timestamp_ms) = (slip.reason.as_str(), self.timestamp_ms);
        Some(DeadLetter { reason, partition, offset, index, timestamp_ms, payload, read_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_waits_takes_no_more_than_its_text_and_twelve_bytes() {
        assert!(size_of::<Slip>() <= 12);
    }
}
