//! A broker inside this process, for `aggregator demo`: librdkafka's mock cluster, real TCP.
//!
//! Not for benchmarks: it keeps 5 MiB per partition and drops the rest. Invariant: the cluster lives
//! as long as the handle.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext};

/// A mock cluster with one topic.
pub struct MockBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    topic: String,
}

/// A producer for that topic.
pub struct MockFeed {
    producer: BaseProducer,
    topic: String,
}

impl MockBroker {
    /// Starts the cluster and creates the topic.
    pub fn start(topic: &str, partitions: i32) -> Result<Self, KafkaError> {
        let cluster = MockCluster::new(1)?;
        cluster.create_topic(topic, partitions, 1)?;
        Ok(Self { cluster, topic: topic.to_owned() })
    }

    /// Where it listens.
    pub fn brokers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// A producer for the topic; it may go to another thread, which the cluster may not.
    pub fn feed(&self) -> Result<MockFeed, KafkaError> {
        let producer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", self.brokers())
            .set("linger.ms", "5")
            .create()?;
        Ok(MockFeed { producer, topic: self.topic.clone() })
    }
}

impl MockFeed {
    /// Sends a message without a key, as the real feed's producers do.
    pub fn send(&self, payload: &[u8]) {
        let mut record: BaseRecord<'_, (), [u8]> = BaseRecord::to(&self.topic).payload(payload);
        while let Err((error, back)) = self.producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                tracing::warn!(%error, "Demo trade not sent");
                return;
            }
            record = back;
            self.producer.poll(Duration::from_millis(10));
        }
        self.producer.poll(Duration::ZERO);
    }
}
