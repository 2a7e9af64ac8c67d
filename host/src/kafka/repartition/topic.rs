//! The topic between the hops: made where it is absent, and looked at before anything is read.
//!
//! Invariant: nothing is read before the topic has as many partitions as there are shards and keeps what a host without
//! a checkpoint reads again.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

use super::super::{client, context};
use crate::backoff::Backoff;
use crate::config::{ClockMode, Config, Partitioning};
use crate::health::{Health, Part};
use crate::pipeline::Horizon;

/// How long a question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// What is kept besides the longest window: as long may a host take to come back, about.
const MARGIN_MS: i64 = 3_600_000;
/// The longest batch that is sent. Each one takes the broker some time, however short it is.
const BATCH_BYTES: usize = 1_000_000;
/// The same where a topic does not say how long one may be.
const CAUTIOUS_BATCH_BYTES: usize = 65_536;
/// How Kafka writes that nothing is deleted.
const NEVER: &str = "-1";

/// What is known of the topic between the hops, once it is as it must be.
#[derive(Debug, Clone, Copy)]
pub struct Between {
    /// How long a batch of records may be, in bytes, so that neither it nor the topic of dead letters refuses one in
    /// which each record is short enough.
    pub(super) batch_bytes: usize,
}

/// What the topic must be.
struct Wanted {
    name: String,
    partitions: usize,
    /// How long it keeps records, in milliseconds; none: for ever.
    retention_ms: Option<i64>,
}

/// Lets the client's lines out.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }
}

impl ConsumerContext for Quiet {}

