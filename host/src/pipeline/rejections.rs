//! What was rejected: counted by reason, the last ones readable, each handed on as a dead letter.
//!
//! Invariant: nothing is dropped silently. A dead letter that cannot be handed on yet comes back to
//! the worker, which then takes nothing new until it can.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Sender, TrySendError};
use serde::Serialize;
use serde_json::value::RawValue;

use super::batch::Records;
use super::parcel::Parcel;
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
        Self { metrics, last: Mutex::default(), dead_letters, undelivered, parcels: false }
    }

    /// The same for workers whose records are parcels.
    #[must_use]
    pub fn of_parcels(self) -> Self {
        Self { parcels: true, ..self }
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
        each_quote(partition, records, rejected, self.parcels, |one, quote| {
            self.count_one(one, &quote);
            if self.dead_letters.is_some() {
                let letter = dead_letter(one, quote);
                self.undelivered.with(|places| places.insert(letter.place()));
                waiting.extend(if waiting.is_empty() { self.hand_on(letter) } else { Some(letter) });
            }
        });
    }

    /// Counts the rejections of a batch of messages whose dead letters go another way.
    pub fn count(&self, partition: i32, records: &dyn Records, rejected: &mut [Rejected]) {
        each_quote(partition, records, rejected, false, |one, quote| self.count_one(one, &quote));
    }

    fn count_one(&self, rejected: &Rejected, quote: &Quote<'_>) {
        self.metrics.rejected(rejected.reason).inc();
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
    /// Where its record was read: partition, offset and index.
    pub fn place(&self) -> (i32, i64, u32) {
        self.read_at
    }
}

/// The dead letters of a batch of messages.
pub fn letters(partition: i32, records: &dyn Records, rejected: &mut [Rejected]) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    each_quote(partition, records, rejected, false, |one, quote| letters.push(dead_letter(one, quote)));
    letters
}

/// A rejected record, and where it was.
struct Quote<'a> {
    partition: i32,
    offset: i64,
    index: u32,
    timestamp_ms: Option<i64>,
    text: Cow<'a, [u8]>,
    read_at: (i32, i64, u32),
}

/// Quotes what was rejected of a batch. A record is taken apart once, however much of it is rejected.
fn each_quote(
    partition: i32,
    records: &dyn Records,
    rejected: &mut [Rejected],
    parcels: bool,
    mut take: impl FnMut(&Rejected, Quote<'_>),
) {
    rejected.sort_by_key(|one| (one.record, one.element));
    for of_record in rejected.chunk_by(|a, b| a.record == b.record) {
        let record = records.get(of_record[0].record as usize);
        let parcel = if parcels { Parcel::decode(record.payload).ok() } else { None };
        let elements = if parcels { Vec::new() } else { split(record.payload) };
        for one in of_record {
            let read_at = (partition, record.offset, one.element);
            let sent = parcel.as_ref().filter(|_| !one.whole).and_then(|parcel| parcel_quote(parcel, one));
            let (partition, offset, index, text) = sent.unwrap_or_else(|| {
                let element = elements.get(one.element as usize).filter(|_| !one.whole);
                let text = element.map_or(record.payload, |element| element.get().as_bytes());
                (partition, record.offset, one.element, Cow::Borrowed(text))
            });
            let timestamp_ms = record.timestamp_ms;
            take(one, Quote { partition, offset, index, timestamp_ms, text, read_at });
        }
    }
}

/// Quotes a trade of a parcel, as of its place in the source.
fn parcel_quote(parcel: &Parcel, rejected: &Rejected) -> Option<(i32, i64, u32, Cow<'static, [u8]>)> {
    let row = rejected.element as usize;
    let (offset, index) = parcel.trades.origin(row)?;
    let text = parcel.trades.json(row)?;
    Some((parcel.partition, offset, index, Cow::Owned(text.into_bytes())))
}

fn dead_letter(rejected: &Rejected, quote: Quote<'_>) -> DeadLetter {
    DeadLetter {
        reason: rejected.reason.as_str(),
        partition: quote.partition,
        offset: quote.offset,
        index: quote.index,
        timestamp_ms: quote.timestamp_ms,
        // A message beyond the limit is named by its headers; its bytes would not fit a topic.
        payload: if rejected.reason == Reason::TooLarge { Vec::new() } else { quote.text.into_owned() },
        read_at: quote.read_at,
    }
}

/// The elements of a message that is an array; none of any other.
pub(super) fn split(payload: &[u8]) -> Vec<&RawValue> {
    serde_json::from_slice(payload).unwrap_or_default()
}
