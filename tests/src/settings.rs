//! The environment of a host under test.
//!
//! The invariant: a host sees these variables and no others.

use std::collections::BTreeMap;

use crate::broker::Broker;
use crate::redis_server::RedisServer;

/// Variables and their values.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    variables: BTreeMap<String, String>,
}

impl Settings {
    /// No variable at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads `topic` of a broker and writes to a Redis; the group is named after the topic.
    pub fn of(broker: &Broker, topic: &str, redis: &RedisServer) -> Self {
        Self::none()
            .with("KAFKA_BROKERS", &broker.host_address())
            .with("KAFKA_TOPIC", topic)
            .with("KAFKA_CONSUMER_GROUP", topic)
            .with("REDIS_ADDR", &redis.address())
            .with("SHARDS", "4")
            .with("MAX_WORKERS", "2")
    }

    /// Sets a variable, or another value for it.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// All variables.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.variables.iter()
    }
}
