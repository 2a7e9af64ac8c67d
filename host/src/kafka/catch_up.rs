//! The second reader: brings cells that lag behind their shard what they have not taken.
//!
//! It has a consumer of its own, made when it is first needed, which is of no group and commits nothing.
//! Not for deciding who lags. Invariant: each partition that is wanted is read from the smallest offset
//! that any lagging cell wants, without a gap; what retention has deleted is counted, and the cells are told
//! that it is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rdkafka::Offset;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::Stream;
use super::assign_anew;
use super::client;
use super::context::{Context, positions, serve};
use super::native::{OTHER_TOPIC, PartitionQueue};
use super::offsets::StartRules;
use super::partition::{Begin, Look, Partition, ProgressRules};
use crate::config::{Kafka, StartFrom};
use crate::pipeline::Intake;
use crate::pipeline::catch_up::{DemandId, Want, Wanted};
use crate::threads::joined;

/// How often demands are looked at while something is read.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often the reader looks around without being woken.
const REST: Duration = Duration::from_millis(500);
/// How long one question to the broker may take; the end of the service waits for it.
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// How long a partition that cannot be read is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// The running reader; ends when dropped.
pub(super) struct CatchUp {
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl CatchUp {
    /// Starts the thread; nothing is connected before something is wanted.
    pub(super) fn start(stream: &Stream, intake: Intake, start: StartRules) -> std::io::Result<Self> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (config, topic_id, progress) = (stream.kafka.clone(), stream.topic_id.clone(), stream.rules);
        // Its partitions' queues stay on the thread that reads them, so it is made there.
        let run = move || {
            let reader = CatchUpReader {
                config,
                topic_id,
                intake,
                start,
                progress,
                stopped,
                consumer: None,
                runs: BTreeMap::new(),
                begun: BTreeMap::new(),
                failed_at: None,
                behind_log: BTreeSet::new(),
            };
            reader.run();
        };
        let thread = thread::Builder::new().name("kafka-catch-up".to_owned()).spawn(run)?;
        Ok(Self { running: Some((stop, thread)) })
    }
}

impl Drop for CatchUp {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            thread.thread().unpark();
            joined(thread);
        }
    }
}

/// The state of the thread.
struct CatchUpReader {
    config: Kafka,
    topic_id: Option<Arc<str>>,
    intake: Intake,
    start: StartRules,
    progress: ProgressRules,
    stopped: Receiver<()>,
    consumer: Option<Arc<BaseConsumer<Context>>>,
    runs: BTreeMap<i32, Run>,
    /// Where demands for a horizon turned out to begin.
    begun: BTreeMap<(DemandId, i32), i64>,
    /// When the broker last refused something.
    failed_at: Option<Instant>,
    /// Partitions whose next record is gone: reading goes on where the log begins.
    behind_log: BTreeSet<i32>,
}

/// A partition that is being read.
struct Run {
    partition: Partition<PartitionQueue>,
    /// The demands that it serves: each gets everything from its offset on.
    serves: BTreeSet<DemandId>,
}

