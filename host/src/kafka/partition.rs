//! One assigned partition: what is read next, how far it is from its end, and the lane it fills.
//!
//! Not for decoding. Invariant: fetches leave in offset order and cover everything from the start on;
//! none straddles the offset up to which records were judged before; a change of progress travels behind
//! the messages that brought it about.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{ClockMode, Config};
use crate::pipeline::BatchSize;
use crate::pipeline::batch::{Fetch, OwnedRecords, Progress, Records};
use crate::pipeline::lane::LaneSender;
use crate::traces::{self, Span};

/// Where a partition's messages wait: librdkafka's queue, or a simulated one.
pub trait Queue {
    /// What it gives.
    type Messages: Messages;

    /// Takes what is there, at most `max` messages, without waiting.
    fn take(&mut self, max: usize) -> Taken<Self::Messages>;
    /// The end of the partition as the last answer of its broker said; none before the first one.
    fn end(&self) -> Option<i64>;
}

/// Messages of one read, in the order of their offsets.
pub trait Messages: Records + Sized + 'static {
    /// Drops messages before an offset: a rebalance rewinds partitions that stay to what librdkafka
    /// believes was taken, and a batch that was being taken meanwhile comes a second time.
    fn drop_before(&mut self, offset: i64);
    /// Takes the messages before an offset off the front.
    fn split_before(&mut self, offset: i64) -> Self;
    /// The offset of the last message.
    fn last_offset(&self) -> Option<i64> {
        self.len().checked_sub(1).map(|last| self.get(last).offset)
    }
}

/// What a read of a queue gave.
pub struct Taken<M> {
    /// Messages in their order.
    pub messages: M,
    /// An error, and how it is called.
    pub error: Option<Failure>,
    /// The queue may hold more.
    pub full: bool,
}

/// What decides about a partition's progress.
#[derive(Debug, Clone, Copy)]
pub struct ProgressRules {
    /// The clock that windows move with.
    pub clock: ClockMode,
    /// With a wall clock: how old the newest record read may be until a live partition is behind.
    pub live_lag_ms: i64,
}

impl ProgressRules {
    /// The rules of the trades' own topic.
    pub(super) fn of(config: &Config) -> Self {
        let live_lag_ms = i64::try_from(config.pipeline.live_lag.as_millis()).unwrap_or(i64::MAX);
        Self { clock: config.pipeline.clock, live_lag_ms }
    }
}

/// The state of one assigned partition.
pub struct Partition<Q> {
    pub(super) id: i32,
    queue: Q,
    lane: LaneSender,
    rules: ProgressRules,
    /// The first offset not yet handed over.
    pub next: i64,
    /// The end as last seen.
    pub(super) end: i64,
    /// The end that must be passed to be live: it stood when the partition was assigned or fell behind.
    goal: i64,
    progress: Progress,
    /// A batch ends there, so that all of it was judged before by a process that ended, or none.
    cut: Option<i64>,
    /// Batches that the lane had no room for.
    held: VecDeque<Fetch>,
    /// An error that came with messages, for the next look.
    failure: Option<Failure>,
    /// The mean size of a message, smoothed.
    message_bytes: usize,
    /// When the broker last gave something, or was not asked since the lane was full.
    pub(super) answered_at: Instant,
    /// It is left out of the clocks.
    pub(super) absent: bool,
    /// Its batches have no traces of their own.
    again: bool,
    /// The client counted an error as a record that was taken, so that its position says nothing until the next record.
    miscounted: bool,
}

/// What librdkafka says of a partition that it cannot read on.
pub type Failure = (rdkafka::bindings::rd_kafka_resp_err_t, String);

/// Where reading begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Begin {
    /// The first offset.
    pub next: i64,
    /// A later offset at which a batch must end.
    pub cut: Option<i64>,
}

/// What a look at a partition came to.
pub enum Look {
    /// Nothing to read, or no room for it.
    Idle,
    /// Something was read; there may be more.
    Busy,
    /// The partition cannot be read on.
    Failed(Failure),
    /// The client may have skipped records: it must fetch from `next` again.
    Skipped,
}

impl<Q: Queue> Partition<Q> {
    /// Begins to read; the mark that travels alone at the assignment goes first.
    pub fn new(id: i32, queue: Q, lane: LaneSender, rules: ProgressRules, begin: Begin, end: i64) -> Self {
        let Begin { next, cut } = begin;
        let mut partition = Self {
            id,
            queue,
            lane,
            rules,
            next,
            end,
            goal: end,
            progress: Progress::Behind,
            cut,
            held: VecDeque::new(),
            failure: None,
            message_bytes: 1_024,
            answered_at: Instant::now(),
            absent: false,
            again: false,
            miscounted: false,
        };
        // An empty partition is at its end already.
        if next >= end {
            partition.progress = partition.reached();
        }
        partition.held.push_back(partition.fetch(Arc::new(OwnedRecords::default()), next));
        partition
    }

