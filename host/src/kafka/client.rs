//! How clients are configured: what consumers and producers have in common, and what each adds.
//!
//! Invariant: a password is handed to librdkafka and to nobody else.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::config::{Kafka, Partitioning};

/// How much of one partition librdkafka reads ahead, in KiB.
const PREFETCH_KIB: &str = "16384";

/// What every client needs.
fn common(config: &Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", "aggregator")
        .set("security.protocol", config.security.protocol.name())
        .set("socket.timeout.ms", "8000")
        .set("reconnect.backoff.max.ms", "2000")
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set_log_level(RDKafkaLogLevel::Warning);
    let security = &config.security;
    if let Some(mechanism) = security.sasl_mechanism {
        client.set("sasl.mechanism", mechanism.name());
    }
    if let Some(username) = &security.username {
        client.set("sasl.username", username);
    }
    if let Some(password) = &security.password {
        client.set("sasl.password", password.expose());
    }
    let files = [
        ("ssl.ca.location", &security.ssl_ca),
        ("ssl.certificate.location", &security.ssl_certificate),
        ("ssl.key.location", &security.ssl_key),
    ];
    for (key, path) in files {
        if let Some(path) = path {
            client.set(key, path.display().to_string());
        }
    }
    if security.protocol.encrypts() && security.ssl_ca.is_none() {
        // The OpenSSL inside knows the directory that it was built for, which no system fills;
        // librdkafka then looks where distributions keep their certificates.
        client.set("ssl.ca.location", "probe");
    }
    if let Some(password) = &security.ssl_key_password {
        client.set("ssl.key.password", password.expose());
    }
    client
}

/// A consumer of the trades.
pub(super) fn consumer(config: &Kafka, partitioning: Partitioning) -> ClientConfig {
    let mut client = common(config);
    client
        .set("group.id", &config.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        // Where offsets are out of range is ours to decide.
        .set("auto.offset.reset", "error")
        .set("statistics.interval.ms", "1000")
        .set("queued.max.messages.kbytes", PREFETCH_KIB)
        // A partition that was full is fetched again at once, not after the default second.
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.error.backoff.ms", "100")
        .set("fetch.wait.max.ms", "100")
        .set("allow.auto.create.topics", "false");
    if partitioning == Partitioning::ByToken {
        client
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", millis(config.session_timeout))
            .set("heartbeat.interval.ms", millis(config.session_timeout / 4));
        if let Some(instance) = &config.group_instance_id {
            client.set("group.instance.id", instance);
        }
    }
    client
}

/// A producer of dead letters or results.
pub(super) fn producer(config: &Kafka) -> ClientConfig {
    let mut client = common(config);
    client
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .set("compression.type", "lz4")
        .set("message.timeout.ms", "300000");
    client
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn kafka(pairs: &[(&str, &str)]) -> Kafka {
        let map = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::from_map(&map).unwrap().0.kafka
    }

    #[test]
    fn brokers_are_checked_against_the_certificates_of_the_system_unless_others_are_named() {
        let place = |pairs: &[(&str, &str)]| {
            let client = consumer(&kafka(pairs), Partitioning::Shuffle);
            client.get("ssl.ca.location").map(str::to_owned)
        };
        let ssl = ("KAFKA_SECURITY_PROTOCOL", "ssl");
        assert_eq!(place(&[]), None);
        assert_eq!(place(&[ssl]).as_deref(), Some("probe"));
        assert_eq!(place(&[ssl, ("KAFKA_SSL_CA_LOCATION", "/ca")]).as_deref(), Some("/ca"));
    }
}
