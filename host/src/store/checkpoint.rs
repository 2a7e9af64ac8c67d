//! What a restart loads: the state of a cell (one shard, one plugin) in pages, and a head that names them.
//!
//! Pages are opaque bytes to the store. They are staged first; a commit then writes the head, from which
//! moment on the checkpoint is the one that counts, and removes what it replaces.
//!
//! Invariant: a stored head names only pages that are stored, so that a checkpoint is there whole or not
//! at all.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::{StoreError, undecodable};
use super::owner::Owner;

/// What a cell's checkpoint says besides its state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Head {
    /// The version of this record, [`Head::FORMAT`]; another one is refused.
    pub format: u32,
    /// Which layout of shards the state belongs to.
    pub layout: String,
    /// The broker's identity of the topic that the offsets count; none where it named none.
    #[serde(default)]
    pub topic_id: Option<String>,
    /// The digest of the plugin's component, hex.
    pub digest: String,
    /// The plugin's configuration.
    pub configuration: String,
    /// The version of the plugin's state, as it declares it.
    pub state_version: u32,
    /// How far back the longest window reached.
    pub horizon_ms: u64,
    /// The steps in which results moved with time.
    pub step_ms: u64,
    /// The clock T; none before the first trade.
    pub clock_ms: Option<i64>,
    /// What the cell has seen of each partition.
    pub marks: Vec<SavedMark>,
    /// With a repartitioned feed: what the cell was told of each partition of the source.
    #[serde(default)]
    pub sources: Vec<SavedMark>,
    /// How far decoding and the delivery of dead letters got, by partition.
    pub decoded: Vec<(i32, i64)>,
    /// The parts of the state, in the order in which their pages are imported.
    pub parts: Vec<Part>,
    /// The size of the pages of all parts.
    pub bytes: u64,
    /// Trades behind the vector that the plugin cannot survive: partition, offset, index in the array.
    #[serde(default)]
    pub quarantined: Vec<(i32, i64, u32)>,
}

/// What a cell has seen of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMark {
    /// The partition.
    pub partition: i32,
    /// The next offset that the cell needs.
    pub next: i64,
    /// The newest time seen, unix milliseconds.
    pub newest_ms: Option<i64>,
    /// How far the partition had come to being live, as the pipeline counts it.
    pub progress: u8,
}

/// Pages written by one checkpoint: the first part holds the whole state, each further one what changed
/// since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Tells the parts of a cell apart; rises.
    pub id: u64,
    /// How many pages it has, numbered from 0.
    pub pages: u32,
}

/// A page of a checkpoint on its way to the store.
#[derive(Debug, Clone)]
pub struct StagedPage {
    /// The shard; its owner record is compared.
    pub shard: u32,
    /// Who writes.
    pub owner: Owner,
    /// The plugin whose state it is.
    pub plugin: Arc<str>,
    /// The part that it belongs to.
    pub part: u64,
    /// Its place in the part.
    pub index: u32,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// The end of a checkpoint: from its commit on it is the one that a restart loads.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The shard; its owner record is compared.
    pub shard: u32,
    /// Who writes.
    pub owner: Owner,
    /// The plugin whose state it is.
    pub plugin: Arc<str>,
    /// What the checkpoint says besides its state.
    pub head: Head,
    /// A page that needs no staging, because it travels with the commit. Its shard, owner and plugin are
    /// the commit's.
    pub last_page: Option<StagedPage>,
    /// Parts of the checkpoint before that this one no longer names: they are removed.
    pub replaced: Vec<Part>,
}

/// The most pages of a checkpoint: a head that names more would have the service make their keys.
const MOST_PAGES: u64 = 1 << 17;

/// Where a page lies among those of its cell: its part and its place in it.
pub(super) type Place = (u64, u32);

impl Head {
    /// The version of this record.
    pub const FORMAT: u32 = 1;

    /// The record as it is stored.
    pub(super) fn encode(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        rmp_serde::to_vec_named(self).map_err(|error| undecodable(key, error.to_string()))
    }

