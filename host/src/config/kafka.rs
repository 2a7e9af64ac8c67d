//! Kafka: where trades come from, and where rejected ones and results may go.

use std::time::Duration;

use super::parse::{self, Parsed};
use super::pipeline::{ClockMode, Partitioning};
use super::reader::Reader;
use super::security::KafkaSecurity;
use super::setting::Setting;

/// The settings of this concern.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("KAFKA_BROKERS", "localhost:9092", "Brokers to start from: host:port, separated by commas."),
    Setting::new("KAFKA_TOPIC", "trade-info", "The topic with the trades."),
    Setting::new(
        "KAFKA_CONSUMER_GROUP",
        "aggregator-service",
        "The consumer group. Offsets are committed under it; with PARTITIONING=by-token or repartition, \
         hosts with the same group share the work.",
    ),
    Setting::new(
        "KAFKA_GROUP_INSTANCE_ID",
        "",
        "A name for this host that survives a restart (static membership). Empty: none.",
    ),
    Setting::new(
        "KAFKA_SESSION_TIMEOUT",
        "10s",
        "How long a host may be silent until another takes over its shards: 1s to 30m.",
    ),
    Setting::new(
        "START_FROM",
        "checkpoint-or-horizon",
        "Where reading starts without a checkpoint: checkpoint-or-horizon (far enough back that all \
         windows are right), latest or earliest. With CLOCK=event the default is earliest.",
    ),
    Setting::new(
        "KAFKA_DEAD_LETTER_TOPIC",
        "",
        "The topic that rejected trades are sent to, with the reason in headers. Empty: they are \
         counted and shown over HTTP only.",
    ),
    Setting::new(
        "KAFKA_OUTPUT_TOPIC",
        "",
        "The topic that results are sent to, one message for each changed token. Empty: off.",
    ),
];

/// Where trades come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Kafka {
    /// The brokers to start from, `host:port`, separated by commas without blanks.
    pub brokers: String,
    /// The topic with the trades.
    pub topic: String,
    /// The consumer group (`KAFKA_CONSUMER_GROUP`).
    pub group: String,
    /// The name of this member of the group that survives a restart.
    pub group_instance_id: Option<String>,
    /// How long a host may be silent until another takes over.
    pub session_timeout: Duration,
    /// Where reading starts without a checkpoint.
    pub start_from: StartFrom,
    /// Where rejected trades go; none for nowhere.
    pub dead_letter_topic: Option<String>,
    /// Where results go besides Redis; none for nowhere.
    pub output_topic: Option<String>,
    /// The longest message that is read (`MAX_MESSAGE_BYTES`), which the limits of clients must fit.
    pub max_message_bytes: usize,
    /// Encryption and login.
    pub security: KafkaSecurity,
}

/// Where reading starts without a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// At the checkpoint; without one so far back that all windows are right.
    CheckpointOrHorizon,
    /// At the newest record.
    Latest,
    /// At the oldest record.
    Earliest,
}

const START_FROM: &[(&str, StartFrom)] = &[
    ("checkpoint-or-horizon", StartFrom::CheckpointOrHorizon),
    ("latest", StartFrom::Latest),
    ("earliest", StartFrom::Earliest),
];

impl Kafka {
    /// The topic between the two hops of [`Partitioning::Repartition`]. It, the groups and the names of
    /// transactions begin with the group, so that one rule of the broker can allow them all.
    pub fn hop_topic(&self) -> String {
        hop_topic(&self.group, &self.topic)
    }

    /// The consumer group of the second hop.
    pub fn hop_group(&self) -> String {
        format!("{}-repartition", self.group)
    }

    /// Reads this part; `clock` decides where reading starts by default, and the longest message is
    /// a setting of the pipeline.
    pub(super) fn read(
        from: &mut Reader<'_>,
        clock: ClockMode,
        partitioning: Partitioning,
        max_message_bytes: usize,
    ) -> Option<Self> {
        let brokers = from.value("KAFKA_BROKERS", brokers);
        let topic = from.value("KAFKA_TOPIC", parse::topic);
        let group = from.value("KAFKA_CONSUMER_GROUP", parse::label);
        let group_instance_id = from.optional("KAFKA_GROUP_INSTANCE_ID", parse::topic);
        let session_timeout = from.value("KAFKA_SESSION_TIMEOUT", parse::time("1s", "30m"));
        let start_from = if clock == ClockMode::Event && from.given("START_FROM").is_none() {
            Some(StartFrom::Earliest)
        } else {
            from.value("START_FROM", parse::choice(START_FROM))
        };
        let dead_letter_topic = from.optional("KAFKA_DEAD_LETTER_TOPIC", parse::topic);
        let output_topic = from.optional("KAFKA_OUTPUT_TOPIC", parse::topic);
        distinct_topics(from, &topic, &dead_letter_topic, &output_topic);
        if let (Partitioning::Repartition, Some(group), Some(topic)) = (partitioning, &group, &topic)
            && parse::topic(&hop_topic(group, topic)).is_err()
        {
            from.refuse(
                "KAFKA_CONSUMER_GROUP",
                "with PARTITIONING=repartition it begins a topic's name: allowed are letters, digits, dots, \
                 underscores and hyphens, and 236 of them together with KAFKA_TOPIC",
            );
        }
        let security = KafkaSecurity::read(from);
        Some(Self {
            brokers: brokers?,
            topic: topic?,
            group: group?,
            group_instance_id,
            session_timeout: session_timeout?,
            start_from: start_from?,
            dead_letter_topic,
            output_topic,
            max_message_bytes,
            security: security?,
        })
    }
}

fn hop_topic(group: &str, topic: &str) -> String {
    format!("{group}-{topic}-repartition")
}

/// What is read and written in the same topic would go round in circles.
fn distinct_topics(
    from: &mut Reader<'_>,
    topic: &Option<String>,
    dead_letter_topic: &Option<String>,
    output_topic: &Option<String>,
) {
    if dead_letter_topic.is_some() && dead_letter_topic == topic {
        from.refuse("KAFKA_DEAD_LETTER_TOPIC", "must not be the topic of KAFKA_TOPIC");
    }
    if output_topic.is_some() && output_topic == topic {
        from.refuse("KAFKA_OUTPUT_TOPIC", "must not be the topic of KAFKA_TOPIC");
    }
    if output_topic.is_some() && output_topic == dead_letter_topic {
        from.refuse("KAFKA_OUTPUT_TOPIC", "must not be the topic of KAFKA_DEAD_LETTER_TOPIC");
    }
}

fn brokers(text: &str) -> Parsed<String> {
    let list: Vec<&str> = text.split(',').map(str::trim).collect();
    if list.iter().all(|broker| parse::endpoint(broker).is_some()) {
        return Ok(list.join(","));
    }
    Err("allowed are brokers host:port, separated by commas".to_owned())
}