impl CatchUpReader {
    fn run(mut self) {
        let reader = thread::current();
        self.intake.shared().demands.wake(Arc::new(move || reader.unpark()));
        let mut looked_at: Option<Instant> = None;
        while self.stopped.try_recv() != Err(TryRecvError::Disconnected) {
            if looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
                looked_at = Some(Instant::now());
                let wanted = self.intake.shared().demands.wanted();
                self.follow(&wanted);
            }
            if !self.read() {
                thread::park_timeout(if self.runs.is_empty() { REST } else { LOOK_EVERY });
            }
        }
        self.follow(&Wanted::new());
    }

    /// Reads what is wanted, and nothing else.
    fn follow(&mut self, wanted: &Wanted) {
        self.begun.retain(|(id, _), _| wanted.contains_key(id));
        if self.failed_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        let followed = self.try_follow(wanted);
        self.failed_at = followed.is_err().then(Instant::now);
        if let Err(error) = followed {
            tracing::warn!(%error, "Nothing read again yet; trying on");
        }
    }

    fn try_follow(&mut self, wanted: &Wanted) -> KafkaResult<()> {
        let mut by_partition: BTreeMap<i32, BTreeMap<DemandId, i64>> = BTreeMap::new();
        // A partition of which nothing can be learned now holds up no other.
        let mut followed = Ok(());
        for (&id, wants) in wanted {
            for (&partition, &want) in wants {
                let from = match want {
                    Want::From(next) => Ok(next),
                    Want::Horizon { not_before } => self.horizon(id, partition, not_before),
                };
                match from {
                    Ok(from) => drop(by_partition.entry(partition).or_default().insert(id, from)),
                    Err(error) => followed = Err(error),
                }
            }
        }
        let over: Vec<i32> = self.runs.keys().filter(|id| !by_partition.contains_key(id)).copied().collect();
        for partition in over {
            self.end(partition)?;
        }
        for (partition, wants) in by_partition {
            let missed = |run: &Run| {
                wants.iter().any(|(id, &from)| !run.serves.contains(id) && from < run.partition.next)
            };
            if self.runs.get(&partition).is_none_or(missed) {
                let from = wants.values().copied().min().unwrap_or(0);
                self.end(partition)?;
                self.begin(partition, from, from)?;
            }
            if let Some(run) = self.runs.get_mut(&partition) {
                run.serves = wants.into_keys().collect();
            }
        }
        followed
    }

    /// Finds out where a cell begins that starts with nothing, and tells it.
    fn horizon(&mut self, id: DemandId, partition: i32, not_before: i64) -> KafkaResult<i64> {
        if let Some(&from) = self.begun.get(&(id, partition)) {
            return Ok(from);
        }
        let consumer = self.consumer()?;
        let span = self.start.span(&consumer, partition, ASK_WITHIN)?;
        let from = match self.start.start_from {
            // What is newest by now was nothing to a cell that began before.
            StartFrom::Latest if not_before >= 0 => not_before.max(span.low),
            _ => span.start.max(not_before),
        };
        self.begun.insert((id, partition), from);
        self.intake.begin(id, partition, from);
        Ok(from)
    }

    fn consumer(&mut self) -> KafkaResult<Arc<BaseConsumer<Context>>> {
        if let Some(consumer) = &self.consumer {
            return Ok(Arc::clone(consumer));
        }
        let context = Context::new(Arc::clone(&self.intake.shared().metrics), &self.config.topic);
        let settings = client::catch_up_consumer(&self.config);
        let consumer = Arc::new(BaseConsumer::from_config_and_context(&settings, context)?);
        self.consumer = Some(Arc::clone(&consumer));
        Ok(consumer)
    }

    /// Begins to read a partition; its first mark covers everything from `first` on.
    fn begin(&mut self, id: i32, first: i64, next: i64) -> KafkaResult<()> {
        let consumer = self.consumer()?;
        let reader = thread::current();
        let topic = (&*self.config.topic, self.topic_id.clone());
        let Some(queue) = PartitionQueue::open(&consumer, topic, id, thread::current()) else {
            return Ok(());
        };
        let lane = self.intake.catch_up(id, Arc::new(move || reader.unpark()));
        let begin = Begin { next, cut: None };
        let mut partition = Partition::new(id, queue, lane, self.progress, begin, 0);
        partition.cover_from(first);
        partition.read_again();
        self.runs.insert(id, Run { partition, serves: BTreeSet::new() });
        tracing::info!(partition = id, next, "Reading a partition again for cells that lag");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.config.topic, id, Offset::Offset(next))?;
        consumer.incremental_assign(&list)
    }

    /// Ends the reading of a partition, if it is read.
    fn end(&mut self, id: i32) -> KafkaResult<()> {
        if self.runs.remove(&id).is_none() {
            return Ok(());
        }
        self.intake.end_catch_up(id);
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.config.topic, id);
        self.consumer()?.incremental_unassign(&list)
    }

    /// Reads on; says whether there may be more.
    fn read(&mut self) -> bool {
        let Some(consumer) = &self.consumer else {
            return false;
        };
        serve(consumer);
        while let Some(notice) = consumer.client().context().next() {
            tracing::debug!(?notice, "Catch-up consumer notice");
        }
        for (partition, position) in positions(consumer) {
            if let Some(run) = self.runs.get_mut(&partition) {
                run.partition.set_end();
                run.partition.passed(position);
            }
        }
        let wall_ms = self.intake.shared().clock.now_ms();
        let size = self.intake.shared().tuning.batch_size();
        let mut busy = false;
        let (mut failed, mut skipped) = (Vec::new(), Vec::new());
        for (&id, run) in &mut self.runs {
            match run.partition.look(wall_ms, size) {
                Look::Idle => {}
                Look::Busy => busy = true,
                Look::Failed((code, words)) => failed.push((id, code, words)),
                Look::Skipped => skipped.push((id, run.partition.next)),
            }
        }
        for (id, next) in skipped {
            if let Err(error) = assign_anew(consumer, &self.config.topic, id, next) {
                tracing::warn!(partition = id, next, %error, "Partition cannot be read again");
            }
        }
        for (id, code, words) in failed {
            self.partition_failed(id, code, &words);
        }
        self.go_on_at_log_start();
        busy
    }

    fn partition_failed(&mut self, id: i32, code: Code, words: &str) {
        if code == OTHER_TOPIC {
            // The other reader ends the term for that.
            return;
        }
        tracing::warn!(partition = id, reason = %words, "Partition cannot be read again");
        let out_of_range = code == Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
            || code == Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
        if out_of_range {
            self.behind_log.insert(id);
        }
    }

    /// Goes on where the log still is, as soon as what was read before is taken: a lane that ends takes with it what
    /// waits there. What was deleted is counted.
    fn go_on_at_log_start(&mut self) {
        if self.failed_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        for id in std::mem::take(&mut self.behind_log) {
            let Some(run) = self.runs.get(&id) else {
                continue;
            };
            if !run.partition.is_taken() {
                self.behind_log.insert(id);
                continue;
            }
            let (first, serves) = (run.partition.next, run.serves.clone());
            match (self.begin_at_log_start(id, first), self.runs.get_mut(&id)) {
                (Ok(()), Some(run)) => run.serves = serves,
                (Ok(()), None) => {}
                (Err(error), _) => {
                    tracing::warn!(partition = id, %error, "Log start not found; trying on");
                    self.failed_at = Some(Instant::now());
                    self.behind_log.insert(id);
                }
            }
        }
    }

    fn begin_at_log_start(&mut self, id: i32, first: i64) -> KafkaResult<()> {
        let (low, _) = self.consumer()?.fetch_watermarks(&self.config.topic, id, ASK_WITHIN)?;
        self.end(id)?;
        if low > first {
            self.intake.shared().metrics.offset_gap(id, low - first);
            tracing::warn!(
                partition = id,
                records = low - first,
                next = low,
                "Records were deleted before they were read again"
            );
        }
        self.begin(id, first.min(low), low.max(first))
    }
}
