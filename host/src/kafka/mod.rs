//! Kafka: reading trades, sending dead letters and results. The only folder that names librdkafka.
//!
//! [`Source`] owns the poll thread (`reader`), which fills the pipeline's lanes; the pipeline does
//! not know where its batches come from. Invariant: the consumer ends before the process does, so
//! that the group learns of it at once.

mod catch_up;
mod check;
mod client;
mod context;
mod dead_letter;
mod describe;
mod identity;
pub mod mock;
mod native;
mod offsets;
mod output;
pub mod partition;
mod reader;
mod repartition;
pub mod resume;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

pub use check::connect;
pub use dead_letter::DeadLetterTopic;
pub use offsets::Span;
pub use output::OutputTopic;

use crate::config::{ClockMode, Config, Kafka, Partitioning, StartFrom};
use crate::pipeline::{Horizon, Intake, Shared};
use crate::threads::joined;
use catch_up::CatchUp;
use context::Context;
use offsets::{Inquiry, Offsets, StartRules};
use partition::ProgressRules;
use reader::{Control, Reader};
use repartition::FirstHop;

pub use identity::{Identity, Topics, identify};
pub use repartition::{Between, prepare};

/// How long the client may take to say goodbye.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// A Kafka client that could not be made; who must act: the operator, by the configuration.
#[derive(Debug, thiserror::Error)]
#[error("kafka client for {brokers}: {reason}")]
pub struct ClientError {
    brokers: String,
    reason: String,
}

impl ClientError {
    fn new(config: &crate::config::Kafka, reason: impl std::fmt::Display) -> Self {
        Self { brokers: config.brokers.clone(), reason: reason.to_string() }
    }
}

/// The running readers.
pub struct Source {
    reading: Reading,
    catch_up: Option<CatchUp>,
    /// Where the feed is repartitioned: what reads the source, and fills the topic that the others read.
    first_hop: Option<FirstHop>,
}

impl Source {
    /// Starts reading; a broker that is away is waited for. `between` is what [`prepare`] has found.
    ///
    /// # Errors
    /// Fails where a client or a thread cannot be made.
    pub fn start(
        config: &Config,
        topics: &Topics,
        between: Option<Between>,
        intake: Intake,
    ) -> Result<Self, ClientError> {
        let stream = match between {
            Some(_) => repartition::second_hop(config, topics),
            None => Stream::of(config, topics, ""),
        };
        let start_rules = start_rules(config, &stream.kafka, intake.shared());
        let catch_up = CatchUp::start(&stream, intake.clone(), start_rules)
            .map_err(|error| ClientError::new(&config.kafka, error))?;
        let first_hop =
            between.map(|between| FirstHop::start(config, topics, between, &intake)).transpose()?;
        let reading = Reading::start(config, stream, intake)?;
        Ok(Self { reading, catch_up: Some(catch_up), first_hop })
    }

    /// Has what was read of a repartitioned feed's source sent, since it cannot be read again.
    pub fn finish_source(&self) {
        if let Some(first_hop) = &self.first_hop {
            first_hop.finish();
        }
    }

    /// Stops reading: after this, nothing new enters the lanes.
    pub fn stop_reading(&mut self) {
        if let Some(first_hop) = self.first_hop.take() {
            first_hop.close();
        }
        self.catch_up = None;
        self.reading.stop();
    }

    /// Commits what was written and leaves the group.
    pub fn close(self) {
        self.reading.close();
    }
}

/// What is read, and by which rules.
struct Stream {
    kafka: Kafka,
    /// The topic's identity in this term.
    topic_id: Option<Arc<str>>,
    /// For health, where there are several; empty: the main one.
    name: &'static str,
    rules: ProgressRules,
}

impl Stream {
    /// The topic with the trades.
    fn of(config: &Config, topics: &Topics, name: &'static str) -> Self {
        let topic_id = topics.source.id.clone();
        Self { kafka: config.kafka.clone(), topic_id, name, rules: ProgressRules::of(config) }
    }
}

