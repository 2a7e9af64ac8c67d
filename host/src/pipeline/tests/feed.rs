//! What stands in the partitions, the way it is handed to the lanes, and the plain count that the store is
//! compared with.
//!
//! Invariant: offset and content belong together: whoever counts a script up to an offset counts what was
//! fed.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, TryRecvError};
use serde_json::{Value, json};

use super::{Counts, PATIENCE};
use crate::clock::rfc3339;
use crate::pipeline::Intake;
use crate::pipeline::batch::{Fetch, OwnedRecords, Progress};
use crate::pipeline::catch_up::Want;
use crate::pipeline::lane::LaneSender;

/// The trades of the message at an offset of a partition: token and event time.
pub(super) type Script<'a> = &'a (dyn Fn(i32, i64) -> Vec<(String, i64)> + Sync);

/// The trades of these offsets of a partition, counted one by one.
pub(super) fn count(script: Script<'_>, partition: i32, offsets: Range<i64>, counts: &mut Counts) {
    for offset in offsets {
        for (token, _) in script(partition, offset) {
            *counts.entry(token).or_default() += 1;
        }
    }
}

/// The trades below these positions.
pub(super) fn counted(script: Script<'_>, positions: &[(i32, i64)]) -> Counts {
    let mut counts = Counts::new();
    for &(partition, next) in positions {
        count(script, partition, 0..next, &mut counts);
    }
    counts
}

/// Feeds partitions to their end at the same time, as a source does that reads all of them.
pub(super) fn feed(feeders: &mut [Feeder<'_>], end: i64, batch: i64) {
    thread::scope(|scope| {
        for feeder in feeders {
            scope.spawn(|| feeder.give_all(end, batch));
        }
    });
}

/// The source of one partition.
pub(super) struct Feeder<'a> {
    partition: i32,
    script: Script<'a>,
    lane: LaneSender,
    /// Told when the lane has room again.
    room: Receiver<()>,
    /// The first offset that was not handed over.
    pub(super) next: i64,
}

impl<'a> Feeder<'a> {
    /// Has a partition assigned, read from its first offset on.
    pub(super) fn open(intake: &Intake, partition: i32, script: Script<'a>) -> Self {
        let (told, room) = crossbeam_channel::bounded(1);
        let waker = move || {
            // Where it has been told already, once is enough.
            told.try_send(()).ok();
        };
        let lane = intake.assign(partition, 0, i64::MAX, i64::MIN, Arc::new(waker));
        Self { partition, script, lane, room, next: 0 }
    }

    /// Hands over the next messages as one batch; waits while the lane is full.
    pub(super) fn give(&mut self, messages: i64, progress: Progress) {
        let first = self.next;
        self.next += messages;
        let records = (first..self.next).map(|offset| self.record(offset)).collect();
        let mut fetch = Fetch {
            partition: self.partition,
            first,
            next: self.next,
            progress,
            records: Arc::new(OwnedRecords(records)),
        };
        let deadline = Instant::now() + PATIENCE;
        while let Err(back) = self.lane.offer(fetch) {
            fetch = back;
            let told = self.room.recv_deadline(deadline);
            assert!(told.is_ok(), "the lane of partition {} stayed full for {PATIENCE:?}", self.partition);
        }
    }

    /// Hands over messages up to an offset in batches of this size; the last one is the partition's end.
    pub(super) fn give_all(&mut self, end: i64, batch: i64) {
        while self.next < end {
            let messages = batch.min(end - self.next);
            let last = self.next + messages == end;
            self.give(messages, if last { Progress::End } else { Progress::Behind });
        }
    }

    fn record(&self, offset: i64) -> (i64, Option<i64>, Vec<u8>) {
        let trades = (self.script)(self.partition, offset);
        let timestamp_ms = trades.iter().map(|(_, time_ms)| *time_ms).max();
        let elements: Value = trades.iter().map(|(token, time_ms)| element(token, *time_ms)).collect();
        (offset, timestamp_ms, elements.to_string().into_bytes())
    }
}

/// A trade as the feed writes it.
fn element(token: &str, time_ms: i64) -> Value {
    json!({
        "Token": token, "Wallet": "w", "SellBuy": "buy", "NativeAmount": "1", "TokenAmount": "1",
        "PriceUsd": "1", "TransTime": rfc3339::text(time_ms), "TxHash": "x",
    })
}

/// The source's second reader: reads again what lagging cells want, up to an end, until it is stopped.
pub(super) fn catch_up(intake: &Intake, script: Script<'_>, end: i64, stopped: &Receiver<()>) {
    let demands = &intake.shared().demands;
    let mut served = BTreeSet::new();
    while stopped.try_recv() != Err(TryRecvError::Disconnected) {
        for (demand, wants) in demands.wanted() {
            for (partition, want) in wants {
                if !served.insert((demand, partition)) {
                    continue;
                }
                let from = match want {
                    Want::From(next) => next,
                    Want::Horizon { not_before } => {
                        // The topic's first offset is 0.
                        let from = not_before.max(0);
                        intake.begin(demand, partition, from);
                        from
                    }
                };
                let (told, room) = crossbeam_channel::bounded(1);
                let waker = move || {
                    told.try_send(()).ok();
                };
                let lane = intake.catch_up(partition, Arc::new(waker));
                let mut feeder = Feeder { partition, script, lane, room, next: from };
                // Batches of another size than those of the live stream.
                feeder.give_all(end, 7);
            }
        }
        thread::yield_now();
    }
}
