//! Reads what a host has written to a topic.
//!
//! The invariant: reads from the first record on and never commits, so that tests do not disturb each other.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Headers as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::Broker;
use crate::wait;

/// A record as it stands in the topic.
#[derive(Debug, Clone)]
pub struct Record {
    /// The key, where there is one.
    pub key: Option<String>,
    /// The value.
    pub payload: Vec<u8>,
    /// Headers by name.
    pub headers: BTreeMap<String, String>,
}

/// Reads one topic from its beginning.
pub struct Reader {
    client: BaseConsumer,
}

impl Reader {
    /// Begins at the first record of every partition.
    ///
    /// # Errors
    /// Fails where the client cannot be made.
    pub fn new(broker: &Broker, topic: &str, partitions: i32) -> Result<Self> {
        let client: BaseConsumer =
            broker.client().set("group.id", "tests").set("enable.auto.commit", "false").create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        client.assign(&list).context("assigning the topic")?;
        Ok(Self { client })
    }

    /// Reads on until `enough` says so of everything read in this call.
    ///
    /// # Errors
    /// Fails when the limit has passed.
    pub fn read_until(&self, limit: Duration, enough: impl Fn(&[Record]) -> bool) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        let read = wait::until_true("records", limit, || {
            while !enough(&records) {
                match self.client.poll(Duration::from_millis(50)) {
                    Some(Ok(message)) => records.push(record(&message)),
                    Some(Err(_)) | None => return false,
                }
            }
            true
        });
        read.with_context(|| format!("{} records came", records.len()))?;
        Ok(records)
    }
}

fn record(message: &rdkafka::message::BorrowedMessage<'_>) -> Record {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut headers = BTreeMap::new();
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        headers.insert(header.key.to_owned(), header.value.map(text).unwrap_or_default());
    }
    let payload = message.payload().unwrap_or_default().to_vec();
    Record { key: message.key().map(text), payload, headers }
}