    /// Whether everything that was read is taken.
    pub(super) fn is_taken(&self) -> bool {
        self.held.is_empty() && self.lane.is_empty()
    }

    /// What is read here was or will be read by another one, too; the trace of a batch is that one's.
    pub(super) fn read_again(&mut self) {
        self.again = true;
    }

    /// Has the first mark cover what is missing before the first offset.
    pub(super) fn cover_from(&mut self, first: i64) {
        if let Some(mark) = self.held.front_mut() {
            mark.first = first;
        }
    }

    /// Hands over what was read before and found no room; says whether nothing of it is left.
    pub(super) fn hand_over_rest(&mut self) -> bool {
        self.offer_held();
        self.held.is_empty()
    }

    /// How many records there are, as far as is known, that were not read.
    pub(super) fn unread(&self) -> i64 {
        (self.end - self.next).max(0)
    }

    /// Goes on at another offset; what was read before and is held goes out first.
    pub(super) fn restart(&mut self, next: i64, end: i64) {
        self.next = next;
        (self.end, self.goal) = (end, end);
        self.cut = self.cut.filter(|cut| *cut > next);
        self.failure = None;
        self.miscounted = false;
        self.progress = Progress::Behind;
    }

    /// Reads what is there and hands it to the lane.
    pub fn look(&mut self, wall_ms: i64, size: BatchSize) -> Look {
        self.offer_held();
        if !self.held.is_empty() || !self.lane.has_room() {
            self.answered_at = Instant::now();
            return Look::Idle;
        }
        if let Some(failure) = self.failure.take() {
            return Look::Failed(failure);
        }
        let max = size.messages_of(self.message_bytes);
        let begun = traces::begin().filter(|_| !self.again);
        let mut taken = self.queue.take(max);
        taken.messages.drop_before(self.next);
        self.failure = taken.error.take();
        let empty = taken.messages.is_empty();
        if self.miscounted && !empty && taken.messages.get(0).offset > self.next {
            // A rebalance rewinds the client to what it counted, the error among it. A hole in the log looks the same, and
            // comes again.
            self.miscounted = false;
            return Look::Skipped;
        }
        self.miscounted = self.failure.is_some() || (self.miscounted && empty);
        if let Some(failure) = self.failure.take_if(|_| empty) {
            return Look::Failed(failure);
        }
        if empty && self.progress == self.reached() {
            return Look::Idle;
        }
        if !empty {
            self.answered_at = Instant::now();
            let (partition, first, messages) = (self.id, self.next, taken.messages.len());
            traces::end(begun, |took| {
                let span = Span::fetched(partition, first, took);
                span.number("partition", partition.into())
                    .number("first", first)
                    .number("messages", messages as i64)
            });
        }
        let more = taken.full;
        self.hand_over(taken, wall_ms);
        if more { Look::Busy } else { Look::Idle }
    }

    /// Learns that everything before an offset was read: behind the last record there may be markers of
    /// transactions, which nobody gets to see.
    pub fn passed(&mut self, position: i64) {
        if !self.miscounted && position > self.next && position >= self.end && self.held.is_empty() {
            let first = std::mem::replace(&mut self.next, position);
            self.progress = self.reached();
            self.held.push_back(self.fetch(Arc::new(OwnedRecords::default()), first));
        }
    }

    /// Hands held batches over, in their order, as far as the lane has room.
    fn offer_held(&mut self) {
        while let Some(fetch) = self.held.pop_front() {
            if let Err(fetch) = self.lane.offer(fetch) {
                self.held.push_front(fetch);
                return;
            }
        }
    }

    fn hand_over(&mut self, taken: Taken<Q::Messages>, wall_ms: i64) {
        let mut messages = taken.messages;
        let before = self.progress;
        let mut first = self.next;
        if let Some(last_offset) = messages.last_offset() {
            let last = messages.get(messages.len() - 1);
            let bytes: usize = last.payload.len();
            self.message_bytes = (self.message_bytes * 7 + bytes) / 8;
            self.fall_behind(last.timestamp_ms, wall_ms);
            if let Some(cut) = self.cut.take_if(|cut| *cut <= last_offset) {
                let head = messages.split_before(cut);
                self.next = cut;
                self.held.push_back(self.fetch(Arc::new(head), first));
                first = cut;
            }
            self.next = last_offset + 1;
        }
        self.set_end();
        let passed_goal = self.rules.clock == ClockMode::Wall && self.next >= self.goal;
        if passed_goal || (!taken.full && self.next >= self.end) {
            self.progress = self.reached();
        }
        if first < self.next || before != self.progress {
            self.held.push_back(self.fetch(Arc::new(messages), first));
        }
        self.offer_held();
    }

