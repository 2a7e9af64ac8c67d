//! Transactions: all or nothing of a shipment, its dead letters and the offsets of the source.
//!
//! Invariant: a client whose transaction could be neither committed nor aborted is not used again; a new one of the same
//! name ends what it left open.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::super::{client, context, dead_letter};
use crate::config::Kafka;
use crate::metrics::Metrics;
use crate::pipeline::rejections::DeadLetter;

/// How long one call may take; then it is seen whether somebody waits for the end.
const CALL_WITHIN: Duration = Duration::from_secs(1);
/// How often it is seen whether all records of a transaction have arrived.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long one call to abort may take, which needs the reports of records that were taken back.
const ABORT_WITHIN: Duration = Duration::from_millis(200);
/// How long a call that may be repeated is repeated.
const REPEAT_WITHIN: Duration = Duration::from_secs(15);
/// How long the first call of a new client may take: it waits for the coordinator, and for the end of what a former
/// client of its name left open.
const OPEN_WITHIN: Duration = Duration::from_secs(3);

/// A record for the topic between the hops.
pub(super) struct Outgoing {
    pub(super) shard: i32,
    pub(super) payload: Vec<u8>,
    pub(super) timestamp_ms: i64,
}

/// How a transaction failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) words: String,
    /// The client can take another one.
    pub(super) usable: bool,
}

/// What the broker says of single records.
struct Deliveries {
    metrics: Arc<Metrics>,
    /// Dead letters, by their place in the transaction, that their topic finds too long.
    too_long: Mutex<BTreeSet<usize>>,
    /// What went wrong first.
    failure: Mutex<Option<String>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.metrics.kafka_errors.inc();
        tracing::warn!(reason = format!("{error}: {reason}"), "Kafka client error");
    }
}

