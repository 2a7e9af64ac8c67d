//! Which topics a term stands on: asked before anything is read, and for as long as it takes.
//!
//! Not for noticing a change: the readers do. Invariant: readiness says what is waited for.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::context::{Context, Notice, serve};
use super::describe::describe;
use super::{ClientError, client};
use crate::backoff::Backoff;
use crate::config::{Config, Partitioning};
use crate::health::Part;
use crate::pipeline::Shared;

/// How long one question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// A topic as the broker knows it.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// What a topic made anew does not share; none from a broker that has no such thing.
    pub id: Option<Arc<str>>,
    /// How many partitions it has.
    pub partitions: u32,
}

/// The topics of a term.
#[derive(Debug, Clone, Default)]
pub struct Topics {
    /// The one with the trades.
    pub source: Identity,
    /// The one that the shards read: the same, or the one between the hops.
    pub read: Identity,
}

/// Asks which topics there are; a broker that is away is waited for, and so is a topic.
///
/// # Errors
/// When no client can be made.
pub async fn identify(config: &Config, shared: &Shared) -> Result<Topics, ClientError> {
    let context = Context::new(Arc::clone(&shared.metrics), &config.kafka.topic);
    let settings = client::consumer(&config.kafka, Partitioning::Shuffle);
    let consumer = BaseConsumer::from_config_and_context(&settings, context)
        .map_err(|error| ClientError::new(&config.kafka, error))?;
    let source = wait_for(&consumer, &config.kafka.topic, shared).await;
    let read = match config.pipeline.partitioning {
        Partitioning::Repartition => wait_for(&consumer, &config.kafka.hop_topic(), shared).await,
        Partitioning::Shuffle | Partitioning::ByToken => source.clone(),
    };
    Ok(Topics { source, read })
}

async fn wait_for(consumer: &BaseConsumer<Context>, topic: &str, shared: &Shared) -> Identity {
    let (mut backoff, mut cause) = (Backoff::SERVER, None);
    loop {
        let asked = tokio::task::block_in_place(|| describe(consumer.client(), topic, ANSWER_WITHIN));
        // Errors of the client come this way, and are counted.
        serve(consumer);
        while let Some(notice) = consumer.client().context().next() {
            if let Notice::Error { words, says_why: true } = notice {
                cause = Some(words);
            }
        }
        match asked {
            Ok(found) => {
                let partitions = u32::try_from(found.partitions.len()).unwrap_or(u32::MAX);
                return Identity { id: found.id, partitions };
            }
            Err(words) => {
                let cause = cause.as_ref().map(|cause| format!("; {cause}")).unwrap_or_default();
                shared.health.fail(Part::Kafka, "", &format!("{words}{cause}"));
            }
        }
        tokio::time::sleep(backoff.next()).await;
    }
}
