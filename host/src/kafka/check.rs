//! `aggregator check --connect`: can the broker be reached, and is the topic there?
//!
//! Invariant: asks, changes nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{ClientError, client, context};
use crate::config::{Kafka, Partitioning};

/// How long the broker may take to answer.
const WITHIN: Duration = Duration::from_secs(10);

/// How much of what the client has to say is heard when it has failed.
const EVENTS: usize = 64;

/// What the client says while it tries in vain.
#[derive(Default)]
struct Told(Mutex<Option<String>>);

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(context::words(&error, reason));
        }
    }
}

impl ConsumerContext for Told {}

/// Asks the broker for the topic; returns how many partitions it has.
pub fn connect(config: &Kafka) -> Result<usize, ClientError> {
    let failed = |reason: &dyn std::fmt::Display| ClientError::new(config, reason);
    let settings = client::consumer(config, Partitioning::Shuffle);
    let consumer =
        BaseConsumer::from_config_and_context(&settings, Told::default()).map_err(|error| failed(&error))?;
    let asked = consumer.fetch_metadata(Some(&config.topic), WITHIN);
    let metadata = asked.map_err(|error| {
        // What the client has to say waits until it is served, one event by each poll, lines of its log among them.
        for _ in 0..EVENTS {
            drop(consumer.poll(Duration::ZERO));
        }
        let told = consumer.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
        told.map_or_else(|| failed(&error), |told| failed(&told))
    })?;
    let partitions = metadata.topics().iter().map(|topic| topic.partitions().len()).sum();
    if partitions == 0 {
        return Err(failed(&format!("topic {} does not exist", config.topic)));
    }
    Ok(partitions)
}
