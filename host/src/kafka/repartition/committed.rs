//! Where the first hop goes on: offsets of the source as transactions have committed them.
//!
//! Invariant: an offset counts only with the note that this mode writes beside it, for as many shards and for the same
//! topic. Other modes commit under the same group, for lag tools.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::kafka::context::Context;
use crate::pipeline::CellStart;

/// How long the group's coordinator may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// What stands beside a committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// For how many shards the records before it were sorted.
    pub(super) shards: u32,
    /// How many partitions the source had at the first start of all.
    pub(super) sources: u32,
    /// The source's identity; none where the broker names none.
    pub(super) topic_id: Option<Arc<str>>,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "shards={} sources={}", self.shards, self.sources)?;
        self.topic_id.as_ref().map_or(Ok(()), |id| write!(f, " topic={id}"))
    }
}

impl Note {
    fn read(text: &str) -> Option<Self> {
        let (text, topic_id) = match text.split_once(" topic=") {
            Some((text, id)) => (text, Some(id.into())),
            None => (text, None),
        };
        let (shards, sources) = text.strip_prefix("shards=")?.split_once(" sources=")?;
        Some(Self { shards: shards.parse().ok()?, sources: sources.parse().ok()?, topic_id })
    }

    /// Whether offsets beside it are of the same topic, sorted for as many shards.
    fn is_of(&self, shards: u32, topic_id: Option<&str>) -> bool {
        self.shards == shards && self.topic_id.as_deref().zip(topic_id).is_none_or(|(own, read)| own == read)
    }
}

/// Offsets that transactions have committed.
#[derive(Debug, Default)]
pub(super) struct Committed {
    next: BTreeMap<i32, i64>,
    /// How many partitions the source had at the first start of all; none: this is it.
    pub(super) first_count: Option<u32>,
}

impl Committed {
    /// Asks the group. Offsets of a transaction that is not ended yet are waited for.
    pub(super) fn ask(
        consumer: &BaseConsumer<Context>,
        list: TopicPartitionList,
        (shards, topic_id): (u32, Option<&str>),
    ) -> Result<Self, String> {
        let failed = |error: KafkaError| format!("committed offsets of the source: {error}");
        let answer = consumer.committed_offsets(list, ANSWER_WITHIN).map_err(failed)?;
        let mut found = Self::default();
        for element in answer.elements() {
            element.error().map_err(failed)?;
            if let (Offset::Offset(next), Some(note)) = (element.offset(), Note::read(element.metadata()))
                && note.is_of(shards, topic_id)
            {
                found.next.insert(element.partition(), next);
                found.first_count = found.first_count.max(Some(note.sources));
            }
        }
        Ok(found)
    }

    pub(super) fn next(&self, partition: i32) -> Option<i64> {
        self.next.get(&partition).copied()
    }

    /// Where a partition starts: where it was committed, from its first record on where it came later than the others,
    /// or like any at a first start.
    pub(super) fn start(&self, partition: i32) -> CellStart {
        let came_later = self.first_count.is_some_and(|count| partition.unsigned_abs() >= count);
        let vector = match self.next(partition) {
            Some(next) => Some(BTreeMap::from([(partition, next)])),
            None => came_later.then(BTreeMap::new),
        };
        CellStart { fed_by: Some(partition), vector }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_anything_else_is_none() {
        let note = Note { shards: 16, sources: 4, topic_id: None };
        assert_eq!(Note::read(&note.to_string()), Some(note.clone()));
        let named = Note { topic_id: Some("7cNfn5SlTnKbHiZg5M1Kyw".into()), ..note.clone() };
        assert_eq!(Note::read(&named.to_string()), Some(named.clone()));
        assert!(named.is_of(16, Some("7cNfn5SlTnKbHiZg5M1Kyw")) && note.is_of(16, Some("any")));
        assert!(!named.is_of(16, Some("other")) && !note.is_of(8, None));
        for other in ["", "shards=16", "shards=x sources=4", "shards=1 sources=-1", "sources=4 shards=16"] {
            assert_eq!(Note::read(other), None, "{other}");
        }
    }

    #[test]
    fn a_partition_that_came_later_is_read_whole_and_one_that_was_never_committed_like_a_first_start() {
        let committed = Committed { next: BTreeMap::from([(0, 7)]), first_count: Some(2) };
        let vector = |partition| committed.start(partition).vector;
        assert_eq!(vector(0), Some(BTreeMap::from([(0, 7)])));
        assert_eq!(vector(1), None);
        assert_eq!(vector(2), Some(BTreeMap::new()));
        assert_eq!(Committed::default().start(5).vector, None);
    }
}
