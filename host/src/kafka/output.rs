//! The Kafka output: results as messages in the shape that the ancestor's consumers read.
//!
//! Invariant: the store comes first; a message that cannot be delivered is said, and the token's
//! next change brings a newer one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::{ClientError, client};
use crate::config::Kafka;
use crate::pipeline::Publisher;
use crate::results::Message;

/// The topic that results go to.
pub struct OutputTopic {
    producer: FutureProducer,
    topic: String,
    /// Why messages are not delivered, while they are not.
    away: Mutex<Option<Away>>,
}

/// Messages are given up at once: whoever writes results must not wait for each of them.
struct Away {
    words: String,
    /// One that is sent all the same, to learn when that ends.
    probe: Option<DeliveryFuture>,
}

impl OutputTopic {
    /// Makes a producer; a broker that is away is waited for when there is something to send.
    pub fn new(config: &Kafka, topic: &str) -> Result<Self, ClientError> {
        let mut settings = client::producer(config);
        settings.set("message.timeout.ms", "10000");
        let producer = settings.create().map_err(|error| ClientError::new(config, error))?;
        Ok(Self { producer, topic: topic.to_owned(), away: Mutex::default() })
    }

    fn with_away<R>(&self, act: impl FnOnce(&mut Option<Away>) -> R) -> R {
        act(&mut self.away.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why a message is given up at once, if it is.
    fn still_away(&self, next: &Message) -> Option<String> {
        self.with_away(|away| {
            let Away { words, probe } = away.as_mut()?;
            match probe.as_mut().map(|probe| probe.now_or_never()) {
                Some(Some(Ok(Ok(_)))) => {
                    *away = None;
                    return None;
                }
                Some(None) => {}
                Some(Some(_)) | None => *probe = self.producer.send_result(self.record(next)).ok(),
            }
            Some(words.clone())
        })
    }

    async fn send_all(&self, messages: &[Message]) -> Result<(), String> {
        let mut underway: Vec<DeliveryFuture> = Vec::with_capacity(messages.len());
        let mut result = Ok(());
        for message in messages {
            let mut record = self.record(message);
            loop {
                match self.producer.send_result(record) {
                    Ok(delivery) => break underway.push(delivery),
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                        record = back;
                        result = result.and(settle(&mut underway).await);
                        tokio::task::yield_now().await;
                    }
                    Err((error, _)) => return Err(error.to_string()),
                }
            }
        }
        result.and(settle(&mut underway).await)
    }

    fn record<'a>(&'a self, message: &'a Message) -> FutureRecord<'a, str, [u8]> {
        let headers = message.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        FutureRecord::to(&self.topic).key(&*message.key).payload(&message.value[..]).headers(headers)
    }
}

async fn settle(underway: &mut Vec<DeliveryFuture>) -> Result<(), String> {
    let mut result = Ok(());
    for delivery in underway.drain(..) {
        match delivery.await {
            Ok(Ok(_)) => {}
            Ok(Err((error, _))) => result = Err(error.to_string()),
            Err(_) => result = Err("the producer was closed".to_owned()),
        }
    }
    result
}

impl Publisher for OutputTopic {
    fn publish(
        &self,
        messages: Vec<Message>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async move {
            let sent = match messages.first().and_then(|first| self.still_away(first)) {
                Some(words) => Err(words),
                None => self.send_all(&messages).await.inspect_err(|words| {
                    self.with_away(|away| *away = Some(Away { words: words.clone(), probe: None }));
                }),
            };
            sent.map_err(|words| format!("results not delivered to {}: {words}", self.topic))
        })
    }
}