/// A running reader.
struct Reading {
    consumer: Arc<BaseConsumer<Context>>,
    control: Sender<Control>,
    thread: JoinHandle<()>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl Reading {
    fn start(config: &Config, stream: Stream, intake: Intake) -> Result<Self, ClientError> {
        let Stream { kafka, topic_id, name, rules } = stream;
        let failed = |reason: &dyn std::fmt::Display| ClientError::new(&config.kafka, reason);
        let shared = Arc::clone(intake.shared());
        let context = Context::new(Arc::clone(&shared.metrics), &kafka.topic);
        let partitioning = config.pipeline.partitioning;
        let settings = client::that_names_its_topic(client::consumer(&kafka, partitioning));
        let consumer =
            BaseConsumer::from_config_and_context(&settings, context).map_err(|error| failed(&error))?;
        let consumer = Arc::new(consumer);
        let reading = Arc::clone(&consumer);
        let (control, controlled) = crossbeam_channel::bounded(2);
        let start_rules = start_rules(config, &kafka, &shared);
        let kind = (partitioning != Partitioning::Shuffle, name, topic_id);
        let (ending, ended) = crossbeam_channel::bounded(0);
        let run = move || {
            // Dropped when the thread ends.
            let _ending: Sender<()> = ending;
            let inquiry = Inquiry {
                consumer: Arc::clone(&reading),
                rules: start_rules,
                health: Arc::clone(&shared.health),
                stream: name,
                reader: thread::current(),
            };
            match Offsets::start(inquiry) {
                Ok(offsets) => Reader::new(kafka, reading, intake, offsets, rules, controlled, kind).run(),
                Err(error) => {
                    tracing::error!(%error, fatal = true, "Thread for offsets not started")
                }
            }
        };
        let thread = thread::Builder::new()
            .name("kafka-reader".to_owned())
            .spawn(run)
            .map_err(|error| failed(&error))?;
        Ok(Self { consumer, control, thread, ended })
    }

    /// Stops reading: after this, nothing new enters the lanes.
    fn stop(&self) {
        let (done, answer) = crossbeam_channel::bounded(1);
        if self.control.send(Control::StopReading(done)).is_ok() {
            self.thread.thread().unpark();
            answer.recv().ok();
        }
    }

    /// Commits what was written and leaves the group, if a broker answers in time. Nothing depends on
    /// either: where none answers, the thread is left to the end of the process.
    fn close(self) {
        // The reader has the last handle of the consumer: the group is left when it ends.
        drop(self.consumer);
        drop(self.control.send(Control::Close));
        self.thread.thread().unpark();
        if self.ended.recv_timeout(CLOSE_WITHIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("Kafka client not closed in time: no broker answers");
        } else {
            joined(self.thread);
        }
    }
}

fn start_rules(config: &Config, kafka: &Kafka, shared: &Arc<Shared>) -> StartRules {
    let max_future_ms = i64::try_from(config.pipeline.max_future.as_millis()).unwrap_or(0);
    let (shared, start_from) = (Arc::clone(shared), kafka.start_from);
    StartRules {
        topic: kafka.topic.clone(),
        start_from,
        skips: config.pipeline.clock == ClockMode::Wall && start_from == StartFrom::CheckpointOrHorizon,
        horizon_begins: Arc::new(move || {
            // Asked each time: plugins come and go, and one that is tried may reach further back than all others.
            let horizon = Horizon::longest(&shared.changes.all());
            shared.clock.now_ms().saturating_sub(horizon.length_ms + max_future_ms)
        }),
    }
}

/// Has a partition fetched from another offset. The client has stopped fetching it, and seeks only what it fetches; so
/// it is given back and taken again, which the group does not see.
fn assign_anew(consumer: &BaseConsumer<Context>, topic: &str, partition: i32, next: i64) -> KafkaResult<()> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(next))?;
    consumer.incremental_unassign(&list)?;
    consumer.incremental_assign(&list)
}
