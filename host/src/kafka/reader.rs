//! The poll thread: reads every assigned partition's queue and answers the group.
//!
//! Not for decoding, nor for anything that waits: questions to the broker are asked by [`offsets`],
//! results are written by the pipeline. Invariant: the consumer is served at least every
//! [`SERVE_EVERY`], so that the group never takes this host for dead while it works.
//!
//! [`offsets`]: super::offsets

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::context::{Context, Notice};
use super::native::{PartitionQueue, cached_end};
use super::offsets::{Offsets, Question, Span};
use super::partition::{Look, Partition, ProgressRules};
use crate::config::Kafka;
use crate::health::Part;
use crate::pipeline::Intake;
use crate::pipeline::board::state;

/// How often the consumer is served at least.
const SERVE_EVERY: Duration = Duration::from_millis(50);
/// How often ends are looked up and positions posted.
const TIDY_EVERY: Duration = Duration::from_millis(500);
/// How often positions are committed, for lag tools.
const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// How long a revoked partition may take to be finished.
const REVOKE_WITHIN: Duration = Duration::from_secs(5);

/// What the reader is told by whoever stops it.
pub(super) enum Control {
    /// Read nothing more; answer.
    StopReading(Sender<()>),
    /// Commit what has been written, leave the group, end.
    Close,
}

/// Partitions that are being given back.
struct Leaving {
    partitions: Vec<i32>,
    answers: Vec<Receiver<()>>,
    since: Instant,
}

/// The state of the thread.
pub(super) struct Reader {
    pub(super) config: Kafka,
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) intake: Intake,
    pub(super) offsets: Offsets,
    pub(super) rules: ProgressRules,
    pub(super) control: Receiver<Control>,
    /// By group, or all partitions by ourselves.
    pub(super) grouped: bool,
    partitions: BTreeMap<i32, Partition>,
    /// Partitions whose spans have been asked for.
    expected: Option<Vec<i32>>,
    leaving: Option<Leaving>,
    reading: bool,
    tidied_at: Instant,
    committed_at: Instant,
    committed: BTreeMap<i32, i64>,
}

impl Reader {
    pub(super) fn new(
        config: Kafka,
        consumer: Arc<BaseConsumer<Context>>,
        intake: Intake,
        offsets: Offsets,
        rules: ProgressRules,
        control: Receiver<Control>,
        grouped: bool,
    ) -> Self {
        let now = Instant::now();
        Self {
            config,
            consumer,
            intake,
            offsets,
            rules,
            control,
            grouped,
            partitions: BTreeMap::new(),
            expected: None,
            leaving: None,
            reading: true,
            tidied_at: now,
            committed_at: now,
            committed: BTreeMap::new(),
        }
    }

    /// Reads until told to close.
    pub(super) fn run(mut self) {
        if self.grouped {
            if let Err(error) = self.consumer.subscribe(&[&self.config.topic]) {
                self.fail(&format!("subscribe to {}: {error}", self.config.topic));
            }
        } else {
            self.offsets.ask(Question::All);
        }
        let mut served_at = Instant::now();
        loop {
            match self.control.try_recv() {
                Ok(Control::StopReading(done)) => {
                    self.reading = false;
                    self.partitions.clear();
                    done.send(()).ok();
                }
                Ok(Control::Close) | Err(crossbeam_channel::TryRecvError::Disconnected) => {
                    return self.close();
                }
                Err(crossbeam_channel::TryRecvError::Empty) => {}
            }
            let busy = self.reading && self.look();
            if !busy || served_at.elapsed() >= SERVE_EVERY {
                served_at = Instant::now();
                self.serve();
            }
            if !busy {
                thread::park_timeout(SERVE_EVERY);
            }
        }
    }

    /// Looks at every partition once; says whether any may have more.
    fn look(&mut self) -> bool {
        let wall_ms = self.intake.shared().clock.now_ms();
        let mut busy = false;
        let mut failed = Vec::new();
        for partition in self.partitions.values_mut() {
            match partition.look(wall_ms) {
                Look::Idle => {}
                Look::Busy => busy = true,
                Look::Failed(code, words) => failed.push((partition.id, code, words)),
            }
        }
        for (partition, code, words) in failed {
            self.partition_failed(partition, code, &words);
        }
        busy
    }