impl ProducerContext for Deliveries {
    /// The place of a dead letter among those of the transaction, counted from 1; 0 for any other record.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, letter: usize) {
        let Err((error, _)) = result else {
            return;
        };
        match (error, letter) {
            // What an abort has taken back has not failed.
            (
                KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight),
                _,
            ) => {}
            (KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), 1..) => {
                lock(&self.too_long).insert(letter - 1);
            }
            _ => {
                let what = if letter > 0 { "a dead letter" } else { "a record" };
                lock(&self.failure).get_or_insert_with(|| format!("{what} was refused: {error}"));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where transactions go.
pub(super) struct Destination {
    /// The topic between the hops.
    pub(super) topic: String,
    /// Where letters go.
    pub(super) letters: Option<String>,
    /// The topic that letters name as theirs.
    pub(super) source: String,
    /// How long a batch of records may be, in bytes.
    pub(super) batch_bytes: usize,
}

/// A producer that writes in transactions.
pub(super) struct Transactions {
    client: BaseProducer<Deliveries>,
    destination: Arc<Destination>,
    /// Somebody waits for the end: nothing is repeated any more.
    ending: Arc<AtomicBool>,
}

impl Transactions {
    /// Makes a client, and ends what a former one of its name left open.
    pub(super) fn open(
        config: &Kafka,
        name: &str,
        destination: Arc<Destination>,
        metrics: Arc<Metrics>,
        ending: Arc<AtomicBool>,
    ) -> Result<Self, String> {
        let settings = client::transactional_producer(config, name, destination.batch_bytes);
        let deliveries = Deliveries { metrics, too_long: Mutex::default(), failure: Mutex::default() };
        let client = BaseProducer::from_config_and_context(&settings, deliveries)
            .map_err(|error| error.to_string())?;
        client.init_transactions(OPEN_WITHIN).map_err(|error| format!("beginning transactions: {error}"))?;
        Ok(Self { client, destination, ending })
    }

    /// Commits records, letters and offsets together. Letters that their topic finds too long go to `shortened`, by
    /// their place: sent again they go without their text. While the records are on their way, `meanwhile` is called
    /// again and again; it says whether it had something to do.
    pub(super) fn commit<'a>(
        &self,
        records: impl Iterator<Item = &'a Outgoing>,
        letters: &[&DeadLetter],
        shortened: &mut BTreeSet<usize>,
        (offsets, group): (&TopicPartitionList, &ConsumerGroupMetadata),
        meanwhile: impl FnMut() -> bool,
    ) -> Result<(), Failure> {
        lock(&self.client.context().failure).take();
        self.client
            .begin_transaction()
            .map_err(|error| Failure { words: format!("beginning a transaction: {error}"), usable: false })?;
        let filled = self.fill(records, letters, shortened);
        let ended = filled.and_then(|()| {
            self.deliver(meanwhile);
            self.repeat(|| self.client.send_offsets_to_transaction(offsets, group, CALL_WITHIN))?;
            self.repeat(|| self.client.commit_transaction(CALL_WITHIN))
        });
        let Err(error) = ended else {
            return Ok(());
        };
        let fatal = matches!(&error, KafkaError::Transaction(error) if error.is_fatal());
        let usable = !fatal && self.repeat(|| self.client.abort_transaction(ABORT_WITHIN)).is_ok();
        // The last reports of records come with the abort.
        shortened.append(&mut lock(&self.client.context().too_long));
        let told = lock(&self.client.context().failure).take();
        let words = told.unwrap_or_else(|| format!("a transaction failed: {error}"));
        Err(Failure { words, usable })
    }

    fn fill<'a>(
        &self,
        records: impl Iterator<Item = &'a Outgoing>,
        letters: &[&DeadLetter],
        shortened: &mut BTreeSet<usize>,
    ) -> KafkaResult<()> {
        for Outgoing { shard, payload, timestamp_ms } in records {
            let record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.destination.topic, 0);
            self.send(record.partition(*shard).payload(payload).timestamp(*timestamp_ms))?;
        }
        let Some(topic) = &self.destination.letters else {
            return Ok(());
        };
        for (index, letter) in letters.iter().enumerate() {
            let short = shortened.contains(&index);
            let record = dead_letter::record(topic, &self.destination.source, letter, index + 1, short);
            match self.send(record) {
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)) => {
                    shortened.insert(index);
                    let record =
                        dead_letter::record(topic, &self.destination.source, letter, index + 1, true);
                    self.send(record)?;
                }
                sent => sent?,
            }
        }
        Ok(())
    }

    /// Hands a record to librdkafka, when it has room.
    fn send<K: rdkafka::message::ToBytes + ?Sized>(
        &self,
        mut record: BaseRecord<'_, K, [u8], usize>,
    ) -> KafkaResult<()> {
        let until = Instant::now() + REPEAT_WITHIN;
        loop {
            match self.client.send(record) {
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < until =>
                {
                    record = back;
                    self.client.poll(Duration::from_millis(100));
                }
                sent => return sent.map_err(|(error, _)| error),
            }
        }
    }

    /// Waits until the broker has all records, or has refused some; the commit waits in steps that are far longer.
    fn deliver(&self, mut meanwhile: impl FnMut() -> bool) {
        let until = Instant::now() + CALL_WITHIN;
        while self.client.in_flight_count() > 0 && Instant::now() < until {
            if !meanwhile() {
                // Not in the poll, which spins through the last millisecond of any wait.
                thread::sleep(LOOK_EVERY);
            }
            self.client.poll(Duration::ZERO);
        }
    }

    /// Repeats a call as long as its error says that this may help.
    fn repeat(&self, call: impl Fn() -> KafkaResult<()>) -> KafkaResult<()> {
        let until = Instant::now() + REPEAT_WITHIN;
        loop {
            let error = match call() {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let helps = match &error {
                KafkaError::Transaction(error) => error.is_retriable() && !error.txn_requires_abort(),
                // Not everything was acknowledged in time.
                KafkaError::Flush(_) => true,
                _ => false,
            };
            if !helps || Instant::now() >= until || self.ending.load(Ordering::Relaxed) {
                return Err(error);
            }
            self.client.poll(Duration::from_millis(10));
        }
    }
}
