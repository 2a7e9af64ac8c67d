//! Checkpoints in memory.
//!
//! Pages that no commit names go with the next commit of their cell, as there is no time to live here.
//!
//! Invariant: the one of the folder, for heads and pages.

use std::sync::Arc;

use super::super::checkpoint::{Commit, Head, Place, StagedPage};
use super::super::error::StoreError;
use super::MemoryStore;

impl MemoryStore {
    pub(in super::super) fn stage(&self, page: &StagedPage) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.compare(page.shard, page.owner)?;
        let cell = state.checkpoints.entry((page.shard, Arc::clone(&page.plugin))).or_default();
        cell.pages.insert((page.part, page.index), page.bytes.clone());
        Ok(())
    }

    pub(in super::super) fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.compare(commit.shard, commit.owner)?;
        let cell = state.checkpoints.entry((commit.shard, Arc::clone(&commit.plugin))).or_default();
        if commit.needed().any(|place| !cell.pages.contains_key(&place)) {
            return Err(StoreError::Regressed { shard: commit.shard });
        }
        if let Some(page) = &commit.last_page {
            cell.pages.insert((page.part, page.index), page.bytes.clone());
        }
        let parts = &commit.head.parts;
        cell.pages.retain(|&(id, index), _| parts.iter().any(|part| part.id == id && index < part.pages));
        cell.head = Some(commit.head.clone());
        Ok(())
    }

    pub(in super::super) fn head(&self, shard: u32, plugin: &str) -> Option<Head> {
        self.lock().checkpoints.get(&(shard, plugin.into()))?.head.clone()
    }

    pub(in super::super) fn page(&self, shard: u32, plugin: &str, place: Place) -> Option<Vec<u8>> {
        self.lock().checkpoints.get(&(shard, plugin.into()))?.pages.get(&place).cloned()
    }
}
