//! What a source hands to the pipeline: a whole number of messages of one partition, with its mark.
//!
//! Not for decoding. Invariant: the fetches of one partition follow each other without a gap or an
//! overlap: each covers the offsets from `first` (the `next` of the one before) up to `next`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One message as it stands in the source.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// The source's timestamp in unix milliseconds, where the message has one.
    pub timestamp_ms: Option<i64>,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// The messages of a fetch, wherever their bytes are kept.
pub trait Records: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;
    /// The message at a position below `len`.
    fn get(&self, index: usize) -> Record<'_>;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How far a partition has been read, seen from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Progress {
    /// Its backlog is still being read.
    #[default]
    Behind,
    /// The end that stood at the assignment has been passed.
    Live,
    /// With an event clock: read to its end for now.
    End,
}

/// Which reader brings a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// The one that reads each partition once, for all cells.
    Live,
    /// The one that reads again what some cells have not taken.
    CatchUp,
}

/// A batch of one partition as it was fetched.
pub struct Fetch {
    /// Where it is from.
    pub partition: i32,
    /// The first offset it covers.
    pub first: i64,
    /// The first offset it does not cover.
    pub next: i64,
    /// Where the partition stands when this batch has been taken.
    pub progress: Progress,
    /// Its messages; none when only the mark is news.
    pub records: Arc<dyn Records>,
}

/// What a cell must know of a partition to compute its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The partition.
    pub partition: i32,
    /// The first offset of the batch.
    pub first: i64,
    /// The first offset after the batch.
    pub next: i64,
    /// The largest event time of the partition so far, in unix milliseconds.
    pub newest_ms: Option<i64>,
    /// Where the partition stands.
    pub progress: Progress,
}

impl Mark {
    /// The same mark without a batch.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { first: self.next, ..self }
    }
}

/// Where a partition of a repartitioned feed's source stands, told by the host that reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMark {
    /// The partition of the source.
    pub partition: i32,
    /// The first offset of it that was not read yet.
    pub next: i64,
    /// The largest event time read of it, in unix milliseconds.
    pub newest_ms: Option<i64>,
    /// Where it stands.
    pub progress: Progress,
    /// Whether it cannot be fetched, and is left out of the clocks.
    pub absent: bool,
    /// The wall time at which this was told, in unix milliseconds.
    pub at_ms: i64,
}

/// What a batch tells of the source: the last mark of each partition that it has one of.
#[derive(Debug, Clone, Default)]
pub struct SourceMarks {
    /// How many partitions the source has.
    pub sources: u32,
    /// Whether the marks were written after the partition that brings them was assigned here.
    pub settled: bool,
    marks: BTreeMap<i32, SourceMark>,
}

impl SourceMarks {
    /// Nothing yet.
    pub fn new(settled: bool) -> Self {
        Self { settled, ..Self::default() }
    }

    /// Adds the marks of a parcel, in their order.
    pub fn add(&mut self, sources: u32, marks: Vec<SourceMark>) {
        self.sources = self.sources.max(sources);
        for mark in marks {
            let before = self.marks.get(&mark.partition).and_then(|known| known.newest_ms);
            self.marks.insert(mark.partition, SourceMark { newest_ms: mark.newest_ms.max(before), ..mark });
        }
    }

    /// The marks.
    pub fn marks(&self) -> impl Iterator<Item = &SourceMark> {
        self.marks.values()
    }
}

/// Messages in memory: of a mark that travels alone, and of sources that are not a broker.
#[derive(Debug, Default)]
pub struct OwnedRecords(pub Vec<(i64, Option<i64>, Vec<u8>)>);

impl Records for OwnedRecords {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Record<'_> {
        let (offset, timestamp_ms, payload) = &self.0[index];
        Record { offset: *offset, timestamp_ms: *timestamp_ms, payload }
    }
}
