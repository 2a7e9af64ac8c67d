//! Records of plugins and their components in memory.
//!
//! Chunks that no record ever named stay until their plugin is removed, as there is no time to live here.
//!
//! Invariant: the one of the folder, for records.

use std::collections::BTreeMap;

use super::super::error::StoreError;
use super::super::keys;
use super::super::plugins::{ChunkPlace, PluginRecord, PluginVersion, Switched, chunks_of, obsolete};
use super::{Call, MemoryStore, State};

/// A plugin's record, and chunks of components by digest and place.
#[derive(Debug, Clone, Default)]
pub(super) struct Plugin {
    record: Option<PluginRecord>,
    chunks: BTreeMap<(String, u32), Vec<u8>>,
}

impl MemoryStore {
    pub(in super::super) async fn plugins(&self) -> Result<BTreeMap<String, PluginRecord>, StoreError> {
        let named = |(name, plugin): (&String, &Plugin)| Some((name.clone(), plugin.record.clone()?));
        let read = |state: &mut State| Ok(state.plugins.iter().filter_map(named).collect());
        self.through(Call::Read("plugins"), read).await
    }

    pub(in super::super) async fn stage_component(
        &self,
        plugin: &str,
        digest: &str,
        wasm: &[u8],
    ) -> Result<(), StoreError> {
        let stage = |state: &mut State| {
            let plugin = state.plugins.entry(plugin.to_owned()).or_default();
            for (index, chunk) in chunks_of(wasm) {
                plugin.chunks.insert((digest.to_owned(), index), chunk.to_vec());
            }
            Ok(())
        };
        self.through(Call::Record("component"), stage).await
    }

    pub(in super::super) async fn switch_plugin(
        &self,
        plugin: &str,
        seen: Option<&PluginRecord>,
        new: Option<&PluginRecord>,
    ) -> Result<Switched, StoreError> {
        self.through(Call::Record("plugin"), |state| Ok(state.switch_plugin(plugin, seen, new))).await
    }

    pub(in super::super) async fn component(
        &self,
        plugin: &str,
        version: &PluginVersion,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let read = |state: &mut State| {
            let Some(own) = state.plugins.get(plugin) else {
                return Ok(None);
            };
            let chunk = |(digest, index): (&str, u32)| own.chunks.get(&(digest.to_owned(), index)).cloned();
            version.assemble(&keys::component(plugin, (&version.digest, 0)), version.places().map(chunk))
        };
        self.through(Call::Read("component"), read).await
    }
}

impl State {
    fn switch_plugin(
        &mut self,
        plugin: &str,
        seen: Option<&PluginRecord>,
        new: Option<&PluginRecord>,
    ) -> Switched {
        let own = self.plugins.entry(plugin.to_owned()).or_default();
        let revision = |record: Option<&PluginRecord>| record.map_or(0, |record| record.revision);
        if revision(own.record.as_ref()) != revision(seen) {
            return Switched::Stale;
        }
        let owned = |(digest, index): ChunkPlace<'_>| (digest.to_owned(), index);
        let mut needed = new.into_iter().flat_map(PluginRecord::chunks);
        if needed.any(|place| !own.chunks.contains_key(&owned(place))) {
            return Switched::Incomplete;
        }
        for place in obsolete(seen, new) {
            own.chunks.remove(&owned(place));
        }
        own.record = new.cloned();
        if new.is_none() {
            self.plugins.remove(plugin);
        }
        Switched::Done
    }
}
