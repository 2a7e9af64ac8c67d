//! Sends messages of a stream to a topic.
//!
//! The invariant: what was sent is acknowledged when `send` has returned, in the order of each partition.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientContext, Message as _};
use std::sync::Mutex;

use crate::broker::Broker;
use crate::stream::Message;

const FLUSH_LIMIT: Duration = Duration::from_secs(60);

/// Remembers the first record that the broker did not take.
#[derive(Default)]
struct Failures {
    first: Mutex<Option<String>>,
}

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, record)) = result
            && let Ok(mut first) = self.first.lock()
        {
            first.get_or_insert_with(|| format!("partition {}: {error}", record.partition()));
        }
    }
}

/// A producer for one topic.
pub struct Producer {
    client: BaseProducer<Failures>,
    topic: String,
}

impl Producer {
    /// Prepares to send in large batches.
    ///
    /// # Errors
    /// Fails where the client cannot be made.
    pub fn new(broker: &Broker, topic: &str) -> Result<Self> {
        Self::with_codec(broker, topic, "none")
    }

    /// Prepares to send compressed: `gzip`, `snappy`, `lz4` or `zstd`.
    ///
    /// # Errors
    /// Fails where the client cannot be made.
    pub fn with_codec(broker: &Broker, topic: &str, codec: &str) -> Result<Self> {
        let client = broker
            .client()
            .set("compression.type", codec)
            .set("linger.ms", "5")
            .set("batch.size", "1000000")
            .set("batch.num.messages", "20000")
            .set("queue.buffering.max.messages", "500000")
            .set("queue.buffering.max.kbytes", "262144")
            .set("enable.idempotence", "true")
            // A broker that was away is found again at once, so that a host's delay is not the producer's.
            .set("reconnect.backoff.max.ms", "200")
            .set("socket.connection.setup.timeout.ms", "1000")
            .set("retry.backoff.max.ms", "200")
            .set("message.max.bytes", "33554432")
            .create_with_context(Failures::default())
            .context("making a producer")?;
        Ok(Self { client, topic: topic.to_owned() })
    }

    /// Hands one message on without waiting for the broker.
    ///
    /// # Errors
    /// Fails where the client refuses it.
    pub fn queue(&self, message: &Message) -> Result<()> {
        loop {
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic)
                .payload(&message.payload)
                .partition(message.partition);
            if let Some(key) = &message.key {
                record = record.key(key.as_bytes());
            }
            if let Some(timestamp_ms) = message.timestamp_ms {
                record = record.timestamp(timestamp_ms);
            }
            match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.client.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error).context("sending a record"),
            }
        }
    }

    /// Serves acknowledgements without waiting.
    pub fn poll(&self) {
        self.client.poll(Duration::ZERO);
    }

    /// Waits until everything is acknowledged.
    ///
    /// # Errors
    /// Fails where the broker did not take a record.
    pub fn flush(&self) -> Result<()> {
        self.client.flush(FLUSH_LIMIT).context("waiting for acknowledgements")?;
        let first = self.client.context().first.lock().map_or(None, |mut first| first.take());
        if let Some(failure) = first {
            bail!("a record was not taken: {failure}");
        }
        Ok(())
    }

    /// Sends messages and waits until they are acknowledged.
    ///
    /// # Errors
    /// Fails where one was not taken.
    pub fn send<'a>(&self, messages: impl IntoIterator<Item = &'a Message>) -> Result<()> {
        for (index, message) in messages.into_iter().enumerate() {
            self.queue(message)?;
            if index % 1000 == 0 {
                self.poll();
            }
        }
        self.flush()
    }
}
