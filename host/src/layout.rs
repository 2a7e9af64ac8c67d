//! How the service is laid out, in the store and now: recognised at the beginning of each term, changed, and the
//! change brought to its end.
//!
//! A change is begun by naming it in the record of the layout that is left. From then on shards without a checkpoint
//! of the new layout put their state together from those of the former one. When every shard has its own, the record
//! names the new layout, and the former checkpoints go. Until then nothing of them is touched, so that a start at any
//! moment finds all it needs. Not for carrying state. Invariant: owner records of shards that are gone stay, since
//! they are what keeps a process of the former layout from writing.

use std::sync::Arc;

use crate::config::{Config, Partitioning};
use crate::kafka::Topics;
use crate::pipeline::ground::{Former, Ground, checkpoint_name};
use crate::pipeline::{Horizon, Layout, Shared};
use crate::store::{LayoutRecord, StoreError, Towards};

/// Under which name readiness knows of moved keys.
const MOVED_KEYS: &str = "moved keys";
/// What is said of them.
const MOVED: &str = "the topic has grown, and with it the keys of some tokens have moved to other partitions: \
                     their windows are complete when the longest one has passed";

/// The layout that the configuration asks for.
pub(crate) fn own(config: &Config, topics: &Topics) -> LayoutRecord {
    let (mode, shards) = match config.pipeline.partitioning {
        Partitioning::Shuffle => ("shuffle", config.pipeline.shards),
        Partitioning::ByToken => ("by-token", topics.read.partitions),
        Partitioning::Repartition => ("repartition", config.pipeline.shards),
    };
    let topic_id = topics.read.id.as_deref().map(str::to_owned);
    LayoutRecord { topic_id, ..LayoutRecord::new(mode, shards, &config.kafka.topic) }
}

/// Finds out what this service has written to the store before, and what this term stands on.
///
/// # Errors
/// When the store does not answer; nothing is lost by doing it again.
pub(crate) async fn recognise(config: &Config, topics: &Topics, shared: &Shared) -> Result<(), StoreError> {
    let store = &shared.writing.store;
    let own = own(config, topics);
    let found = store.layout().await?;
    if let Some(found) = &found {
        // Nothing is shown that is older than what stands there.
        shared.withhold();
        tell_of_another_topic(found, &own);
    }
    let ground = Ground { topic_id: topics.read.id.clone(), ..Ground::default() };
    let ground = match found {
        None => {
            store.set_layout(&own).await?;
            ground
        }
        Some(found) if found.name() == own.name() => go_on(found, own, ground, shared).await?,
        Some(found) => match former(&found, &own, topics).filter(|_| shared.checkpoint_interval.is_some()) {
            Some(former) => begin_change(found, own, former, ground, shared).await?,
            None => begin_with_nothing(found, own, ground, shared).await?,
        },
    };
    shared.saw_partitions(topics.read.partitions);
    shared.stand_on(ground);
    Ok(())
}

fn tell_of_another_topic(found: &LayoutRecord, own: &LayoutRecord) {
    let (before, now) = (&found.topic_id, &own.topic_id);
    if found.topic == own.topic && before.is_some() && now.is_some() && before != now {
        tracing::warn!(
            topic = %own.topic, before, now,
            "The topic was made anew: what was counted stays counted, and all that the new one holds is read"
        );
    }
}

/// The layout is the one that was.
async fn go_on(
    found: LayoutRecord,
    own: LayoutRecord,
    ground: Ground,
    shared: &Shared,
) -> Result<Ground, StoreError> {
    if let Some(attempt) = &found.towards {
        tracing::info!(layout = %found, "A change of the layout was taken back");
        discard(shared, found.id + 1, attempt.shards).await?;
    }
    let grown = own.mode == "by-token" && found.shards > 0 && own.shards > found.shards;
    let grown_ms = if grown { Some(shared.clock.now_ms()) } else { found.grown_ms };
    let record = LayoutRecord { id: found.id, grown_ms, ..own };
    if record != found {
        shared.writing.store.set_layout(&record).await?;
    }
    Ok(Ground { layout_id: record.id, ..ground })
}

/// The layout that state can be carried over from: one whose offsets are of the same topic.
fn former(found: &LayoutRecord, own: &LayoutRecord, topics: &Topics) -> Option<Former> {
    let (partitioning, shards) = match found.mode.as_str() {
        "shuffle" => (Partitioning::Shuffle, found.shards),
        // It may have grown since.
        "by-token" => (Partitioning::ByToken, found.shards.max(topics.read.partitions)),
        _ => return None,
    };
    let carried =
        found.topic == own.topic && found.hash == own.hash && own.mode != "repartition" && shards > 0;
    carried.then(|| Former {
        layout_id: found.id,
        name: found.name().into(),
        layout: Layout { partitioning, shards, workers: 1 },
        successors: own.shards,
    })
}