    /// What a partition is that has been read to its end.
    fn reached(&self) -> Progress {
        match self.rules.clock {
            ClockMode::Wall => Progress::Live,
            ClockMode::Event => Progress::End,
        }
    }

    /// A live partition is behind again when what it reads is old; one at its end when it goes on.
    fn fall_behind(&mut self, newest_record_ms: Option<i64>, wall_ms: i64) {
        match self.rules.clock {
            ClockMode::Event => self.progress = Progress::Behind,
            ClockMode::Wall => {
                let old = newest_record_ms.is_some_and(|ms| wall_ms - ms > self.rules.live_lag_ms);
                if old && self.next < self.end && self.progress == Progress::Live {
                    self.progress = Progress::Behind;
                    self.goal = self.end;
                }
            }
        }
    }

    /// Learns where the partition ends by now.
    pub fn set_end(&mut self) {
        self.end = self.end.max(self.queue.end().unwrap_or(0));
    }

    /// Learns where the broker says that it ends; what it says of a topic that was made anew is not of this one.
    pub(super) fn hear_end(&mut self, end: i64) {
        if self.queue.end().is_some() {
            self.end = self.end.max(end);
        }
    }

    /// Whether the broker has not answered for so long although there is something to read. An event
    /// clock waits for every partition, however long it takes.
    pub(super) fn is_silent(&self, timeout: Duration) -> bool {
        self.rules.clock == ClockMode::Wall
            && self.progress == Progress::Behind
            && self.is_taken()
            && self.answered_at.elapsed() > timeout
    }

    /// Where it stands.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    fn fetch(&self, records: Arc<dyn Records>, first: i64) -> Fetch {
        Fetch { partition: self.id, first, next: self.next, progress: self.progress, records }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::bindings::rd_kafka_resp_err_t as Code;

    use super::*;
    use crate::pipeline::batch::{Feed, Record};
    use crate::pipeline::{WorkerHandle, lane};

    /// Messages of which only the offsets matter.
    struct Offsets(Vec<i64>);

    impl Records for Offsets {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn get(&self, index: usize) -> Record<'_> {
            Record { offset: self.0[index], timestamp_ms: None, payload: b"{}" }
        }
    }

    impl Messages for Offsets {
        fn drop_before(&mut self, offset: i64) {
            self.0.retain(|own| *own >= offset);
        }

        fn split_before(&mut self, offset: i64) -> Self {
            let at = self.0.partition_point(|own| *own < offset);
            let behind = self.0.split_off(at);
            Self(std::mem::replace(&mut self.0, behind))
        }
    }

    /// What a client gives, read by read, and the end that it knows.
    struct Script(VecDeque<(Vec<i64>, Option<Failure>)>, Option<i64>);

    impl Queue for Script {
        type Messages = Offsets;

        fn take(&mut self, _: usize) -> Taken<Offsets> {
            let (offsets, error) = self.0.pop_front().unwrap();
            Taken { messages: Offsets(offsets), error, full: false }
        }

        fn end(&self) -> Option<i64> {
            self.1
        }
    }

    /// A partition that is read from offset 5, with an end of 100.
    fn partition(queue: Script) -> (Partition<Script>, lane::Lane) {
        let (inbox, _events) = crossbeam_channel::bounded(8);
        let (lane, taken) = lane::lane(0, Feed::Live, 8, 0, WorkerHandle::new(inbox), Arc::new(|| ()));
        let rules = ProgressRules { clock: ClockMode::Wall, live_lag_ms: 1_000 };
        let begin = Begin { next: 5, cut: None };
        (Partition::new(0, queue, lane, rules, begin, 100), taken)
    }

    #[test]
    fn an_end_that_is_heard_holds_unless_the_topic_is_another_one_by_now() {
        for (known, ends) in [(Some(100), [150, 150]), (None, [100, 100])] {
            let (mut partition, _taken) = partition(Script(VecDeque::new(), known));
            let heard = [150, 120].map(|end| {
                partition.hear_end(end);
                partition.end
            });
            assert_eq!(heard, ends);
        }
    }

    #[test]
    fn what_a_client_skips_that_counted_an_error_is_read_again_and_a_hole_is_passed() {
        let error = (Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "no right to read".to_owned());
        let script = [(vec![5], None), (vec![], Some(error)), (vec![7, 8], None), (vec![7, 8], None)];
        let (mut partition, _taken) = partition(Script(script.into(), Some(100)));
        let mut look = || {
            let size = BatchSize { bytes: 1 << 20, messages: 100 };
            let looked = match partition.look(0, size) {
                Look::Idle => "idle",
                Look::Busy => "busy",
                Look::Failed(_) => "failed",
                Look::Skipped => "skipped",
            };
            (looked, partition.next)
        };
        let looked: Vec<_> = (0..4).map(|_| look()).collect();
        assert_eq!(looked, [("idle", 6), ("failed", 6), ("skipped", 6), ("idle", 9)]);
    }
}
