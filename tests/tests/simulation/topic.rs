//! A topic as a broker keeps it, and the queue from which a partition of it is read.
//!
//! Offsets have holes, as markers of transactions and compaction leave them. A queue gives as much as the seed draws,
//! sometimes nothing, sometimes records a second time, as after a rewind. Invariant: what stands in the topic never
//! changes, and the end that a queue names never falls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aggregator::kafka::partition::{Messages, Queue, Taken};
use aggregator::pipeline::batch::{Record, Records};
use aggregator_tests::random::Random;

use super::draws::Chances;

/// A record in the topic.
#[derive(Debug)]
pub(crate) struct Entry {
    offset: i64,
    timestamp_ms: i64,
    payload: Vec<u8>,
}

/// One partition.
#[derive(Debug, Default)]
struct Log {
    entries: Vec<Arc<Entry>>,
    end: i64,
}

/// The topic, shared by all who read it.
#[derive(Debug)]
pub(crate) struct Topic {
    logs: Vec<Log>,
}

/// A handle of the topic.
pub(crate) type Shared = Arc<Mutex<Topic>>;

/// Looks at the topic.
pub(crate) fn look(topic: &Shared) -> MutexGuard<'_, Topic> {
    topic.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place in the topic: partition, offset, index in the array.
pub(crate) type Place = (i32, i64, u32);

impl Topic {
    pub(crate) fn new(partitions: i32) -> Shared {
        Arc::new(Mutex::new(Self { logs: (0..partitions).map(|_| Log::default()).collect() }))
    }

    fn log(&self, partition: i32) -> &Log {
        &self.logs[partition as usize]
    }

    /// Appends a record and returns its offset.
    pub(crate) fn append(&mut self, partition: i32, timestamp_ms: i64, payload: Vec<u8>) -> i64 {
        let log = &mut self.logs[partition as usize];
        let offset = log.end;
        log.entries.push(Arc::new(Entry { offset, timestamp_ms, payload }));
        log.end += 1;
        offset
    }

    /// Leaves offsets out.
    pub(crate) fn skip(&mut self, partition: i32, offsets: i64) {
        self.logs[partition as usize].end += offsets;
    }

    /// The first offset that there is not yet.
    pub(crate) fn end(&self, partition: i32) -> i64 {
        self.log(partition).end
    }

    /// The first offset whose record is not older; the end where there is none.
    pub(crate) fn first_since(&self, partition: i32, time_ms: i64) -> i64 {
        let log = self.log(partition);
        let found = log.entries.iter().find(|entry| entry.timestamp_ms >= time_ms);
        found.map_or(log.end, |entry| entry.offset)
    }
}

/// What is read of one partition by one process.
pub(crate) struct SimulatedQueue {
    topic: Shared,
    partition: i32,
    /// Where reading goes on; past the records, holes are passed too.
    position: Arc<Mutex<i64>>,
    /// The end that the broker named last.
    end: i64,
    random: Random,
    rewinds: Option<u64>,
}

impl SimulatedQueue {
    /// A queue from an offset on, and its position.
    pub(crate) fn new(
        topic: &Shared,
        partition: i32,
        next: i64,
        seed: u64,
        rewinds: Option<u64>,
    ) -> (Self, Arc<Mutex<i64>>) {
        let position = Arc::new(Mutex::new(next));
        let queue = Self {
            topic: Arc::clone(topic),
            partition,
            position: Arc::clone(&position),
            end: 0,
            random: Random::new(seed),
            rewinds,
        };
        (queue, position)
    }
}

impl Queue for SimulatedQueue {
    type Messages = Batch;

    fn take(&mut self, max: usize) -> Taken<Batch> {
        let topic = Arc::clone(&self.topic);
        let topic = look(&topic);
        let log = topic.log(self.partition);
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        if Chances::strikes(self.rewinds, &mut self.random) {
            *position = (*position - self.random.below(20) as i64).max(0);
        }
        let wanted = match self.random.below(4) {
            0 => 0,
            1 => 1,
            _ => 1 + self.random.below(30) as usize,
        };
        let wanted = wanted.min(max);
        let from = log.entries.partition_point(|entry| entry.offset < *position);
        let entries: Vec<Arc<Entry>> = log.entries[from..].iter().take(wanted).cloned().collect();
        if let Some(last) = entries.last() {
            *position = last.offset + 1;
        }
        if wanted > 0 {
            self.end = log.end;
            if from + entries.len() == log.entries.len() {
                *position = log.end;
            }
        }
        let full = entries.len() == max;
        Taken { messages: Batch(entries), error: None, full }
    }

    fn end(&self) -> Option<i64> {
        (self.end > 0).then_some(self.end)
    }
}

/// Records of one read.
pub(crate) struct Batch(Vec<Arc<Entry>>);

impl Records for Batch {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Record<'_> {
        let entry = &self.0[index];
        Record { offset: entry.offset, timestamp_ms: Some(entry.timestamp_ms), payload: &entry.payload }
    }
}

impl Messages for Batch {
    fn drop_before(&mut self, offset: i64) {
        self.0.retain(|entry| entry.offset >= offset);
    }

    fn split_before(&mut self, offset: i64) -> Self {
        let at = self.0.partition_point(|entry| entry.offset < offset);
        let rest = self.0.split_off(at);
        Self(std::mem::replace(&mut self.0, rest))
    }
}
