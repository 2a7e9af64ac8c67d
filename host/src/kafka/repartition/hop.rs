//! The first hop: takes batches of the source, and hands them on in transactions.
//!
//! It stands behind a reader where the pipeline stands behind others, and answers what that asks of workers. What is
//! under way is one shipment; it is kept until it is known to be committed. Invariants: a partition is read from the
//! offset that the last transaction committed; after a failure that offset decides what is sent again; nothing of a
//! partition that was taken away is begun to be sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::Between;
use super::committed::{Committed, Note};
use super::producer::{Destination, Failure, Outgoing, Transactions};
use super::shipment::{Packer, Shipment};
use crate::backoff::Backoff;
use crate::config::{Config, Kafka};
use crate::health::Part;
use crate::kafka::Topics;
use crate::kafka::context::Context;
use crate::pipeline::batch::{Progress, SourceMark};
use crate::pipeline::lane::Lane;
use crate::pipeline::parcel::Parcel;
use crate::pipeline::{Assignment, Event, Intake, Resume};
use crate::trade::Packed;

/// How often every shard is told where the source stands at least.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// A transaction takes no further batch from here on.
const FULL_BYTES: usize = 32 << 20;
/// How long a question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// The longest time between two looks at the lanes.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// Under which name health knows the transactions.
const HEALTH: &str = "repartition";

/// A partition of the source that this host reads.
struct Source {
    /// Where its batches come from; none while its broker does not answer.
    lane: Option<Lane>,
    /// The first offset that is in no shipment.
    next: i64,
    progress: Progress,
    absent: bool,
}

impl Source {
    /// The largest event time read.
    fn newest_ms(&self) -> Option<i64> {
        self.lane.as_ref().and_then(|lane| lane.newest_ms)
    }
}

/// Partitions whose committed offsets are asked for.
struct Opening {
    partitions: Vec<i32>,
    reply: Sender<Resume>,
}

/// The state of the thread.
pub(super) struct Hop {
    config: Kafka,
    intake: Intake,
    consumer: Arc<BaseConsumer<Context>>,
    events: Receiver<Event>,
    shards: u32,
    /// The source's identity.
    topic_id: Option<Arc<str>>,
    /// How many partitions the source has.
    source_count: u32,
    /// How many it had at the first start of all.
    first_count: u32,
    sources: BTreeMap<i32, Source>,
    opening: Option<Opening>,
    packer: Packer,
    destination: Arc<Destination>,
    /// By which the broker knows this host's transactions.
    name: String,
    transactions: Option<Transactions>,
    /// What is sent or to be sent; not committed as far as is known.
    shipment: Shipment,
    /// A transaction with the shipment has failed: some of it may be committed.
    uncertain: bool,
    /// A partition stands elsewhere than the marks sent last say.
    changed: bool,
    marked_at: Option<Instant>,
    /// The least time from one transaction to the next.
    interval: Duration,
    next_at: Instant,
    backoff: Backoff,
    /// No transaction is tried before.
    rests_until: Option<Instant>,
    taking: bool,
    ending: Arc<AtomicBool>,
    stopping: Option<Sender<()>>,
    /// Who waits until everything is sent.
    emptying: Option<Sender<()>>,
}

impl Hop {
    pub(super) fn new(
        config: &Config,
        topics: &Topics,
        between: Between,
        intake: Intake,
        consumer: Arc<BaseConsumer<Context>>,
        events: Receiver<Event>,
        ending: Arc<AtomicBool>,
    ) -> Self {
        let kafka = &config.kafka;
        let shared = intake.shared();
        let process = || format!("{:032x}", shared.writing.owner_id);
        let host = kafka.group_instance_id.clone().unwrap_or_else(process);
        let destination = Destination {
            topic: kafka.hop_topic(),
            letters: kafka.dead_letter_topic.clone(),
            source: kafka.topic.clone(),
            batch_bytes: between.batch_bytes,
        };
        let shards = config.pipeline.shards;
        Self {
            shards,
            topic_id: topics.source.id.clone(),
            source_count: 0,
            first_count: 0,
            sources: BTreeMap::new(),
            opening: None,
            packer: Packer::new(shared.limits, shards, kafka.dead_letter_topic.is_some()),
            destination: Arc::new(destination),
            name: format!("{}-{}-{host}", kafka.group, kafka.topic),
            transactions: None,
            shipment: Shipment::default(),
            uncertain: false,
            changed: false,
            marked_at: None,
            interval: config.pipeline.flush_interval,
            next_at: Instant::now(),
            backoff: Backoff::SERVER,
            rests_until: None,
            taking: true,
            ending,
            stopping: None,
            emptying: None,
            config: kafka.clone(),
            intake,
            consumer,
            events,
        }
    }

