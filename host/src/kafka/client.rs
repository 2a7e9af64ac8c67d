//! How clients are configured: what consumers and producers have in common, and what each adds.
//!
//! Invariant: a password is handed to librdkafka and to nobody else; the limits fit the longest
//! message that is read.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::config::{Kafka, Partitioning};

/// How much of one partition librdkafka reads ahead, in KiB.
const PREFETCH_KIB: usize = 8_192;
/// The same for partitions that are read again.
const CATCH_UP_PREFETCH_KIB: usize = 4_096;
/// How much of one partition an answer brings at most: what a batch of the default mode takes, which would be shorter
/// where answers were.
const FETCH_BYTES: usize = 2 << 20;
/// The longest time between two heartbeats of a member of the group.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// The longest answer of a broker that librdkafka takes by default, in bytes.
const ANSWER_BYTES: usize = 100_000_000;
/// The longest message that librdkafka sends by default, in bytes.
const MESSAGE_BYTES: usize = 1_000_000;
/// The shortest time after which the broker gives a transaction up.
const SHORTEST_TRANSACTION: Duration = Duration::from_secs(10);
/// More than the headers of a dead letter and its frame ever take.
const LETTER_HEAD_BYTES: usize = 16 << 10;
/// How much of dead letters may wait for the broker, beside one of the longest, in KiB.
const LETTERS_KIB: usize = 32_768;

/// What every client needs.
pub(super) fn common(config: &Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", "aggregator")
        .set("security.protocol", config.security.protocol.name())
        // A broker that does not answer is noticed, and a link that comes back is used, within seconds.
        .set("socket.timeout.ms", "6000")
        .set("socket.connection.setup.timeout.ms", "3000")
        .set("reconnect.backoff.max.ms", "1000")
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
        // Where offsets are out of range is ours to decide.
        .set("auto.offset.reset", "error")
        .set("statistics.interval.ms", "1000")
        .set("queued.max.messages.kbytes", PREFETCH_KIB.to_string())
        .set("fetch.message.max.bytes", FETCH_BYTES.to_string())
        .set("receive.message.max.bytes", answer_bytes(config.max_message_bytes).to_string())
        // A partition that was full is fetched again at once, not after the default second.
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.error.backoff.ms", "100")
        .set("fetch.wait.max.ms", "100")
        .set("allow.auto.create.topics", "false");
    if partitioning != Partitioning::Shuffle {
        client
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", millis(config.session_timeout))
            // Members learn of a rebalance by their next heartbeat, and what moves stands still until all
            // have.
            .set("heartbeat.interval.ms", millis(HEARTBEAT.min(config.session_timeout / 4)));
        if let Some(instance) = &config.group_instance_id {
            client.set("group.instance.id", instance);
        }
    }
    client
}

/// Has a consumer say under which identity it fetches its topic: the context listens for that, and lets nothing else
/// of it out.
pub(super) fn that_names_its_topic(mut client: ClientConfig) -> ClientConfig {
    client.set("debug", "metadata").set_log_level(RDKafkaLogLevel::Debug);
    client
}

/// A consumer that reads again what some cells have not taken: of no group, and with little ahead.
pub(super) fn catch_up_consumer(config: &Kafka) -> ClientConfig {
    let mut client = that_names_its_topic(consumer(config, Partitioning::Shuffle));
    client
        .set("statistics.interval.ms", "0")
        .set("queued.max.messages.kbytes", CATCH_UP_PREFETCH_KIB.to_string());
    client
}

/// How long a broker's answer may be. It holds what is read ahead or, whatever its length, one batch;
/// a batch has the longest message and perhaps others.
fn answer_bytes(max_message_bytes: usize) -> usize {
    ANSWER_BYTES.max(2 * max_message_bytes + (PREFETCH_KIB << 10))
}

/// What producers have in common.
pub(super) fn producer(config: &Kafka) -> ClientConfig {
    let mut client = common(config);
    client
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .set("compression.type", "lz4")
        .set("message.timeout.ms", "300000");
    client
}

/// A producer that writes in transactions under a name of its own, in batches of so many bytes.
pub(super) fn transactional_producer(config: &Kafka, name: &str, batch_bytes: usize) -> ClientConfig {
    // A transaction that its host cannot end is ended by the broker after this time; it is longer than
    // any single request may take.
    let timeout = millis(config.session_timeout.max(SHORTEST_TRANSACTION));
    let letter_bytes = config.max_message_bytes + LETTER_HEAD_BYTES;
    let mut client = producer(config);
    client
        .set("transactional.id", name)
        .set("transaction.timeout.ms", &timeout)
        .set("message.timeout.ms", &timeout)
        .set("message.max.bytes", MESSAGE_BYTES.max(letter_bytes).to_string())
        // What is longer than a batch travels alone, so that a topic that refuses it refuses no other.
        .set("batch.size", batch_bytes.to_string())
        // Two thirds of a packed trade are hashes and addresses, which hardly shrink.
        .set("compression.type", "none")
        // What waits is bounded by whoever fills transactions.
        .set("queue.buffering.max.messages", "1000000")
        .set("linger.ms", "0");
    client
}

/// A producer of dead letters, which are as long as the messages that are read.
pub(super) fn dead_letter_producer(config: &Kafka) -> ClientConfig {
    let letter_bytes = config.max_message_bytes + LETTER_HEAD_BYTES;
    let mut client = producer(config);
    client
        // A letter is tried for as long as it takes.
        .set("message.timeout.ms", "0")
        .set("message.max.bytes", MESSAGE_BYTES.max(letter_bytes).to_string())
        // A longer letter than this travels alone, so that a topic that refuses it refuses no other.
        .set("batch.size", "65536")
        // One that does not fit would wait for ever.
        .set("queue.buffering.max.kbytes", (LETTERS_KIB + letter_bytes / 1_024).to_string());
    client
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;
    use rdkafka::producer::BaseProducer;

    use super::*;
    use crate::config::Config;

    fn kafka(pairs: &[(&str, &str)]) -> Kafka {
        let map = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::from_map(&map).unwrap().0.kafka
    }

    fn number(client: &ClientConfig, key: &str) -> usize {
        client.get(key).unwrap().parse().unwrap()
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

    #[test]
    fn the_longest_message_can_be_fetched_and_sent_as_a_dead_letter() {
        for (set, bytes) in [("1KiB", 1 << 10), ("8MiB", 8 << 20), ("512MiB", 512 << 20)] {
            let config = kafka(&[("MAX_MESSAGE_BYTES", set)]);
            let reading = consumer(&config, Partitioning::Shuffle);
            assert!(number(&reading, "receive.message.max.bytes") >= bytes + 512, "{set}");
            reading.create::<BaseConsumer>().unwrap();
            let sending = dead_letter_producer(&config);
            assert!(number(&sending, "message.max.bytes") > bytes, "{set}");
            assert!(number(&sending, "queue.buffering.max.kbytes") << 10 > bytes, "{set}");
            sending.create::<BaseProducer>().unwrap();
        }
    }
}
