//! What one transaction carries of the source: batches, decoded and packed for their shards.
//!
//! A shipment is kept until its transaction is committed; one that failed is sent again as it is, without what others
//! have committed meanwhile or what this host has lost. Invariant: a part is a whole batch, so that the offset behind it
//! says that all of it was sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::producer::Outgoing;
use crate::pipeline::batch::{Fetch, Records, SourceMark};
use crate::pipeline::parcel::Parcel;
use crate::pipeline::rejections::{self, DeadLetter, Rejections};
use crate::trade::{self, Decoder, Limits, Rejected, Rows, Sorter};

/// One batch of the source.
pub(super) struct Part {
    pub(super) partition: i32,
    /// The first offset behind it.
    pub(super) next: i64,
    records: Vec<Outgoing>,
    letters: Vec<DeadLetter>,
    rejected: Vec<Rejected>,
    messages: Arc<dyn Records>,
    /// What it keeps in memory.
    bytes: usize,
}

/// The batches of one transaction, in their order.
#[derive(Default)]
pub(super) struct Shipment {
    parts: Vec<Part>,
    /// Letters, by their place among all of the shipment, that go without their text.
    pub(super) shortened: BTreeSet<usize>,
}

impl Shipment {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many bytes are kept for it: those that were read, and those that are sent.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    pub(super) fn add(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// Puts what was to be sent before in front again.
    pub(super) fn put_back(&mut self, mut before: Self) {
        before.parts.append(&mut self.parts);
        *self = before;
    }

    /// Drops parts that are not to be sent any more.
    pub(super) fn retain(&mut self, keep: impl Fn(&Part) -> bool) {
        let before = self.parts.len();
        self.parts.retain(keep);
        if self.parts.len() < before {
            // Letters may stand at other places now; those that are too long are found again.
            self.shortened.clear();
        }
    }

    pub(super) fn partitions(&self) -> BTreeSet<i32> {
        self.parts.iter().map(|part| part.partition).collect()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Outgoing> {
        self.parts.iter().flat_map(|part| &part.records)
    }

    pub(super) fn letters(&self) -> Vec<&DeadLetter> {
        self.parts.iter().flat_map(|part| &part.letters).collect()
    }

    /// Counts what was rejected, once it is sent; gives how many messages and letters there were.
    pub(super) fn count(mut self, rejections: &Rejections) -> (usize, usize) {
        for part in &mut self.parts {
            rejections.count(part.partition, &*part.messages, &mut part.rejected);
        }
        let messages = self.parts.iter().map(|part| part.messages.len()).sum();
        (messages, self.letters().len())
    }
}

/// Decodes batches and packs them; keeps memory from one to the next.
pub(super) struct Packer {
    decoder: Decoder,
    rows: Rows,
    rejected: Vec<Rejected>,
    sorter: Sorter,
    /// Rejected records are sent to a topic.
    letters: bool,
}

impl Packer {
    pub(super) fn new(limits: Limits, shards: u32, letters: bool) -> Self {
        Self {
            decoder: Decoder::new(limits, trade::EVERYTHING),
            rows: Rows::new(),
            rejected: Vec::new(),
            sorter: Sorter::new(shards),
            letters,
        }
    }

    /// Decodes a batch; gives its largest event time.
    pub(super) fn decode(&mut self, fetch: &Fetch, wall_ms: i64) -> Option<i64> {
        self.rows.clear();
        self.rejected.clear();
        for index in 0..fetch.records.len() {
            let record = fetch.records.get(index);
            let (rows, rejected) = (&mut self.rows, &mut self.rejected);
            self.decoder.decode(record.payload, index as u32, record.timestamp_ms, wall_ms, rows, rejected);
        }
        self.rows.latest_ms
    }

    /// Packs the batch decoded last. Its mark goes behind its last trade to each shard that has some.
    pub(super) fn pack(&mut self, fetch: Fetch, mark: SourceMark, sources: u32) -> Part {
        let Fetch { partition, next, records: messages, .. } = fetch;
        // The time of the newest message; one that lies ahead might be refused.
        let times_ms = (0..messages.len()).filter_map(|index| messages.get(index).timestamp_ms);
        let timestamp_ms = times_ms.max().unwrap_or(mark.at_ms).min(mark.at_ms);
        let offset = |record: u32| messages.get(record as usize).offset;
        let mut records = Vec::new();
        self.sorter.pack(&self.rows, offset, |shard, trades, last| {
            let marks = if last { vec![mark] } else { Vec::new() };
            let parcel = Parcel { sources, marks, partition, trades: std::mem::take(trades) };
            records.push(Outgoing { shard: shard.cast_signed(), payload: parcel.encode(), timestamp_ms });
            *trades = parcel.trades;
        });
        let mut rejected = std::mem::take(&mut self.rejected);
        let letters = match self.letters {
            true => rejections::letters(partition, &*messages, &mut rejected),
            false => Vec::new(),
        };
        let read: usize = (0..messages.len()).map(|index| messages.get(index).payload.len()).sum();
        let bytes = read + records.iter().map(|record| record.payload.len()).sum::<usize>();
        Part { partition, next, records, letters, rejected, messages, bytes }
    }
}
