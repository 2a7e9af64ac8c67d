//! Decoding: the bytes of a Kafka message become rows of a batch, or rejections that say why not.
//!
//! Two ways lead there. `scan` reads messages in their usual form at the speed of the wire; it knows no
//! rejection and gives up on anything else. `fallback` reads every message with `serde_json` and judges it
//! element by element. A message the scanner gave up on leaves no trace and is read again from its start.
//!
//! ```text
//! payload ──> scan ──────────────────────────────> Rows
//!               └─ unusual ──> fallback ─────────> Rows, Rejected
//! ```
//!
//! Not judged here: `too_late`, which depends on the clock of the cell that takes the trade.
//!
//! Invariant: for every payload both ways give the same rows, and a rejection comes from the fallback only. Whoever
//! teaches the scanner a new form must keep it no more generous than the fallback.

mod block;
mod column;
mod decimal;
mod fallback;
mod instant;
mod packed;
mod packing;
mod rejected;
mod rows;
mod scan;
mod tokens;
mod usual;
mod written;

pub use column::Column;
pub use fallback::element;
pub use packed::{Packed, PackedError};
pub use packing::{EVERYTHING, Sorter};
pub use rejected::{Reason, Rejected};
pub use rows::{Optional, Place, Rows, Texts};
pub use tokens::Tokens;

use scan::Order;

/// What a message may be at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How far a trade may be ahead of its record's Kafka timestamp, in milliseconds.
    pub max_future_ms: i64,
    /// The longest message that is parsed, in bytes.
    pub max_message_bytes: usize,
}

/// The message that is being decoded: what its trades are judged by and where they go.
#[derive(Debug, Clone, Copy)]
struct Message<'a> {
    payload: &'a [u8],
    /// The index of the message in its batch.
    record: u32,
    /// The latest event time that is not `in_future`.
    newest_ms: i64,
    optional: Optional,
}

/// Decodes the messages of one consumer, one after the other.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    optional: Optional,
    /// The order of keys seen last; producers keep theirs, so the next key is nearly always known in advance.
    order: Order,
}

impl Decoder {
    /// Creates a decoder that fills the named optional columns.
    #[must_use]
    pub fn new(limits: Limits, optional: Optional) -> Self {
        Self { limits, optional, order: Order::default() }
    }

    /// Changes which optional columns are filled, from the next message on.
    pub fn set_optional(&mut self, optional: Optional) {
        self.optional = optional;
    }

    /// Appends the trades of one message to `rows` and its rejections to `rejected`.
    ///
    /// `record` is the index of the message in its batch. A trade is `in_future` by `record_time_ms`, the Kafka
    /// timestamp, and by the wall clock `wall_ms` only where the record has none.
    pub fn decode(
        &mut self,
        payload: &[u8],
        record: u32,
        record_time_ms: Option<i64>,
        wall_ms: i64,
        rows: &mut Rows,
        rejected: &mut Vec<Rejected>,
    ) {
        if self.is_too_large(payload, record, rejected) {
            return;
        }
        let message = self.message(payload, record, record_time_ms, wall_ms);
        if scan::decode(&message, &mut self.order, rows).is_err() {
            fallback::decode(&message, rows, rejected);
        }
    }

    /// Does what [`Decoder::decode`] does, without the scanner: what the scanner is compared with.
    pub fn decode_unscanned(
        &mut self,
        payload: &[u8],
        record: u32,
        record_time_ms: Option<i64>,
        wall_ms: i64,
        rows: &mut Rows,
        rejected: &mut Vec<Rejected>,
    ) {
        if !self.is_too_large(payload, record, rejected) {
            let message = self.message(payload, record, record_time_ms, wall_ms);
            fallback::decode(&message, rows, rejected);
        }
    }

    fn is_too_large(&self, payload: &[u8], record: u32, rejected: &mut Vec<Rejected>) -> bool {
        let too_large = payload.len() > self.limits.max_message_bytes;
        if too_large {
            rejected.push(Rejected::message(Reason::TooLarge, record));
        }
        too_large
    }

    fn message<'a>(
        &self,
        payload: &'a [u8],
        record: u32,
        record_time_ms: Option<i64>,
        wall_ms: i64,
    ) -> Message<'a> {
        let reference_ms = record_time_ms.unwrap_or(wall_ms);
        Message {
            payload,
            record,
            newest_ms: reference_ms.saturating_add(self.limits.max_future_ms),
            optional: self.optional,
        }
    }
}