/// Where the feed is repartitioned: waits until the topic between the hops is there and as it must be. A broker that is
/// away is waited for, and so is an operator; readiness says for what.
pub async fn prepare(config: &Config, horizon: Horizon, health: &Health) -> Option<Between> {
    if config.pipeline.partitioning != Partitioning::Repartition {
        return None;
    }
    let max_future_ms = i64::try_from(config.pipeline.max_future.as_millis()).unwrap_or(i64::MAX);
    let wanted = Wanted {
        name: config.kafka.hop_topic(),
        partitions: config.pipeline.shards as usize,
        // A replay has times of long ago, at which nothing may be deleted.
        retention_ms: match config.pipeline.clock {
            ClockMode::Wall => {
                Some(horizon.length_ms.saturating_add(max_future_ms).saturating_add(MARGIN_MS))
            }
            ClockMode::Event => None,
        },
    };
    let mut backoff = Backoff::SERVER;
    loop {
        match attempt(config, &wanted).await {
            Ok(between) => return Some(between),
            Err(words) => health.fail(Part::Kafka, "", &words),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn attempt(config: &Config, wanted: &Wanted) -> Result<Between, String> {
    let consumer: BaseConsumer<Quiet> = client::consumer(&config.kafka, Partitioning::Shuffle)
        .create_with_context(Quiet)
        .map_err(|error| error.to_string())?;
    let admin: AdminClient<DefaultClientContext> =
        client::common(&config.kafka).create().map_err(|error| error.to_string())?;
    let partitions = |topic: &str| tokio::task::block_in_place(|| partitions(&consumer, topic));
    if let Some(letters) = &config.kafka.dead_letter_topic
        && partitions(letters)? == 0
    {
        return Err(format!("KAFKA_DEAD_LETTER_TOPIC {letters} does not exist"));
    }
    if partitions(&wanted.name)? == 0 {
        create(&admin, wanted).await?;
    }
    let found = partitions(&wanted.name)?;
    if found != wanted.partitions {
        return Err(format!(
            "topic {} has {found} partitions, SHARDS is {}: set SHARDS={found}, or delete the topic",
            wanted.name, wanted.partitions
        ));
    }
    let settings = settings_of(&admin, &wanted.name).await?;
    suits(&settings, wanted).map_err(|words| format!("topic {}: {words}", wanted.name))?;
    let mut batch_bytes = longest_batch(&settings);
    if let Some(letters) = &config.kafka.dead_letter_topic {
        // Whoever may write to it may not be allowed to read its settings.
        let settings = settings_of(&admin, letters).await;
        let longest = settings.as_ref().map_or(CAUTIOUS_BATCH_BYTES, longest_batch);
        batch_bytes = batch_bytes.min(longest);
    }
    Ok(Between { batch_bytes })
}

/// How many partitions a topic has; 0: there is none.
fn partitions(consumer: &BaseConsumer<Quiet>, name: &str) -> Result<usize, String> {
    let metadata = consumer
        .fetch_metadata(Some(name), ANSWER_WITHIN)
        .map_err(|error| format!("topic {name}: {error}"))?;
    let found = metadata.topics().iter().filter(|topic| topic.name() == name && topic.error().is_none());
    Ok(found.map(|topic| topic.partitions().len()).sum())
}

async fn create(admin: &AdminClient<DefaultClientContext>, wanted: &Wanted) -> Result<(), String> {
    let retention = wanted.retention_ms.map_or(NEVER.to_owned(), |ms| ms.to_string());
    let partitions = i32::try_from(wanted.partitions).unwrap_or(i32::MAX);
    // As many replicas as the broker gives a topic by default.
    let topic = NewTopic::new(&wanted.name, partitions, TopicReplication::Fixed(-1))
        .set("cleanup.policy", "delete")
        .set("retention.ms", &retention)
        .set("retention.bytes", NEVER)
        .set("message.timestamp.type", "CreateTime");
    let options =
        AdminOptions::new().request_timeout(Some(ANSWER_WITHIN)).operation_timeout(Some(ANSWER_WITHIN));
    let answers = admin.create_topics([&topic], &options).await;
    let answers = answers.map_err(|error| format!("topic {}: {error}", wanted.name))?;
    for answer in answers {
        match answer {
            // Another host was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(format!("topic {name} cannot be made: {code}")),
        }
    }
    tracing::info!(topic = %wanted.name, partitions, %retention, "Topic between the hops made");
    Ok(())
}

async fn settings_of(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
) -> Result<ConfigResource, String> {
    let options = AdminOptions::new().request_timeout(Some(ANSWER_WITHIN));
    let answers = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
    let answers = answers.map_err(|error| format!("settings of topic {topic}: {error}"))?;
    let answer = answers.into_iter().next().ok_or_else(|| format!("topic {topic} has no settings"))?;
    answer.map_err(|code| format!("settings of topic {topic}: {code}"))
}

/// How long a batch of a topic with these settings may be.
fn longest_batch(settings: &ConfigResource) -> usize {
    let told = settings.get("max.message.bytes").and_then(|entry| entry.value.as_deref());
    told.and_then(|value| value.parse().ok()).map_or(CAUTIOUS_BATCH_BYTES, |most| BATCH_BYTES.min(most))
}

/// Whether the topic's settings lose nothing that is needed.
fn suits(resource: &ConfigResource, wanted: &Wanted) -> Result<(), String> {
    let value = |name: &str| resource.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or(NEVER);
    let retention_ms = value("retention.ms").parse().unwrap_or(0_i64);
    let keeps = retention_ms < 0 || wanted.retention_ms.is_some_and(|wanted_ms| retention_ms >= wanted_ms);
    if !keeps {
        let needed = wanted.retention_ms.unwrap_or(-1);
        return Err(format!("retention.ms is {retention_ms}, needed is {needed}"));
    }
    for (name, needed) in
        [("retention.bytes", NEVER), ("cleanup.policy", "delete"), ("message.timestamp.type", "CreateTime")]
    {
        let found = if resource.get(name).is_some() { value(name) } else { needed };
        if found != needed {
            return Err(format!("{name} is {found}, needed is {needed}"));
        }
    }
    Ok(())
}
