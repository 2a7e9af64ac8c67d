//! What a term stands on: the topic that its offsets count, and the layout that its checkpoints are of.
//!
//! A term is the time between two reasons to begin anew; another topic of the same name, or another layout, is such a
//! reason. Not for finding any of it out. Invariant: it stays the same for a whole term, but for the former layout,
//! which goes when nothing of it is needed any more.

use std::sync::Arc;

use super::route::Layout;

/// The number of the first layout of a service.
pub const FIRST_LAYOUT: u64 = 1;

/// What a term stands on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The broker's identity of the topic; none where it names none.
    pub topic_id: Option<Arc<str>>,
    /// Numbers the layouts of this service, so that checkpoints of two of them do not meet in the store.
    pub layout_id: u64,
    /// Where shards take their state from that have no checkpoint of this layout yet.
    pub former: Option<Former>,
}

/// A layout whose state is carried over.
#[derive(Debug, Clone)]
pub struct Former {
    /// Its number.
    pub layout_id: u64,
    /// What its checkpoints call it.
    pub name: Arc<str>,
    /// How trades found their shards.
    pub layout: Layout,
    /// How many shards take its place.
    pub successors: u32,
}

impl Default for Ground {
    fn default() -> Self {
        Self { topic_id: None, layout_id: FIRST_LAYOUT, former: None }
    }
}

/// Under which name the store keeps a plugin's checkpoints of a layout.
pub fn checkpoint_name(layout_id: u64, plugin: &str) -> Arc<str> {
    match layout_id {
        FIRST_LAYOUT => plugin.into(),
        // No plugin's name has such a letter.
        later => format!("{plugin}@{later}").into(),
    }
}

impl Former {
    /// Those of its shards that may hold tokens of a shard, or offsets that matter to it.
    pub(super) fn shards_for(&self, shard: u32, own: &Layout) -> impl Iterator<Item = u32> + use<> {
        let common = match (self.layout.shuffles(), own.shuffles()) {
            (true, true) => greatest_common_divisor(self.layout.shards, own.shards),
            _ => 1,
        };
        (0..self.layout.shards).filter(move |former| former % common == shard % common)
    }

    /// Whether what a shard of it has taken of a partition says anything: where partitions were the shards, only the
    /// partition's own shard does.
    pub(super) fn feeds(&self, partition: i32, shard: u32) -> bool {
        self.layout.feeds(partition, shard)
    }

    /// The shard that a token was in whose trade came from a partition.
    pub(super) fn shard_of(&self, hash: u64, partition: i32) -> u32 {
        self.layout.shard(hash, partition)
    }
}

fn greatest_common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one.max(1) } else { greatest_common_divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Partitioning;

    fn layout(partitioning: Partitioning, shards: u32) -> Layout {
        Layout { partitioning, shards, workers: 1 }
    }

    fn former(partitioning: Partitioning, shards: u32) -> Former {
        Former { layout_id: 1, name: "any".into(), layout: layout(partitioning, shards), successors: 1 }
    }

    #[test]
    fn a_shard_looks_only_where_its_tokens_can_have_been() {
        for (before, now) in [(4, 16), (16, 4), (6, 4), (3, 16), (1, 5), (4, 4)] {
            let former = former(Partitioning::Shuffle, before);
            let own = layout(Partitioning::Shuffle, now);
            for hash in 0..500 {
                let looks: Vec<u32> = former.shards_for(own.shard(hash, 0), &own).collect();
                assert!(looks.contains(&former.shard_of(hash, 0)), "{before} to {now}, {hash}");
            }
        }
        let own = layout(Partitioning::Shuffle, 16);
        assert_eq!(former(Partitioning::Shuffle, 4).shards_for(6, &own).collect::<Vec<_>>(), [2]);
        assert_eq!(former(Partitioning::ByToken, 3).shards_for(6, &own).count(), 3);
    }

    #[test]
    fn checkpoints_of_two_layouts_have_two_names() {
        assert_eq!(&*checkpoint_name(FIRST_LAYOUT, "p"), "p");
        assert_eq!(&*checkpoint_name(2, "p"), "p@2");
    }
}