    /// Serves until told to finish.
    pub(super) fn run(mut self) {
        loop {
            let timeout = self.wait();
            match self.events.recv_timeout(timeout) {
                Ok(Event::Finish) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(event) => self.serve(event),
                Err(RecvTimeoutError::Timeout) => {}
            }
            while let Ok(event) = self.events.try_recv() {
                match event {
                    Event::Finish => return,
                    event => self.serve(event),
                }
            }
            if self.rests_until.is_none_or(|until| Instant::now() >= until) {
                let shipped = self.answer_opening().and_then(|()| self.ship());
                self.note(shipped);
            }
            self.answer_stop();
        }
    }

    /// How long nothing is to be done.
    fn wait(&self) -> Duration {
        let now = Instant::now();
        let until = self.rests_until.unwrap_or(self.next_at).max(self.next_at);
        until.saturating_duration_since(now).clamp(Duration::from_millis(1), LONGEST_WAIT)
    }

    /// Notes whether a transaction was committed, or why none could be.
    fn note(&mut self, shipped: Result<bool, String>) {
        let health = &self.intake.shared().health;
        match shipped {
            Ok(true) => {
                (self.backoff, self.rests_until) = (Backoff::SERVER, None);
                health.ok(Part::Kafka, HEALTH);
            }
            Ok(false) => {}
            Err(words) => {
                self.rests_until = Some(Instant::now() + self.backoff.next());
                health.fail(Part::Kafka, HEALTH, &format!("{}: {words}", self.destination.topic));
                if self.stopping.is_some() {
                    // There is no time for another try; whoever follows reads it again.
                    self.shipment = Shipment::default();
                }
            }
        }
    }

    fn serve(&mut self, event: Event) {
        match event {
            Event::Open { partitions, reply } => self.opening = Some(Opening { partitions, reply }),
            Event::Assign(assignment) => self.assign(assignment),
            Event::Revoke { partition, done } => {
                self.drop_partition(partition);
                done.send(()).ok();
            }
            Event::Drop { done } => {
                for partition in self.sources.keys().copied().collect::<Vec<_>>() {
                    self.drop_partition(partition);
                }
                done.send(()).ok();
            }
            Event::Absent { partition, absent } => {
                if let Some(source) = self.sources.get_mut(&partition) {
                    source.absent = absent;
                    self.changed = true;
                }
            }
            Event::Empty(done) => self.emptying = Some(done),
            Event::StopTaking(done) => {
                self.taking = false;
                self.stopping = Some(done);
            }
            // There are no shards here.
            Event::Batch(_)
            | Event::Wake
            | Event::Probe(_)
            | Event::Upkeep { .. }
            | Event::Touch
            | Event::Tokens { .. }
            | Event::CatchUp(_)
            | Event::EndCatchUp(_)
            | Event::Lost(_)
            | Event::Begin { .. }
            | Event::Settle(_)
            | Event::Retire(_)
            | Event::Finish => {}
        }
    }

    fn assign(&mut self, assignment: Assignment) {
        let Assignment { partition, next, lane, .. } = assignment;
        // A broker may not have heard yet of a partition that another has told the group of.
        self.source_count = self.source_count.max(partition.unsigned_abs() + 1);
        self.sources.insert(partition, Source { lane, next, progress: Progress::Behind, absent: false });
        self.changed = true;
    }

    fn drop_partition(&mut self, partition: i32) {
        self.sources.remove(&partition);
        self.intake.front().leave(partition);
        self.shipment.retain(|part| part.partition != partition);
    }

