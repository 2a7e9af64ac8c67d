//! Records of the service as a whole: how it is laid out, and who serves where one host serves all.
//!
//! Not for deciding when a lease is over. Invariant: two leases of different content have different
//! texts, so that equality of the whole text decides who takes one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::{StoreError, undecodable};

/// How the service's shards come about; stored as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutRecord {
    /// Numbers the layouts of this service; checkpoints of each but the first carry it in their names.
    #[serde(default = "first")]
    pub id: u64,
    /// How trades find their shards: `by-token`, `shuffle`, `repartition`.
    pub mode: String,
    /// How many shards there are; where the topic's partitions are the shards, as many as it had last.
    pub shards: u32,
    /// By which hash of a token, where there is one.
    #[serde(default = "hash")]
    pub hash: String,
    /// The topic that is read.
    pub topic: String,
    /// The broker's identity of the topic, which a topic made anew does not share.
    pub topic_id: Option<String>,
    /// The layout that is to take this one's place, as soon as all of its shards have checkpoints.
    #[serde(default)]
    pub towards: Option<Towards>,
    /// When a topic whose partitions are the shards was last seen to have grown, unix milliseconds.
    #[serde(default)]
    pub grown_ms: Option<i64>,
}

/// A layout that a change leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Towards {
    /// As in [`LayoutRecord::mode`].
    pub mode: String,
    /// As in [`LayoutRecord::shards`].
    pub shards: u32,
}

fn first() -> u64 {
    1
}

fn hash() -> String {
    "xxh3-64".to_owned()
}

/// Who serves, and proof that it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The random number of the process; 0: nobody's.
    pub id: u128,
    /// Rises with every holder.
    pub epoch: u64,
    /// Rises with every renewal.
    pub beat: u64,
    /// Who holds it, for people and for telling a restarted process from another one.
    pub holder: String,
}

impl LayoutRecord {
    /// The first layout of a service.
    #[must_use]
    pub fn new(mode: &str, shards: u32, topic: &str) -> Self {
        let (mode, topic) = (mode.to_owned(), topic.to_owned());
        Self { id: first(), mode, shards, hash: hash(), topic, topic_id: None, towards: None, grown_ms: None }
    }

    /// What its checkpoints call it. That a topic grows whose partitions are the shards makes no other layout.
    #[must_use]
    pub fn name(&self) -> String {
        let shards = if self.mode == "by-token" { 0 } else { self.shards };
        format!("{}/{shards} over {}", self.mode, self.topic)
    }

    /// The record when the change that it names has come to its end.
    #[must_use]
    pub fn arrived(&self) -> Option<Self> {
        let Towards { mode, shards } = self.towards.clone()?;
        Some(Self { id: self.id + 1, mode, shards, towards: None, grown_ms: None, ..self.clone() })
    }

    pub(super) fn encode(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|error| undecodable(key, error.to_string()))
    }

    pub(super) fn decode(key: &str, bytes: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| undecodable(key, error.to_string()))
    }
}

impl Lease {
    /// Reads a record.
    pub(super) fn decode(key: &str, record: &str) -> Result<Self, StoreError> {
        Self::parse(record).ok_or_else(|| undecodable(key, format!("{record:?} is no lease")))
    }

    /// What the record begins with as long as holder and epoch are the same.
    pub(super) fn tenure(&self) -> String {
        format!("{}:{:032x}:", self.epoch, self.id)
    }

    /// The same lease when nobody holds it any more.
    #[must_use]
    pub fn freed(&self) -> Self {
        Self { id: 0, holder: "nobody".to_owned(), ..self.clone() }
    }

    /// Whether it is of the same holder and epoch, whatever the beat.
    pub(super) fn continues(&self, other: &Self) -> bool {
        (self.id, self.epoch) == (other.id, other.epoch)
    }

    fn parse(record: &str) -> Option<Self> {
        let mut fields = record.splitn(4, ':');
        let mut field = || fields.next();
        Some(Self {
            epoch: field()?.parse().ok()?,
            id: u128::from_str_radix(field()?, 16).ok()?,
            beat: field()?.parse().ok()?,
            holder: field()?.to_owned(),
        })
    }
}

/// `shuffle/16 over trade-info`
impl fmt::Display for LayoutRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// The record: `7:00112233445566778899aabbccddeeff:42:host-1`.
impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:{}", self.tenure(), self.beat, self.holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Action;

    #[test]
    fn a_layout_from_before_they_were_numbered_is_the_first() {
        let stored = br#"{"mode":"shuffle","shards":16,"topic":"trades","topic_id":null}"#;
        let found = LayoutRecord::decode("k", stored).unwrap();
        assert_eq!(found, LayoutRecord::new("shuffle", 16, "trades"));
        assert_eq!(found.name(), "shuffle/16 over trades");
        assert_eq!(
            LayoutRecord::new("by-token", 4, "t").name(),
            LayoutRecord::new("by-token", 8, "t").name()
        );
    }

    #[test]
    fn a_change_that_has_come_to_its_end_leaves_the_next_layout() {
        let before = LayoutRecord::new("shuffle", 4, "trades");
        assert_eq!(before.arrived(), None);
        let towards = Some(Towards { mode: "by-token".to_owned(), shards: 8 });
        let after = LayoutRecord { towards, ..before }.arrived();
        assert_eq!(after, Some(LayoutRecord { id: 2, ..LayoutRecord::new("by-token", 8, "trades") }));
    }

    #[test]
    fn a_lease_is_read_back_whatever_its_holder_is_called() {
        for holder in ["", "host-1", "host:1:2", "a b/12/34", "ü\n"] {
            let lease = Lease { id: u128::MAX - 1, epoch: u64::MAX, beat: 0, holder: holder.to_owned() };
            assert_eq!(Lease::decode("k", &lease.to_string()).unwrap(), lease);
        }
    }

    #[test]
    fn a_record_of_something_else_is_reported_by_its_key() {
        for record in ["", "7", "7:ab:1", "x:ab:1:host", "7:xy:1:host", "7:ab:-1:host"] {
            let error = Lease::decode("the key", record).unwrap_err();
            assert_eq!(error.action(), Action::Skip);
            assert!(error.to_string().contains("the key"), "{error}");
        }
        assert!(LayoutRecord::decode("k", b"[]").is_err());
    }
}
