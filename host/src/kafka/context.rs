//! What librdkafka tells us aside from messages: rebalances, errors, statistics, log lines.
//!
//! Invariant: the handlers run on the poll thread and only take notes; the reader acts on them. A rebalance is answered by
//! the reader when it is ready, while librdkafka goes on heartbeating.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::native::waiting_events;
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
    /// An error of the client as a whole; of all brokers being down others say why.
    Error { words: String, says_why: bool },
    /// An error of the consumer.
    Failed(KafkaError),
}

/// The notes.
pub(super) struct Context {
    notices: Mutex<VecDeque<Notice>>,
    metrics: Arc<Metrics>,
    /// The topic that the client fetches.
    topic: String,
    /// By which identity it does; none before its first answer.
    topic_id: Mutex<Option<Box<str>>>,
    /// The consumer is being closed: rebalances are answered at once.
    closing: AtomicBool,
}

/// More notes than this are not kept: errors that come then are dropped.
const NOTICES: usize = 1_000;

impl Context {
    pub(super) fn new(metrics: Arc<Metrics>, topic: &str) -> Self {
        Self {
            notices: Mutex::default(),
            metrics,
            topic: topic.to_owned(),
            topic_id: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// Whether the client fetches the topic of this identity, as far as it has said.
    fn fetches(&self, topic_id: Option<&str>) -> bool {
        let own = self.topic_id.lock().unwrap_or_else(PoisonError::into_inner);
        topic_id.zip(own.as_deref()).is_none_or(|(wanted, own)| wanted == own)
    }

    /// Takes a line that is not for people. The client has no other way to say that it goes on with a topic that was
    /// made anew, from the offset of the former one.
    fn hear(&self, line: &str) {
        if let Some(id) = new_identity(line, &self.topic) {
            *self.topic_id.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.into());
        }
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
        let droppable = matches!(notice, Notice::Error { .. } | Notice::Failed(_) | Notice::Brokers { .. });
        if notices.len() < NOTICES || !droppable {
            notices.push_back(notice);
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = false;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => self.hear(message),
            _ => log(level, facility, message),
        }
    }

    fn stats(&self, statistics: Statistics) {
        let connected = statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP");
        self.note(Notice::Brokers { connected });
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.metrics.kafka_errors.inc();
        let says_why = error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown);
        self.note(Notice::Error { words: words(&error, reason), says_why });
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

/// Has a consumer say all that it has to say aside from messages.
pub(super) fn serve(consumer: &BaseConsumer<Context>) {
    // Messages travel on the partitions' own queues; what comes here are events and errors. A poll that has served a
    // line of the log answers like one that has found nothing, so they are counted beforehand; one more, since a
    // rebalance wants to be polled for whatever waits.
    for _ in 0..=waiting_events(consumer) {
        if let Some(Err(error)) = consumer.poll(Duration::ZERO) {
            consumer.client().context().note(Notice::Failed(error));
        }
    }
}

/// How far a consumer has read its partitions, markers that it does not hand out included; nothing while it cannot say.
pub(super) fn positions(consumer: &BaseConsumer<Context>) -> Vec<(i32, i64)> {
    let told = consumer.position();
    let elements = told.iter().flat_map(TopicPartitionList::elements);
    let read = elements.filter_map(|element| match element.offset() {
        Offset::Offset(position) => Some((element.partition(), position)),
        _ => None,
    });
    read.collect()
}

/// Whether everything that a consumer has handed out so far is of the topic of this identity. It says that it goes on
/// with another one before it fetches anything of that; but what it says waits to be heard, so that it must be asked
/// for, and after the messages.
pub(super) fn has_fetched_only(consumer: &BaseConsumer<Context>, topic_id: Option<&str>) -> bool {
    serve(consumer);
    consumer.client().context().fetches(topic_id)
}

/// The identity by which the client fetches a topic from now on, by the line with which it says so:
/// `[thrd:main]: Topic trades changed id from AAAAAAAAAAAAAAAAAAAAAA to 7cNfn5SlTnKbHiZg5M1Kyw`.
fn new_identity<'l>(line: &'l str, topic: &str) -> Option<&'l str> {
    let (_, said) = line.split_once("Topic ")?;
    let (_, id) = said.strip_prefix(topic)?.strip_prefix(" changed id from ")?.split_once(" to ")?;
    Some(id.trim())
}

/// What the client says of an error, for people.
pub(super) fn words(error: &KafkaError, reason: &str) -> String {
    format!("{error}: {reason}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_change_to_another_topic_of_the_name_is_heard() {
        let context = Context::new(Arc::new(Metrics::new().unwrap()), "trades");
        assert!(context.fetches(Some("one")), "nothing was fetched yet");
        let say = |line: &str| context.log(RDKafkaLogLevel::Debug, "METADATA", line);
        say("[thrd:main]: Topic trades changed id from AAAAAAAAAAAAAAAAAAAAAA to one");
        assert!(context.fetches(Some("one")) && !context.fetches(Some("other")) && context.fetches(None));
        say("[thrd:main]: Topic trades2 changed id from one to other");
        say("[thrd:main]: Topic trades [3] Leader 1 Epoch 0");
        assert!(context.fetches(Some("one")));
        say("[thrd:main]: Topic trades changed id from one to other");
        assert!(!context.fetches(Some("one")) && context.fetches(Some("other")));
    }
}
