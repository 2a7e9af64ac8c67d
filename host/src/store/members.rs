//! What the hosts of a group say of themselves.
//!
//! Not for deciding anything: who owns what is written elsewhere. Invariant: a host that says nothing any more is
//! forgotten after [`KEPT`], by the store's clock.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{StoreError, undecodable};

/// For how long a host is known after it last said something.
pub const KEPT: Duration = Duration::from_secs(10);

/// A host, as it last said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The random number of the process, in hexadecimal.
    pub id: String,
    /// Its name, for people.
    pub host: String,
    /// Which plugins it runs, by name.
    pub plugins: BTreeMap<String, Version>,
    /// Which partitions it reads; a host of another version may not say.
    #[serde(default)]
    pub partitions: Vec<i32>,
}

/// Which version of a plugin a host runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// What its author calls it.
    pub version: String,
    /// SHA-256 of its component, in hexadecimal.
    pub digest: String,
}

impl Member {
    pub(super) fn encode(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|error| undecodable(key, error.to_string()))
    }

    pub(super) fn decode(key: &str, bytes: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| undecodable(key, error.to_string()))
    }
}