    fn partition_failed(
        &mut self,
        partition: i32,
        code: rdkafka::bindings::rd_kafka_resp_err_t,
        words: &str,
    ) {
        use rdkafka::bindings::rd_kafka_resp_err_t as Code;
        let topic = format!("partition {partition}");
        let words = format!("{}[{partition}]: {words}", self.config.topic);
        let out_of_range = code == Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
            || code == Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
        self.intake.shared().board.partition(partition, |status| status.problem = Some(words.clone()));
        if !out_of_range {
            self.intake.shared().health.fail(Part::Kafka, &topic, &words);
            return;
        }
        // What was to be read next has been deleted: read on at what is left.
        tracing::warn!(partition, reason = %words, "Offset out of range; reading on at the start of the log");
        if let Ok((low, high)) =
            self.consumer.fetch_watermarks(&self.config.topic, partition, Duration::from_secs(1))
        {
            let mut list = TopicPartitionList::new();
            let offset = Offset::Offset(low.max(0));
            let added = list.add_partition_offset(&self.config.topic, partition, offset);
            let sought = added.and_then(|()| self.consumer.seek_partitions(list, Duration::from_secs(1)));
            if let (Ok(_), Some(known)) = (sought, self.partitions.get_mut(&partition)) {
                known.set_end(high);
                self.intake.shared().board.partition(partition, |status| status.problem = None);
            }
        }
    }

    /// Serves the group, the answers of the broker, and the clock.
    fn serve(&mut self) {
        // Messages travel on the partitions' own queues; what comes here are events and errors.
        while let Some(event) = self.consumer.poll(Duration::ZERO) {
            if let Err(error) = event {
                tracing::debug!(%error, "Kafka consumer event");
            }
        }
        while let Some(notice) = self.consumer.client().context().next() {
            self.act_on(notice);
        }
        while let Some(spans) = self.offsets.answer() {
            self.open(&spans);
        }
        self.finish_leaving();
        if self.tidied_at.elapsed() >= TIDY_EVERY {
            self.tidied_at = Instant::now();
            self.tidy();
        }
        if self.committed_at.elapsed() >= COMMIT_EVERY {
            self.committed_at = Instant::now();
            self.commit(CommitMode::Async);
        }
    }

    fn act_on(&mut self, notice: Notice) {
        match notice {
            Notice::Assigned(partitions) => {
                tracing::info!(?partitions, "Partitions assigned by the group");
                self.expected = Some(partitions.clone());
                if partitions.is_empty() {
                    self.open(&[]);
                } else {
                    self.offsets.ask(Question::These(partitions));
                }
            }
            Notice::Revoked { partitions, lost } => {
                tracing::info!(?partitions, lost, "Partitions revoked by the group");
                self.expected = None;
                self.leave(partitions);
            }
            Notice::Brokers { connected: false } => self.fail("no broker is connected"),
            Notice::Brokers { connected: true } => {
                // A member that the group has given nothing is as ready as one that reads.
                if self.expected.is_none() && (self.grouped || !self.partitions.is_empty()) {
                    self.intake.shared().health.ok(Part::Kafka, "");
                }
            }
            Notice::Error(words) => tracing::warn!(reason = %words, "Kafka client error"),
        }
    }

    fn fail(&self, words: &str) {
        self.intake.shared().health.fail(Part::Kafka, "", &format!("{}: {words}", self.config.brokers));
    }