async fn begin_change(
    found: LayoutRecord,
    own: LayoutRecord,
    former: Former,
    ground: Ground,
    shared: &Shared,
) -> Result<Ground, StoreError> {
    let store = &shared.writing.store;
    let towards = Towards { mode: own.mode.clone(), shards: own.shards };
    if let Some(attempt) = found.towards.as_ref().filter(|attempt| **attempt != towards) {
        discard(shared, found.id + 1, attempt.shards).await?;
    }
    // A process of the former layout must not write any more; the shards that there still are get owners anyway.
    for gone in own.shards..former.layout.shards {
        store.claim(gone, shared.writing.owner_id).await?;
    }
    tracing::warn!(from = %found, to = %own, "The layout changes: state is carried over, and the stream read from where the shards stood");
    let layout_id = found.id + 1;
    store.set_layout(&LayoutRecord { towards: Some(towards), ..found }).await?;
    Ok(Ground { layout_id, former: Some(former), ..ground })
}

async fn begin_with_nothing(
    found: LayoutRecord,
    own: LayoutRecord,
    ground: Ground,
    shared: &Shared,
) -> Result<Ground, StoreError> {
    tracing::warn!(from = %found, to = %own, "The layout changes: the windows are read again");
    for gone in own.shards..found.shards {
        shared.writing.store.claim(gone, shared.writing.owner_id).await?;
    }
    // One of an attempt may be in the way.
    let layout_id = found.id + 2;
    shared.writing.store.set_layout(&LayoutRecord { id: layout_id, ..own }).await?;
    discard(shared, found.id, found.shards).await?;
    if let Some(attempt) = &found.towards {
        discard(shared, found.id + 1, attempt.shards).await?;
    }
    Ok(Ground { layout_id, ..ground })
}

/// Brings a change to its end, once every shard has a checkpoint of its own.
///
/// # Errors
/// When the store does not answer; nothing is lost by doing it again.
pub(crate) async fn complete(shared: &Shared) -> Result<(), StoreError> {
    let ground = shared.ground();
    let Some(former) = &ground.former else {
        return Ok(());
    };
    let store = &shared.writing.store;
    for plugin in names(shared) {
        let name = checkpoint_name(ground.layout_id, &plugin);
        for shard in 0..former.successors {
            let head = store.head(shard, &name).await?;
            if head.is_none_or(|head| *head.layout != *shared.layout_name) {
                return Ok(());
            }
        }
    }
    let found = store.layout().await?;
    let arrived = found.as_ref().and_then(LayoutRecord::arrived);
    match (found, arrived) {
        (_, Some(arrived)) if arrived.name() == *shared.layout_name && arrived.id == ground.layout_id => {
            store
                .set_layout(&LayoutRecord {
                    topic_id: ground.topic_id.as_deref().map(str::to_owned),
                    ..arrived
                })
                .await?;
        }
        // Another host of this layout was faster.
        (Some(found), None) if found.id == ground.layout_id && found.name() == *shared.layout_name => {}
        _ => return Ok(()),
    }
    shared.stand_on(Ground { former: None, ..Ground::clone(&ground) });
    discard(shared, former.layout_id, former.layout.shards).await?;
    tracing::info!(layout = %shared.layout_name, "The layout has changed");
    Ok(())
}

/// Removes the checkpoints of a layout.
async fn discard(shared: &Shared, layout_id: u64, shards: u32) -> Result<(), StoreError> {
    for plugin in names(shared) {
        let name = checkpoint_name(layout_id, &plugin);
        for shard in 0..shards {
            shared.writing.store.discard(shard, &name).await?;
        }
    }
    Ok(())
}

fn names(shared: &Shared) -> Vec<Arc<str>> {
    shared.changes.running().iter().map(|running| running.name().into()).collect()
}

/// What is known of the growth of a topic whose partitions are the shards.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    /// How many partitions it was last seen to have.
    seen: u32,
    grown_ms: Option<i64>,
}

impl Growth {
    /// Looks whether the topic has grown, and warns as long as windows lack trades of tokens whose keys moved.
    ///
    /// # Errors
    /// When the store does not answer; it is looked again later.
    pub(crate) async fn watch(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let partitions = shared.partitions();
        if shared.layout.partitioning != Partitioning::ByToken || partitions == 0 {
            return Ok(());
        }
        if partitions != self.seen {
            let store = &shared.writing.store;
            if let Some(mut record) =
                store.layout().await?.filter(|found| found.name() == *shared.layout_name)
            {
                if record.shards < partitions {
                    record.shards = partitions;
                    record.grown_ms = Some(shared.clock.now_ms());
                    store.set_layout(&record).await?;
                }
                self.grown_ms = record.grown_ms;
            }
            self.seen = partitions;
            if self.warns(shared) {
                tracing::warn!(partitions, "{}", MOVED);
            }
        }
        match self.warns(shared) {
            true => shared.health.warn(MOVED_KEYS, MOVED),
            false => shared.health.clear_warning(MOVED_KEYS),
        }
        Ok(())
    }

    /// Whether the longest window may still hold trades from before the growth.
    fn warns(&self, shared: &Shared) -> bool {
        let longest_ms = Horizon::longest(&shared.changes.running()).length_ms;
        self.grown_ms.is_some_and(|grown_ms| shared.clock.now_ms() < grown_ms.saturating_add(longest_ms))
    }
}
