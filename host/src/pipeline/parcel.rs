//! The records between the two hops of a repartitioned feed: trades of one batch of the source for one shard, and
//! marks of the source's partitions.
//!
//! The first hop, which reads the source, writes parcels; here is also how the second hop opens them. Not here: Kafka.
//! Invariant: the mark of a batch follows its last trade in every shard that has some, so that whoever has taken a mark
//! has taken all trades that it covers.

use serde::{Deserialize, Serialize};

use super::batch::{Fetch, SourceMark, SourceMarks};
use crate::trade::{Optional, Packed, PackedError, Reason, Rejected, Rows};

/// The form of parcels; the first byte of each.
const FORMAT: u8 = 1;
/// What a record takes besides its trades, about.
const ROOM: usize = 256;
/// More partitions than any source has.
const MOST_SOURCES: u32 = 1 << 20;

/// A record between the hops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parcel {
    /// How many partitions the source has, as far as the sender knows.
    pub sources: u32,
    /// Where partitions of the source stand behind the trades of this parcel.
    pub marks: Vec<SourceMark>,
    /// The partition of the source that the trades are from.
    pub partition: i32,
    /// The trades; none where only marks are news.
    pub trades: Packed,
}

/// Bytes that are no parcel.
#[derive(Debug, thiserror::Error)]
pub enum ParcelError {
    /// Another version, or nothing of ours.
    #[error("not a record of form {FORMAT}")]
    Form,
    /// Its bytes are none.
    #[error("a record between the hops cannot be read: {0}")]
    Undecodable(#[from] rmp_serde::decode::Error),
    /// It speaks of partitions that the source cannot have.
    #[error("a record between the hops has marks of partitions that there are not")]
    Marks,
    /// Its trades are none.
    #[error("a record between the hops: {0}")]
    Trades(#[from] PackedError),
}

impl Parcel {
    /// The bytes of a record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ROOM + self.trades.weight());
        bytes.push(FORMAT);
        // A parcel is plain data in memory, and so is the vector: writing cannot fail.
        if rmp_serde::encode::write(&mut bytes, self).is_err() {
            bytes.clear();
        }
        bytes
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Fails where it is none, or of another form.
    pub fn decode(bytes: &[u8]) -> Result<Self, ParcelError> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => {
                let parcel: Self = rmp_serde::from_slice(rest)?;
                if parcel.marks_fit() { Ok(parcel) } else { Err(ParcelError::Marks) }
            }
            _ => Err(ParcelError::Form),
        }
    }

    fn marks_fit(&self) -> bool {
        let known = |mark: &SourceMark| (0..self.sources.cast_signed()).contains(&mark.partition);
        self.sources <= MOST_SOURCES && self.marks.iter().all(known)
    }
}

/// Opens the parcels of a batch: trades become rows, and marks what is told of the source. What is no parcel is
/// rejected as a whole. `settled` says that the batch was written after the partition was assigned here.
pub(super) fn open(
    fetch: &Fetch,
    settled: bool,
    optional: Optional,
    rows: &mut Rows,
    rejected: &mut Vec<Rejected>,
) -> SourceMarks {
    let mut told = SourceMarks::new(settled);
    for record in 0..fetch.records.len() {
        let opened = Parcel::decode(fetch.records.get(record).payload).and_then(|parcel| {
            parcel.trades.unpack(record as u32, optional, rows)?;
            Ok(parcel)
        });
        match opened {
            Ok(parcel) => told.add(parcel.sources, parcel.marks),
            Err(error) => {
                tracing::warn!(partition = fetch.partition, %error, "Record rejected");
                rejected.push(Rejected::message(Reason::NotJson, record as u32));
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::batch::Progress;
    use super::*;

    fn parcel() -> Parcel {
        let mark = SourceMark {
            partition: 3,
            next: 1 << 40,
            newest_ms: Some(-7),
            progress: Progress::End,
            absent: true,
            at_ms: 9,
        };
        Parcel { sources: 4, marks: vec![mark], partition: 3, trades: Packed::default() }
    }

    #[test]
    fn a_parcel_is_read_back_as_it_was_written() {
        assert_eq!(Parcel::decode(&parcel().encode()).unwrap(), parcel());
    }

    #[test]
    fn a_parcel_of_another_form_is_refused() {
        let mut bytes = parcel().encode();
        bytes[0] = 2;
        assert!(matches!(Parcel::decode(&bytes), Err(ParcelError::Form)));
        assert!(matches!(Parcel::decode(b""), Err(ParcelError::Form)));
    }

    #[test]
    fn marks_of_partitions_that_there_are_not_are_refused() {
        for (sources, partition) in [(4, 4), (4, -1), (u32::MAX, 0), (0, 0)] {
            let mut wrong = parcel();
            (wrong.sources, wrong.marks[0].partition) = (sources, partition);
            assert!(matches!(Parcel::decode(&wrong.encode()), Err(ParcelError::Marks)));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_an_error_or_a_parcel_and_never_a_panic(mut bytes: Vec<u8>) {
            drop(Parcel::decode(&bytes));
            bytes.insert(0, FORMAT);
            drop(Parcel::decode(&bytes));
        }
    }
}
