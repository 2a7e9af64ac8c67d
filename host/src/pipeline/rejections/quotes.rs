//! What was rejected, quoted from its record: an element of a message, a trade of a parcel, or the whole.
//!
//! Not for counting or sending. Invariant: a record is taken apart once, however much of it is rejected.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::super::batch::{Record, Records};
use super::super::parcel::Parcel;
use super::split;
use crate::trade::Rejected;

/// A rejected record, and where it was.
pub(super) struct Quote<'a> {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) index: u32,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) text: Cow<'a, [u8]>,
}

/// A record of which something is rejected.
pub(super) struct Quotes<'a> {
    /// Where it was read.
    pub(super) partition: i32,
    pub(super) record: Record<'a>,
    /// It is a parcel, not a message.
    pub(super) parcels: bool,
    /// None before the first quote of less than the whole.
    parts: Option<Parts<'a>>,
}

/// What a record consists of.
enum Parts<'a> {
    /// The elements of a message that is an array.
    Elements(Vec<&'a RawValue>),
    /// The trades of a parcel.
    Trades(Box<Parcel>),
    /// It can be quoted as a whole only.
    Nothing,
}

impl<'a> Quotes<'a> {
    pub(super) fn quote(&mut self, rejected: &Rejected) -> Quote<'a> {
        let (record, parcels) = (self.record, self.parcels);
        let whole = Quote {
            partition: self.partition,
            offset: record.offset,
            index: rejected.element,
            timestamp_ms: record.timestamp_ms,
            text: Cow::Borrowed(record.payload),
        };
        if rejected.whole {
            return whole;
        }
        match self.parts.get_or_insert_with(|| Parts::of(record.payload, parcels)) {
            Parts::Elements(elements) => match elements.get(rejected.element as usize) {
                Some(element) => Quote { text: Cow::Borrowed(element.get().as_bytes()), ..whole },
                None => whole,
            },
            Parts::Trades(parcel) => match parcel_quote(parcel, rejected) {
                Some((offset, index, text)) => {
                    Quote { partition: parcel.partition, offset, index, text, ..whole }
                }
                None => whole,
            },
            Parts::Nothing => whole,
        }
    }
}

impl<'a> Parts<'a> {
    fn of(payload: &'a [u8], parcels: bool) -> Self {
        match parcels {
            true => Parcel::decode(payload).map_or(Self::Nothing, |parcel| Self::Trades(Box::new(parcel))),
            false => Self::Elements(split(payload)),
        }
    }
}

/// Sorts what was rejected of a batch, and takes it record by record.
pub(super) fn each_record(
    partition: i32,
    records: &dyn Records,
    rejected: &mut [Rejected],
    parcels: bool,
    mut take: impl FnMut(Quotes<'_>, &[Rejected]),
) {
    rejected.sort_by_key(|one| (one.record, one.element));
    for of_record in rejected.chunk_by(|a, b| a.record == b.record) {
        let record = records.get(of_record[0].record as usize);
        take(Quotes { partition, record, parcels, parts: None }, of_record);
    }
}

/// Quotes a trade of a parcel, as of its place in the source.
fn parcel_quote(parcel: &Parcel, rejected: &Rejected) -> Option<(i64, u32, Cow<'static, [u8]>)> {
    let row = rejected.element as usize;
    let (offset, index) = parcel.trades.origin(row)?;
    let text = parcel.trades.json(row)?;
    Some((offset, index, Cow::Owned(text.into_bytes())))
}
