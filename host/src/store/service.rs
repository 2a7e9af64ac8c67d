//! Records of the service as a whole: how it is laid out, and who serves where one host serves all.
//!
//! Not for deciding when a lease is over. Invariant: two leases of different content have different
//! texts, so that equality of the whole text decides who takes one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::StoreError;

/// How the service's shards come about; stored as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutRecord {
    /// How trades find their shards: `by-token`, `shuffle`.
    pub mode: String,
    /// How many shards there are; 0 where the topic's partitions are the shards.
    pub shards: u32,
    /// The topic that is read.
    pub topic: String,
    /// The broker's identity of the topic, which a topic made anew does not share.
    pub topic_id: Option<String>,
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
        write!(f, "{}/{} over {}", self.mode, self.shards, self.topic)
    }
}

/// The record: `7:00112233445566778899aabbccddeeff:42:host-1`.
impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:{}", self.tenure(), self.beat, self.holder)
    }
}

fn undecodable(key: &str, words: String) -> StoreError {
    StoreError::Undecodable { key: key.to_owned(), words }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Action;

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