    fn answer_stop(&mut self) {
        if !self.shipment.is_empty() {
            return;
        }
        if let Some(done) = self.stopping.take() {
            done.send(()).ok();
        }
        let mut lanes = self.sources.values().filter_map(|source| source.lane.as_ref());
        if lanes.all(Lane::is_empty)
            && let Some(done) = self.emptying.take()
        {
            done.send(()).ok();
        }
    }

    /// Answers where partitions are read from: where the last transaction that took some of them ended.
    fn answer_opening(&mut self) -> Result<(), String> {
        let Some(opening) = self.opening.as_ref().filter(|_| self.taking) else {
            return Ok(());
        };
        let count = self.count_sources()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.config.topic, 0, count.cast_signed() - 1);
        let committed = Committed::ask(&self.consumer, list, (self.shards, self.topic_id.as_deref()))?;
        let cells = opening.partitions.iter().map(|&partition| committed.start(partition)).collect();
        opening.reply.send(Resume { cells, ..Resume::default() }).ok();
        self.source_count = self.source_count.max(count);
        self.first_count = committed.first_count.unwrap_or(count);
        self.opening = None;
        Ok(())
    }

    fn count_sources(&self) -> Result<u32, String> {
        let topic = &self.config.topic;
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), ANSWER_WITHIN)
            .map_err(|error| format!("topic {topic}: {error}"))?;
        let count = metadata.topics().iter().map(|topic| topic.partitions().len()).sum::<usize>();
        match u32::try_from(count) {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(format!("topic {topic} does not exist (yet)")),
        }
    }

    /// Sends a transaction where one is due; says whether one was.
    fn ship(&mut self) -> Result<bool, String> {
        if !self.taking && self.shipment.is_empty() {
            // What was given up is behind the offsets, which nobody may commit.
            return Ok(false);
        }
        if self.uncertain {
            self.reconcile()?;
        }
        while self.gather() {}
        if Instant::now() < self.next_at && self.shipment.bytes() < FULL_BYTES {
            return Ok(false);
        }
        let marks_due = self.changed || self.marked_at.is_none_or(|at| at.elapsed() >= MARK_EVERY);
        let marks = marks_due && !self.sources.is_empty();
        if self.shipment.is_empty() && !marks {
            return Ok(false);
        }
        self.next_at = Instant::now() + self.interval;
        if self.shipment.bytes() >= FULL_BYTES {
            // A backlog is not held up.
            self.next_at = Instant::now();
        }
        self.transact(marks)?;
        Ok(true)
    }

    /// Takes a batch from each lane that has one and may be read, as long as there is room; false where there is none.
    fn gather(&mut self) -> bool {
        if !self.taking || self.shipment.bytes() >= FULL_BYTES {
            return false;
        }
        let shared = Arc::clone(self.intake.shared());
        let front = Arc::clone(self.intake.front());
        let mut taken = false;
        for (&partition, source) in &mut self.sources {
            let Some(lane) = &mut source.lane else {
                continue;
            };
            if !front.admits(partition) && self.emptying.is_none() {
                continue;
            }
            let Some(fetch) = lane.take() else {
                continue;
            };
            taken = true;
            let latest_ms = self.packer.decode(&fetch, shared.clock.now_ms());
            lane.newest_ms = lane.newest_ms.max(latest_ms);
            let newest_ms = lane.newest_ms;
            self.changed |= source.progress != fetch.progress;
            (source.next, source.progress) = (fetch.next, fetch.progress);
            front.note(partition, newest_ms, fetch.progress);
            if fetch.next > fetch.first {
                let mark = mark(partition, source, shared.clock.now_ms());
                self.shipment.add(self.packer.pack(fetch, mark, self.source_count));
            }
            if self.shipment.bytes() >= FULL_BYTES {
                break;
            }
        }
        taken
    }

    /// Sends the shipment, and marks of all partitions to all shards where asked for. The next one is gathered meanwhile.
    fn transact(&mut self, with_marks: bool) -> Result<(), String> {
        // Taken before anything is sent: where the group has moved on since, it refuses the transaction.
        let group = self.consumer.group_metadata().ok_or("no member of a group")?;
        let transactions = match self.transactions.take() {
            Some(client) => client,
            None => self.open_transactions()?,
        };
        let marks = if with_marks { self.marks() } else { Vec::new() };
        let offsets = self.offsets().map_err(|error| error.to_string())?;
        let changed = std::mem::take(&mut self.changed);
        let mut sent = std::mem::take(&mut self.shipment);
        let mut shortened = std::mem::take(&mut sent.shortened);
        let (records, letters) = (sent.records().chain(&marks), sent.letters());
        let committed =
            transactions.commit(records, &letters, &mut shortened, (&offsets, &group), || self.gather());
        let usable = committed.as_ref().err().is_none_or(|failure| failure.usable);
        self.transactions = usable.then_some(transactions);
        if let Err(Failure { words, .. }) = committed {
            self.changed |= changed;
            self.uncertain = true;
            sent.shortened = shortened;
            self.shipment.put_back(sent);
            return Err(words);
        }
        if with_marks {
            self.marked_at = Some(Instant::now());
        }
        self.committed(sent, &offsets);
        Ok(())
    }

    fn open_transactions(&self) -> Result<Transactions, String> {
        let (destination, ending) = (Arc::clone(&self.destination), Arc::clone(&self.ending));
        let metrics = Arc::clone(&self.intake.shared().metrics);
        Transactions::open(&self.config, &self.name, destination, metrics, ending)
    }

    /// Says how far the source has been sent, and counts what was sent of it.
    fn committed(&self, sent: Shipment, offsets: &TopicPartitionList) {
        // Not by what was sent: of a transaction whose answer was lost, parts may have been committed before.
        for element in offsets.elements() {
            let Offset::Offset(next) = element.offset() else {
                continue;
            };
            let newest_ms = self.sources.get(&element.partition()).and_then(Source::newest_ms);
            self.intake.board().partition(element.partition(), |status| {
                (status.decoded, status.newest_ms) = (next, newest_ms);
            });
        }
        let shared = self.intake.shared();
        let (messages, letters) = sent.count(&shared.rejections);
        shared.metrics.messages.inc_by(messages as u64);
        shared.metrics.dead_letters.inc_by(letters as u64);
    }

    /// Asks what of the shipment was committed after all, and keeps the rest.
    fn reconcile(&mut self) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        for partition in self.shipment.partitions() {
            list.add_partition(&self.config.topic, partition);
        }
        if list.count() > 0 {
            let committed = Committed::ask(&self.consumer, list, (self.shards, self.topic_id.as_deref()))?;
            self.shipment.retain(|part| committed.next(part.partition).is_none_or(|next| next < part.next));
        }
        self.uncertain = false;
        // Marks may have gone with it, or not.
        self.changed = true;
        Ok(())
    }

    /// A record of marks for each shard.
    fn marks(&self) -> Vec<Outgoing> {
        let at_ms = self.intake.shared().clock.now_ms();
        let marks: Vec<SourceMark> =
            self.sources.iter().map(|(&partition, source)| mark(partition, source, at_ms)).collect();
        let parcel = Parcel { sources: self.source_count, marks, partition: 0, trades: Packed::default() };
        let payload = parcel.encode();
        let record = |shard: u32| Outgoing {
            shard: shard.cast_signed(),
            payload: payload.clone(),
            timestamp_ms: at_ms,
        };
        (0..self.shards).map(record).collect()
    }

    /// Where each partition stands behind the shipment.
    fn offsets(&self) -> Result<TopicPartitionList, KafkaError> {
        let topic_id = self.topic_id.clone();
        let note = Note { shards: self.shards, sources: self.first_count, topic_id }.to_string();
        let mut list = TopicPartitionList::new();
        for (&partition, source) in self.sources.iter().filter(|(_, source)| source.lane.is_some()) {
            let mut element = list.add_partition(&self.config.topic, partition);
            element.set_offset(Offset::Offset(source.next))?;
            element.set_metadata(&note);
        }
        Ok(list)
    }
}

fn mark(partition: i32, source: &Source, at_ms: i64) -> SourceMark {
    SourceMark {
        partition,
        next: source.next,
        newest_ms: source.newest_ms(),
        progress: source.progress,
        absent: source.absent,
        at_ms,
    }
}
