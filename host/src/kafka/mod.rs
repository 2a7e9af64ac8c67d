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
pub mod mock;
mod native;
mod offsets;
mod output;
mod partition;
mod reader;
mod resume;

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::Sender;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;

pub use check::connect;
pub use dead_letter::DeadLetterTopic;
pub use output::OutputTopic;

use crate::config::{ClockMode, Config, Partitioning, StartFrom};
use crate::pipeline::{Horizon, Intake, Shared};
use catch_up::CatchUp;
use context::Context;
use offsets::{Inquiry, Offsets, StartRules};
use partition::ProgressRules;
use reader::{Control, Reader};

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
    control: Sender<Control>,
    thread: JoinHandle<()>,
    catch_up: Option<CatchUp>,
}

impl Source {
    /// Starts reading; a broker that is away is waited for.
    pub fn start(config: &Config, intake: Intake) -> Result<Self, ClientError> {
        let failed = |reason: &dyn std::fmt::Display| ClientError::new(&config.kafka, reason);
        let shared = Arc::clone(intake.shared());
        let context = Context::new(Arc::clone(&shared.metrics));
        let settings = client::consumer(&config.kafka, config.pipeline.partitioning);
        let consumer =
            BaseConsumer::from_config_and_context(&settings, context).map_err(|error| failed(&error))?;
        let consumer = Arc::new(consumer);
        let (control, controlled) = crossbeam_channel::bounded(2);
        let kafka = config.kafka.clone();
        let pipeline = &config.pipeline;
        let start_rules = start_rules(config, &shared);
        let rules = ProgressRules {
            clock: pipeline.clock,
            live_lag_ms: i64::try_from(pipeline.live_lag.as_millis()).unwrap_or(i64::MAX),
        };
        let catch_up = CatchUp::start(&config.kafka, intake.clone(), start_rules.clone(), rules)
            .map_err(|error| failed(&error))?;
        let grouped = pipeline.partitioning == Partitioning::ByToken;
        let run = move || {
            let inquiry = Inquiry {
                consumer: Arc::clone(&consumer),
                rules: start_rules,
                health: Arc::clone(&shared.health),
                reader: thread::current(),
            };
            match Offsets::start(inquiry) {
                Ok(offsets) => {
                    Reader::new(kafka, consumer, intake, offsets, rules, controlled, grouped).run()
                }
                Err(error) => {
                    tracing::error!(%error, fatal = true, "Thread for offsets not started")
                }
            }
        };
        let thread = thread::Builder::new()
            .name("kafka-reader".to_owned())
            .spawn(run)
            .map_err(|error| failed(&error))?;
        Ok(Self { control, thread, catch_up: Some(catch_up) })
    }

    /// Stops reading: after this, nothing new enters the lanes.
    pub fn stop_reading(&mut self) {
        self.catch_up = None;
        let (done, answer) = crossbeam_channel::bounded(1);
        if self.control.send(Control::StopReading(done)).is_ok() {
            self.thread.thread().unpark();
            answer.recv().ok();
        }
    }

    /// Commits what was written and leaves the group.
    pub fn close(self) {
        drop(self.control.send(Control::Close));
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("Kafka reader ended with a panic");
        }
    }
}

fn start_rules(config: &Config, shared: &Arc<Shared>) -> StartRules {
    let max_future_ms = i64::try_from(config.pipeline.max_future.as_millis()).unwrap_or(0);
    let (shared, start_from) = (Arc::clone(shared), config.kafka.start_from);
    StartRules {
        topic: config.kafka.topic.clone(),
        start_from,
        skips: config.pipeline.clock == ClockMode::Wall && start_from == StartFrom::CheckpointOrHorizon,
        horizon_begins: Arc::new(move || {
            // Asked each time: plugins come and go.
            let horizon = Horizon::longest(&shared.changes.running());
            shared.clock.now_ms().saturating_sub(horizon.length_ms + max_future_ms)
        }),
    }
}
