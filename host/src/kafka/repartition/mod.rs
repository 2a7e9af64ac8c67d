//! `PARTITIONING=repartition`: how several hosts share a feed whose trades are in any partition.
//!
//! ```text
//! source ──> reader ──> hop: decode, sort by token ──> transaction ──> topic between the hops ──> reader ──> pipeline
//!            group      └──────────── first hop ────────────┘          a partition for each shard    group of its own
//! ```
//!
//! The second hop is the reader that every host has, with parcels in place of messages. The first hop takes the place
//! of the pipeline behind a reader of its own. Invariant: the offsets of the source are committed by the transaction
//! that carries its trades, and by nobody else.

mod committed;
mod hop;
mod producer;
mod shipment;
mod topic;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::partition::ProgressRules;
use super::{ClientError, Reading, Stream, Topics};
use crate::config::{ClockMode, Config, Kafka, StartFrom};
use crate::pipeline::{Event, Intake, WorkerHandle};
use crate::threads::joined;
use hop::Hop;

pub use topic::{Between, prepare};

/// How many events wait for the hop.
const INBOX: usize = 64;
/// How long it may take to send what was read of a topic that is gone.
const FINISH_WITHIN: Duration = Duration::from_secs(30);
/// How long the transaction under way may take at the end.
const END_WITHIN: Duration = Duration::from_secs(2);

/// What the reader of the topic between the hops is told: it is live or behind, whatever the clock; that the source has
/// an end is told by marks.
pub(super) fn second_hop(config: &Config, topics: &Topics) -> Stream {
    let topic = config.kafka.hop_topic();
    let group = config.kafka.hop_group();
    let start_from = match config.kafka.start_from {
        // What is newest is decided at the source; of what came from there nothing is passed over.
        StartFrom::Latest => StartFrom::CheckpointOrHorizon,
        other => other,
    };
    let live_lag_ms = match config.pipeline.clock {
        ClockMode::Wall => ProgressRules::of(config).live_lag_ms,
        ClockMode::Event => i64::MAX,
    };
    Stream {
        kafka: Kafka { topic, group, start_from, ..config.kafka.clone() },
        topic_id: topics.read.id.clone(),
        name: "",
        rules: ProgressRules { clock: ClockMode::Wall, live_lag_ms },
    }
}

/// The running first hop.
pub(super) struct FirstHop {
    reading: Reading,
    worker: WorkerHandle,
    thread: JoinHandle<()>,
    /// Set when no call to the broker is to be repeated any more.
    ending: Arc<AtomicBool>,
}

impl FirstHop {
    /// Starts reading the source.
    pub(super) fn start(
        config: &Config,
        topics: &Topics,
        between: Between,
        intake: &Intake,
    ) -> Result<Self, ClientError> {
        let (inbox, events) = crossbeam_channel::bounded(INBOX);
        let worker = WorkerHandle::new(inbox);
        let of_source = intake.of_source(worker.clone(), config.pipeline.align);
        let reading = Reading::start(config, Stream::of(config, topics, "source"), of_source.clone())?;
        let ending = Arc::new(AtomicBool::new(false));
        let (consumer, told) = (Arc::clone(&reading.consumer), Arc::clone(&ending));
        let hop = Hop::new(config, topics, between, of_source, consumer, events, told);
        let thread = thread::Builder::new()
            .name("repartition".to_owned())
            .spawn(move || hop.run())
            .map_err(|error| ClientError::new(&config.kafka, error))?;
        Ok(Self { reading, worker, thread, ending })
    }

    /// Stops reading, and has everything sent that was read.
    pub(super) fn finish(&self) {
        self.reading.stop();
        let (done, answer) = crossbeam_channel::bounded(1);
        self.worker.send(Event::Empty(done));
        if answer.recv_timeout(FINISH_WITHIN).is_err() {
            tracing::error!(
                "What was read of the source could not be sent in time; where it cannot be read again it is lost"
            );
        }
    }

    /// Stops reading, commits the transaction under way, and leaves the group.
    pub(super) fn close(self) {
        // First of all: a call that is being repeated keeps the hop from hearing anything.
        self.ending.store(true, Ordering::Relaxed);
        self.reading.stop();
        let (done, answer) = crossbeam_channel::bounded(1);
        self.worker.send(Event::StopTaking(done));
        let until = Instant::now() + END_WITHIN;
        if answer.recv_deadline(until).is_err() {
            tracing::warn!("Transaction not committed in time; given up, and read again by whoever follows");
        }
        self.worker.send(Event::Finish);
        joined(self.thread);
        self.reading.close();
    }
}
