//! The dead-letter topic: every rejected record goes there, with what is wrong in its headers.
//!
//! A letter that the topic refuses for its length is sent again without its text, and says so in the
//! header `truncated`, the text's length. Invariant: a letter leaves the bounded queue only when
//! librdkafka has taken it, so that a broker that is away holds the workers back instead of losing
//! letters.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::util::IntoOpaque;

use super::{ClientError, client, context};
use crate::clock;
use crate::config::Kafka;
use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::pipeline::rejections::{DeadLetter, Undelivered};
use crate::threads::joined;

/// How many letters wait for the thread.
const QUEUE: usize = 1_024;
/// How long the end may wait for letters under way.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// The running thread.
pub struct DeadLetterTopic {
    thread: JoinHandle<()>,
}

/// Counts what the broker has acknowledged, and keeps what is to be sent again.
struct Deliveries {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    undelivered: Undelivered,
    /// Letters that the topic found too long. Not more than librdkafka held: each is sent before the
    /// next one is taken from the queue.
    shortened: Mutex<VecDeque<Shortened>>,
}

/// Where a letter's record was: partition, offset and index.
type Place = Box<(i32, i64, u32)>;

/// What stays of a letter that is too long for the topic.
struct Shortened {
    place: Place,
    headers: OwnedHeaders,
    timestamp_ms: Option<i64>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Place;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Self::DeliveryOpaque) {
        match result {
            Ok(_) => {
                self.undelivered.delivered(*place);
                self.metrics.dead_letters.inc();
                self.health.ok(Part::Kafka, "dead letters");
            }
            Err((error, letter)) if is_too_long(error) && letter.payload_len() > 0 => {
                self.shortened().push_back(Shortened::of(letter, place));
            }
            Err((error, _)) => {
                self.health.fail(Part::Kafka, "dead letters", &format!("a dead letter was lost: {error}"))
            }
        }
    }
}

impl Deliveries {
    fn shortened(&self) -> std::sync::MutexGuard<'_, VecDeque<Shortened>> {
        self.shortened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shortened {
    fn of(letter: &BorrowedMessage<'_>, place: Place) -> Self {
        let bytes = letter.payload_len();
        tracing::warn!(
            bytes,
            topic = letter.topic(),
            "Dead letter too long for its topic; sent without text"
        );
        let headers = letter.headers().map(BorrowedHeaders::detach).unwrap_or_default();
        Self { place, headers: truncated(headers, bytes), timestamp_ms: letter.timestamp().to_millis() }
    }
}

/// Says in the headers that a letter of so many bytes goes without its text.
fn truncated(headers: OwnedHeaders, bytes: usize) -> OwnedHeaders {
    headers.insert(Header { key: "truncated", value: Some(&bytes.to_string()) })
}

/// Whether a letter would be taken if it were shorter.
fn is_too_long(error: &KafkaError) -> bool {
    *error == KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)
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
        let settings = client::dead_letter_producer(config);
        let deliveries = Deliveries { metrics, health, undelivered, shortened: Mutex::default() };
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
        joined(self.thread);
    }
}

fn deliver(producer: &BaseProducer<Deliveries>, letters: &Receiver<DeadLetter>, topic: &str, source: &str) {
    loop {
        match letters.recv_timeout(Duration::from_millis(100)) {
            Ok(letter) => {
                let place = Box::new(letter.place());
                send(producer, record(topic, source, &letter, place, false));
            }
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => break,
        }
        producer.poll(Duration::ZERO);
        send_shortened(producer, topic);
    }
    let until = Instant::now() + FLUSH_WITHIN;
    loop {
        let flushed = producer.flush(until.saturating_duration_since(Instant::now()));
        if send_shortened(producer, topic) {
            continue;
        }
        if let Err(error) = flushed {
            tracing::error!(%error, undelivered = producer.in_flight_count(), "Dead letters not delivered");
        }
        return;
    }
}

/// A letter as it is sent, with its text or without.
pub(super) fn record<'a, O: IntoOpaque>(
    topic: &'a str,
    source: &str,
    letter: &'a DeadLetter,
    opaque: O,
    short: bool,
) -> BaseRecord<'a, (), [u8], O> {
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
    let (payload, headers) = match short {
        true => (&[][..], truncated(headers, letter.payload.len())),
        false => (&letter.payload[..], headers),
    };
    let mut record = BaseRecord::with_opaque_to(topic, opaque).payload(payload).headers(headers);
    // One that lies ahead might be refused.
    record.timestamp = letter.timestamp_ms.map(|ms| ms.min(clock::system_ms()));
    record
}

/// Sends again, without their text, letters that were refused for their length; whether there were any.
fn send_shortened(producer: &BaseProducer<Deliveries>, topic: &str) -> bool {
    let mut any = false;
    loop {
        let next = producer.context().shortened().pop_front();
        let Some(Shortened { place, headers, timestamp_ms }) = next else {
            return any;
        };
        any = true;
        let mut record = BaseRecord::with_opaque_to(topic, place).payload(&[][..]).headers(headers);
        record.timestamp = timestamp_ms;
        send(producer, record);
    }
}

/// Hands a record to librdkafka, when it has room.
fn send(producer: &BaseProducer<Deliveries>, mut record: BaseRecord<'_, (), [u8], Place>) {
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