    /// Reads a record.
    pub(super) fn decode(key: &str, bytes: &[u8]) -> Result<Self, StoreError> {
        /// What all versions of the record have in common.
        #[derive(Deserialize)]
        struct AnyFormat {
            format: u32,
        }

        let read = |error: rmp_serde::decode::Error| undecodable(key, error.to_string());
        let any: AnyFormat = rmp_serde::from_slice(bytes).map_err(read)?;
        if any.format != Self::FORMAT {
            let words = format!("a checkpoint of format {}, this version reads {}", any.format, Self::FORMAT);
            return Err(undecodable(key, words));
        }
        let head: Self = rmp_serde::from_slice(bytes).map_err(read)?;
        let pages: u64 = head.parts.iter().map(|part| u64::from(part.pages)).sum();
        if pages > MOST_PAGES {
            return Err(undecodable(key, format!("{pages} pages, at most {MOST_PAGES} are read")));
        }
        Ok(head)
    }
}

impl Part {
    /// The places of its pages, in their order.
    pub(super) fn places(self) -> impl Iterator<Item = Place> {
        (0..self.pages).map(move |index| (self.id, index))
    }
}

impl Commit {
    /// The pages that must be stored before the commit.
    pub(super) fn needed(&self) -> impl Iterator<Item = Place> {
        let last = self.last_page.as_ref().map(|page| (page.part, page.index));
        self.head.parts.iter().flat_map(|part| part.places()).filter(move |&place| Some(place) != last)
    }

    /// The pages that go with the commit; never one that its head names.
    pub(super) fn obsolete(&self) -> impl Iterator<Item = Place> {
        self.replaced
            .iter()
            .flat_map(|part| part.places())
            .filter(|&(id, index)| !self.head.parts.iter().any(|part| part.id == id && index < part.pages))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::Action;

    fn head() -> Head {
        Head {
            format: Head::FORMAT,
            layout: "shuffle-32".to_owned(),
            topic_id: Some("AAECAwQFBgcICQoLDA0ODw".to_owned()),
            digest: "00ff".to_owned(),
            configuration: r#"{"windows":["1m"]}"#.to_owned(),
            state_version: 2,
            horizon_ms: 3_600_000,
            step_ms: 1_000,
            clock_ms: Some(-1),
            marks: vec![SavedMark { partition: 4, next: 1 << 40, newest_ms: None, progress: 2 }],
            sources: vec![SavedMark { partition: 0, next: 7, newest_ms: Some(8), progress: 1 }],
            decoded: vec![(4, 1 << 41)],
            parts: vec![Part { id: 7, pages: 28 }, Part { id: 8, pages: 1 }],
            bytes: 29 << 20,
            quarantined: vec![(4, 1 << 40, 3)],
        }
    }

    #[test]
    fn a_head_is_read_back() {
        let bytes = head().encode("k").unwrap();
        assert_eq!(Head::decode("k", &bytes).unwrap(), head());
    }

    #[test]
    fn a_head_of_another_format_is_refused_with_words() {
        /// A later version may have other fields.
        #[derive(Serialize)]
        struct Later {
            format: u32,
            contents: &'static str,
        }
        let bytes = rmp_serde::to_vec_named(&Later { format: 2, contents: "other" }).unwrap();
        let error = Head::decode("the key", &bytes).unwrap_err();
        assert_eq!(error.action(), Action::Skip);
        let words = error.to_string();
        assert!(words.contains("the key") && words.contains("format 2"), "{words}");
    }

    #[test]
    fn a_commit_never_removes_what_its_head_names() {
        let part = |id, pages| Part { id, pages };
        let commit = Commit {
            shard: 3,
            owner: Owner::NOBODY,
            plugin: "p".into(),
            head: Head { parts: vec![part(1, 2), part(2, 1)], ..Head::default() },
            last_page: None,
            replaced: vec![part(1, 4), part(0, 1)],
        };
        assert_eq!(commit.obsolete().collect::<Vec<_>>(), [(1, 2), (1, 3), (0, 0)]);
        assert_eq!(commit.needed().collect::<Vec<_>>(), [(1, 0), (1, 1), (2, 0)]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_head(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(Head::decode("k", &bytes).is_err());
        }

        #[test]
        fn a_head_that_was_cut_is_none(cut in any::<proptest::sample::Index>()) {
            let bytes = head().encode("k").unwrap();
            prop_assert!(Head::decode("k", &bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn a_head_with_damaged_bytes_is_read_or_refused(
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = head().encode("k").unwrap();
            for (place, byte) in damage {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Ok(read) = Head::decode("k", &bytes) {
                prop_assert_eq!(read.format, Head::FORMAT);
            }
        }
    }
}
