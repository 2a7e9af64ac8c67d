//! What librdkafka tells us aside from messages: rebalances, errors, statistics, log lines.
//!
//! Invariant: the handlers run on the poll thread and only take notes; the reader acts on them. A
//! rebalance is answered by the reader when it is ready, while librdkafka goes on heartbeating.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use crate::metrics::Metrics;

/// What the reader is told.
#[derive(Debug)]
pub(super) enum Notice {
    /// The group gives us these partitions.
    Assigned(Vec<i32>),
    /// The group takes these partitions back; when they are lost, others may have them already.
    Revoked { partitions: Vec<i32>, lost: bool },
    /// Whether any broker is connected, once a second.
    Brokers { connected: bool },
    /// An error of the client as a whole.
    Error(String),
}

/// The notes.
pub(super) struct Context {
    notices: Mutex<VecDeque<Notice>>,
    metrics: Arc<Metrics>,
    /// The consumer is being closed: rebalances are answered at once.
    closing: AtomicBool,
}

/// More notes than this are not kept: the oldest errors go first.
const NOTICES: usize = 1_000;

impl Context {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { notices: Mutex::default(), metrics, closing: AtomicBool::new(false) }
    }

    /// Takes the next note.
    pub(super) fn next(&self) -> Option<Notice> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// From now on rebalances are answered at once.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    fn note(&self, notice: Notice) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        let droppable = matches!(notice, Notice::Error(_) | Notice::Brokers { .. });
        if notices.len() < NOTICES || !droppable {
            notices.push_back(notice);
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = false;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        let connected = statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP");
        self.note(Notice::Brokers { connected });
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.metrics.kafka_errors.inc();
        self.note(Notice::Error(format!("{error}: {reason}")));
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = list.elements().iter().map(|element| element.partition()).collect();
        if self.closing.load(Ordering::Relaxed) {
            let answered = match event {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => consumer.incremental_assign(list),
                _ => consumer.incremental_unassign(list).or_else(|_| consumer.unassign()),
            };
            if let Err(error) = answered {
                tracing::warn!(%error, "Rebalance at the end not answered");
            }
        } else if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.note(Notice::Assigned(partitions));
        } else {
            self.note(Notice::Revoked { partitions, lost: consumer.assignment_lost() });
        }
    }
}

/// Client lines go to our log, each under its facility.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::warn!(facility, "{message}");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(facility, "{message}"),
    }
}