    /// Opens partitions whose spans are known, and has them read.
    fn open(&mut self, spans: &[Span]) {
        if let Some(expected) = &self.expected
            && !spans.iter().map(|span| span.partition).eq(expected.iter().copied())
        {
            return;
        }
        self.expected = None;
        let mut list = TopicPartitionList::new();
        for span in spans {
            let Some(queue) =
                PartitionQueue::open(&self.consumer, &self.config.topic, span.partition, thread::current())
            else {
                self.fail(&format!("no queue for partition {}", span.partition));
                continue;
            };
            let reader = thread::current();
            let lane = self.intake.assign(span.partition, span.start, Arc::new(move || reader.unpark()));
            let partition = Partition::new(span.partition, queue, lane, self.rules, span.start, span.end);
            self.partitions.insert(span.partition, partition);
            let offset = Offset::Offset(span.start);
            if let Err(error) = list.add_partition_offset(&self.config.topic, span.partition, offset) {
                self.fail(&format!("partition {}: {error}", span.partition));
            }
        }
        let assigned =
            if self.grouped { self.consumer.incremental_assign(&list) } else { self.consumer.assign(&list) };
        match assigned {
            Ok(()) => {
                tracing::info!(partitions = spans.len(), topic = %self.config.topic, "Reading")
            }
            Err(error) => self.fail(&format!("assign: {error}")),
        }
        self.tidy();
    }

    /// Begins to give partitions back; the group is answered when their results are written.
    fn leave(&mut self, partitions: Vec<i32>) {
        let mut answers = Vec::new();
        for partition in &partitions {
            if self.partitions.remove(partition).is_some() {
                answers.push(self.intake.revoke(*partition));
            }
        }
        self.leaving = Some(Leaving { partitions, answers, since: Instant::now() });
        self.finish_leaving();
    }

    fn finish_leaving(&mut self) {
        let Some(mut leaving) = self.leaving.take() else {
            return;
        };
        // An answer, or a worker that has died.
        leaving
            .answers
            .retain(|answer| matches!(answer.try_recv(), Err(crossbeam_channel::TryRecvError::Empty)));
        if !leaving.answers.is_empty() && leaving.since.elapsed() < REVOKE_WITHIN {
            self.leaving = Some(leaving);
            return;
        }
        self.commit(CommitMode::Async);
        let mut list = TopicPartitionList::new();
        for &partition in &leaving.partitions {
            list.add_partition(&self.config.topic, partition);
            self.intake.shared().board.revoke(partition);
            self.committed.remove(&partition);
            self.intake.shared().health.clear(Part::Kafka, &format!("partition {partition}"));
        }
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            self.fail(&format!("unassign: {error}"));
        }
    }

    /// Posts where the partitions stand, and leaves out those whose broker does not answer.
    fn tidy(&mut self) {
        for partition in self.partitions.values_mut() {
            if let Some(end) = cached_end(&self.consumer, &self.config.topic, partition.id) {
                partition.set_end(end);
            }
            let silent = partition.is_silent(self.config.session_timeout);
            if silent != partition.absent {
                partition.absent = silent;
                self.intake.set_absent(partition.id, silent);
                let topic = format!("partition {}", partition.id);
                let words = format!("{}[{}] does not answer", self.config.topic, partition.id);
                match silent {
                    true => self.intake.shared().health.fail(Part::Kafka, &topic, &words),
                    false => self.intake.shared().health.clear(Part::Kafka, &topic),
                }
            }
            self.intake.shared().board.partition(partition.id, |status| {
                status.state = state(partition.progress());
                status.fetched = partition.next;
                status.end = Some(partition.end);
            });
        }
    }

    /// Commits what the store has accepted; for lag tools, nothing reads it back.
    fn commit(&mut self, mode: CommitMode) {
        let mut list = TopicPartitionList::new();
        for (partition, next) in self.intake.shared().board.committable() {
            if self.committed.get(&partition) != Some(&next) {
                let added = list.add_partition_offset(&self.config.topic, partition, Offset::Offset(next));
                if added.is_ok() {
                    self.committed.insert(partition, next);
                }
            }
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, mode)
        {
            tracing::warn!(%error, "Offsets not committed");
        }
    }

    fn close(mut self) {
        self.partitions.clear();
        self.commit(CommitMode::Sync);
        self.consumer.client().context().close();
        // Dropping the last handle of the consumer leaves the group and waits for its answer.
    }
}
