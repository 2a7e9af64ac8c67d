//! What a restart runs: one record for each plugin in the store, with the components that it names.
//!
//! Not for the directory. Invariant: a record names only components that are stored; where the store does
//! not answer, nothing is believed to be written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::plugin::Candidate;
use crate::plugin::catalog::Running;
use crate::store::{PluginRecord, PluginVersion, Store, StoreError, Switched};

/// What a record says.
pub(super) struct Stored {
    /// What runs.
    pub(super) current: Candidate,
    /// What ran before.
    pub(super) previous: Option<Candidate>,
    /// Identities that start no swap.
    pub(super) refused: BTreeSet<String>,
}

/// A record was not written; it is tried again.
#[derive(Debug, thiserror::Error)]
#[error("the plugin's record was not written")]
pub(super) struct NotWritten;

/// The records in the store.
pub struct Records {
    /// Where they are.
    pub store: Arc<Store>,
    /// Where its calls run.
    pub runtime: tokio::runtime::Handle,
}

impl Records {
    /// Reads all records with what they name. One whose component is gone or damaged is left out with words.
    pub(super) fn load(&self) -> Result<BTreeMap<String, Stored>, StoreError> {
        self.runtime.block_on(async {
            let mut all = BTreeMap::new();
            for (name, record) in self.store.plugins().await? {
                match self.candidate(&name, &record.current).await? {
                    Some(current) => {
                        let previous = match &record.previous {
                            Some(version) => self.candidate(&name, version).await?,
                            None => None,
                        };
                        let refused = record.refused.into_iter().collect();
                        all.insert(name, Stored { current, previous, refused });
                    }
                    None => tracing::warn!(plugin = name, "The component that the record names is not there"),
                }
            }
            Ok(all)
        })
    }

    async fn candidate(&self, name: &str, version: &PluginVersion) -> Result<Option<Candidate>, StoreError> {
        let wasm = self.store.component(name, version).await?;
        Ok(wasm.map(|wasm| Candidate::new(name, wasm, &version.configuration)))
    }

    /// Has a record say that this version runs, and which one ran before.
    pub(super) fn accept(
        &self,
        name: &str,
        current: (&Candidate, &Running),
        previous: Option<(&Candidate, &Running)>,
        refused: &BTreeSet<String>,
        at_ms: i64,
    ) -> Result<(), NotWritten> {
        let written = self.runtime.block_on(async {
            let seen = self.store.plugins().await?.remove(name);
            self.stage(name, current.0).await?;
            let mut record = match &seen {
                Some(seen) => seen.accepted(version(current, at_ms)),
                None => PluginRecord::first(version(current, at_ms)),
            };
            if let Some(previous) = previous {
                self.stage(name, previous.0).await?;
                record.previous = Some(version(previous, at_ms));
            }
            for identity in refused {
                record = PluginRecord { revision: record.revision, ..record.refusing(identity) };
            }
            self.store.switch_plugin(name, seen.as_ref(), Some(&record)).await
        });
        done(name, written)
    }

    async fn stage(&self, name: &str, candidate: &Candidate) -> Result<(), StoreError> {
        self.store.stage_component(name, &candidate.digest, &candidate.wasm).await
    }

    /// Removes a record.
    pub(super) fn remove(&self, name: &str) -> Result<(), NotWritten> {
        let written = self.runtime.block_on(async {
            match self.store.plugins().await?.remove(name) {
                Some(seen) => self.store.switch_plugin(name, Some(&seen), None).await,
                None => Ok(Switched::Done),
            }
        });
        done(name, written)
    }
}

fn version((candidate, running): (&Candidate, &Running), at_ms: i64) -> PluginVersion {
    let said = &running.plugin.description().version;
    PluginVersion::new(&candidate.digest, &candidate.wasm, &candidate.configuration, said, at_ms)
}

fn done(name: &str, written: Result<Switched, StoreError>) -> Result<(), NotWritten> {
    match written {
        Ok(Switched::Done) => Ok(()),
        Ok(Switched::Stale | Switched::Incomplete) => Err(NotWritten),
        Err(error) => {
            tracing::warn!(plugin = name, %error, "Record of a plugin not written; trying on");
            Err(NotWritten)
        }
    }
}
