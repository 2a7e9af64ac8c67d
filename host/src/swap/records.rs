//! What a restart runs: one record for each plugin in the store, with the components that it names.
//!
//! Not for the directory. Invariant: a record names only components that are stored; where the store does
//! not answer, nothing is believed to be written.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::verdicts::Verdicts;
use crate::plugin::Candidate;
use crate::plugin::catalog::Running;
use crate::store::{Action, PluginVersion, Store, StoreError, Switched};

/// What a record says.
pub(super) struct Stored {
    /// What runs.
    pub(super) current: Candidate,
    /// What ran before.
    pub(super) previous: Option<Candidate>,
    /// Identities that start no swap, the oldest first.
    pub(super) refused: Vec<String>,
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
                        all.insert(name, Stored { current, previous, refused: record.refused });
                    }
                    None => tracing::warn!(plugin = name, "The component that the record names is not there"),
                }
            }
            Ok(all)
        })
    }

    async fn candidate(&self, name: &str, version: &PluginVersion) -> Result<Option<Candidate>, StoreError> {
        let wasm = match self.store.component(name, version).await {
            Ok(wasm) => wasm,
            // One that is damaged does not get better by waiting.
            Err(error) if error.action() == Action::Skip => {
                tracing::warn!(plugin = name, %error, "A component that the record names cannot be used");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(wasm.map(|wasm| Candidate::new(name, wasm, &version.configuration)))
    }

    /// Has a record say what it does not say yet. Where there is none, the version that runs becomes its first;
    /// without one there is nothing to add to. What a record says of what runs stays: another host may have
    /// written it.
    pub(super) fn note(
        &self,
        name: &str,
        runs: Option<(&Candidate, &Running)>,
        verdicts: &Verdicts,
        at_ms: i64,
    ) -> Result<(), NotWritten> {
        done(name, self.runtime.block_on(self.noted(name, runs, verdicts, at_ms)))
    }

    async fn noted(
        &self,
        name: &str,
        runs: Option<(&Candidate, &Running)>,
        verdicts: &Verdicts,
        at_ms: i64,
    ) -> Result<Switched, StoreError> {
        let seen = self.store.plugins().await?.remove(name);
        let record = match (&seen, runs) {
            (Some(seen), _) => verdicts.amend(seen.clone()),
            (None, Some(runs)) => {
                self.stage(name, runs.0).await?;
                verdicts.first(version(runs, at_ms))
            }
            (None, None) => return Ok(Switched::Done),
        };
        if seen.as_ref() == Some(&record) {
            return Ok(Switched::Done);
        }
        let switched = self.store.switch_plugin(name, seen.as_ref(), Some(&record)).await?;
        if seen.is_some() && switched == Switched::Incomplete {
            // Whatever is tried, what it names does not come back by that; the next version that is accepted does.
            tracing::warn!(plugin = name, "Record not changed: the component that it names is not there");
            return Ok(Switched::Done);
        }
        Ok(switched)
    }

    /// Has a record say that this version runs, and which one ran before.
    pub(super) fn accept(
        &self,
        name: &str,
        current: (&Candidate, &Running),
        previous: Option<(&Candidate, &Running)>,
        verdicts: &Verdicts,
        at_ms: i64,
    ) -> Result<(), NotWritten> {
        let written = self.runtime.block_on(async {
            let seen = self.store.plugins().await?.remove(name);
            self.stage(name, current.0).await?;
            let mut record = match &seen {
                Some(seen) => verdicts.amend(seen.accepted(version(current, at_ms))),
                None => verdicts.first(version(current, at_ms)),
            };
            if let Some(previous) = previous {
                self.stage(name, previous.0).await?;
                record.previous = Some(version(previous, at_ms));
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
