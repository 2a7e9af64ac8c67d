//! The dead-letter topic: every rejected record goes there, with what is wrong in its headers.
//!
//! Invariant: a letter leaves the bounded queue only when librdkafka has taken it, so that a broker
//! that is away holds the workers back instead of losing letters.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::{ClientError, client, context};
use crate::config::Kafka;
use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::pipeline::rejections::{DeadLetter, Undelivered};

/// How many letters wait for the thread.
const QUEUE: usize = 1_024;
/// How long the end may wait for letters under way.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// The running thread.
pub struct DeadLetterTopic {
    thread: JoinHandle<()>,
}

/// Counts what the broker has acknowledged.
struct Deliveries {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    undelivered: Undelivered,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }
}

impl ProducerContext for Deliveries {
    /// Where the letter's record was.
    type DeliveryOpaque = Box<(i32, i64, u32)>;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Self::DeliveryOpaque) {
        match result {
            Ok(_) => {
                self.undelivered.delivered(*place);
                self.metrics.dead_letters.inc();
                self.health.ok(Part::Kafka, "dead letters");
            }
            Err((error, _)) => {
                self.health.fail(Part::Kafka, "dead letters", &format!("a dead letter was lost: {error}"))
            }
        }
    }
}

impl DeadLetterTopic {
    /// Starts the thread; letters are handed in through the sender, which ends it when dropped.
    pub fn start(
        config: &Kafka,
        topic: &str,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        undelivered: Undelivered,
    ) -> Result<(Sender<DeadLetter>, Self), ClientError> {
        let mut settings = client::producer(config);
        // A letter is tried for as long as it takes.
        settings.set("message.timeout.ms", "0").set("queue.buffering.max.kbytes", "32768");
        let deliveries = Deliveries { metrics, health, undelivered };
        let producer = BaseProducer::from_config_and_context(&settings, deliveries)
            .map_err(|error| ClientError::new(config, error))?;
        let (sender, letters) = crossbeam_channel::bounded(QUEUE);
        let (topic, source) = (topic.to_owned(), config.topic.clone());
        let thread = thread::Builder::new()
            .name("dead-letters".to_owned())
            .spawn(move || deliver(&producer, &letters, &topic, &source))
            .map_err(|error| ClientError::new(config, error))?;
        Ok((sender, Self { thread }))
    }

    /// Waits until the letters under way are delivered; every sender must have been dropped.
    pub fn close(self) {
        if self.thread.join().is_err() {
            tracing::error!("Dead-letter thread ended with a panic");
        }
    }
}

fn deliver(producer: &BaseProducer<Deliveries>, letters: &Receiver<DeadLetter>, topic: &str, source: &str) {
    loop {
        match letters.recv_timeout(Duration::from_millis(100)) {
            Ok(letter) => send(producer, topic, source, &letter),
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => break,
        }
        producer.poll(Duration::ZERO);
    }
    if let Err(error) = producer.flush(FLUSH_WITHIN) {
        tracing::error!(%error, undelivered = producer.in_flight_count(), "Dead letters not delivered");
    }
}

fn send(producer: &BaseProducer<Deliveries>, topic: &str, source: &str, letter: &DeadLetter) {
    let (partition, offset, index) =
        (letter.partition.to_string(), letter.offset.to_string(), letter.index.to_string());
    let headers = [
        ("reason", letter.reason),
        ("topic", source),
        ("partition", &partition),
        ("offset", &offset),
        ("index", &index),
    ]
    .into_iter()
    .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
    let mut record: BaseRecord<'_, (), [u8], _> = BaseRecord::with_opaque_to(topic, Box::new(letter.place()))
        .payload(&letter.payload[..])
        .headers(headers);
    if let Some(timestamp_ms) = letter.timestamp_ms {
        record = record.timestamp(timestamp_ms);
    }
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(100));
            }
            Err((error, _)) => {
                let words = format!("a dead letter was refused: {error}");
                producer.context().health.fail(Part::Kafka, "dead letters", &words);
                return;
            }
        }
    }
}
