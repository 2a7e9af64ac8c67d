//! `aggregator check --connect`: can the broker be reached, and is the topic there?
//!
//! Invariant: asks, changes nothing.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{ClientError, client};
use crate::config::{Kafka, Partitioning};

/// How long the broker may take to answer.
const WITHIN: Duration = Duration::from_secs(10);

/// Asks the broker for the topic; returns how many partitions it has.
pub fn connect(config: &Kafka) -> Result<usize, ClientError> {
    let failed = |reason: &dyn std::fmt::Display| ClientError::new(config, reason);
    let consumer: BaseConsumer =
        client::consumer(config, Partitioning::Shuffle).create().map_err(|error| failed(&error))?;
    let metadata = consumer.fetch_metadata(Some(&config.topic), WITHIN).map_err(|error| failed(&error))?;
    let partitions = metadata.topics().iter().map(|topic| topic.partitions().len()).sum();
    if partitions == 0 {
        return Err(failed(&format!("topic {} does not exist", config.topic)));
    }
    Ok(partitions)
}
