//! What was rejected: counted by reason, the last ones readable, each handed on as a dead letter.
//!
//! Invariant: nothing is dropped silently. A dead letter that cannot be handed on yet comes back to
//! the worker, which then takes nothing new until it can.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Sender, TrySendError};
use serde::Serialize;
use serde_json::value::RawValue;

use super::batch::{Record, Records};
use crate::metrics::Metrics;
use crate::trade::{Reason, Rejected};

/// How many rejections stay readable.
const KEPT: usize = 100;
/// How much of a rejected text stays readable.
pub(super) const QUOTE_BYTES: usize = 512;

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
}

/// Where rejections go.
pub struct Rejections {
    metrics: Arc<Metrics>,
    last: Mutex<VecDeque<Rejection>>,
    dead_letters: Option<Sender<DeadLetter>>,
    undelivered: Undelivered,
}

/// The places of dead letters on their way; each leaves it when the broker has the letter.
#[derive(Debug, Clone, Default)]
pub struct Undelivered(Arc<Mutex<BTreeSet<(i32, i64, u32)>>>);

impl Undelivered {
    fn with<R>(&self, act: impl FnOnce(&mut BTreeSet<(i32, i64, u32)>) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that the broker has a letter.
    pub fn delivered(&self, place: (i32, i64, u32)) {
        self.with(|places| places.remove(&place));
    }
}

impl Rejections {
    /// Keeps the last rejections, and hands on dead letters where there is a topic for them.
    pub fn new(
        metrics: Arc<Metrics>,
        dead_letters: Option<Sender<DeadLetter>>,
        undelivered: Undelivered,
    ) -> Self {
        Self { metrics, last: Mutex::default(), dead_letters, undelivered }
    }

    /// The first offset of a partition with a dead letter that the broker does not have yet.
    pub fn first_undelivered(&self, partition: i32) -> Option<i64> {
        let range = (partition, i64::MIN, 0)..=(partition, i64::MAX, u32::MAX);
        self.undelivered.with(|places| places.range(range).next().map(|place| place.1))
    }

    /// Counts the rejections of a batch; dead letters that could not be handed on yet go to `waiting`.
    ///
    /// A message is split once, however many of its elements are rejected.
    pub fn reject(
        &self,
        partition: i32,
        records: &dyn Records,
        rejected: &mut [Rejected],
        waiting: &mut VecDeque<DeadLetter>,
    ) {
        rejected.sort_by_key(|one| (one.record, one.element));
        for of_record in rejected.chunk_by(|a, b| a.record == b.record) {
            let record = records.get(of_record[0].record as usize);
            let elements = split(record.payload);
            for one in of_record {
                self.metrics.rejected(one.reason).inc();
                let text = match elements.get(one.element as usize) {
                    Some(element) if !one.whole => element.get().as_bytes(),
                    _ => record.payload,
                };
                self.keep(partition, &record, one, text);
                if self.dead_letters.is_some() {
                    let letter = dead_letter(partition, &record, one, text);
                    self.undelivered.with(|places| places.insert(letter.place()));
                    waiting.extend(if waiting.is_empty() { self.hand_on(letter) } else { Some(letter) });
                }
            }
        }
    }

    fn keep(&self, partition: i32, record: &Record<'_>, rejected: &Rejected, text: &[u8]) {
        let quoted = String::from_utf8_lossy(&text[..text.len().min(QUOTE_BYTES)]).into_owned();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(Rejection {
            reason: rejected.reason.as_str(),
            field: rejected.detail(),
            partition,
            offset: record.offset,
            index: rejected.element,
            timestamp_ms: record.timestamp_ms,
            record: quoted,
        });
    }

    /// Hands a dead letter on, or gives it back where there is no room.
    pub fn hand_on(&self, letter: DeadLetter) -> Option<DeadLetter> {
        match self.dead_letters.as_ref()?.try_send(letter) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
            Err(TrySendError::Full(letter)) => Some(letter),
        }
    }

    /// The last rejections, latest first.
    pub fn last(&self) -> Vec<Rejection> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}

impl DeadLetter {
    /// Where its record was: partition, offset and index.
    pub fn place(&self) -> (i32, i64, u32) {
        (self.partition, self.offset, self.index)
    }
}

fn dead_letter(partition: i32, record: &Record<'_>, rejected: &Rejected, text: &[u8]) -> DeadLetter {
    DeadLetter {
        reason: rejected.reason.as_str(),
        partition,
        offset: record.offset,
        index: rejected.element,
        timestamp_ms: record.timestamp_ms,
        // A message beyond the limit is named by its headers; its bytes would not fit a topic.
        payload: if rejected.reason == Reason::TooLarge { Vec::new() } else { text.to_vec() },
    }
}

/// The elements of a message that is an array; none of any other.
pub(super) fn split(payload: &[u8]) -> Vec<&RawValue> {
    serde_json::from_slice(payload).unwrap_or_default()
}
