//! Checkpoints in memory.
//!
//! Pages that no commit names go with the next commit of their cell, as there is no time to live here.
//!
//! Invariant: the one of the folder, for heads and pages.

use std::sync::Arc;

use super::super::checkpoint::{Commit, Head, Place, StagedPage};
use super::super::error::StoreError;
use super::{Call, MemoryStore, State};

impl MemoryStore {
    pub(in super::super) async fn stage(&self, page: &StagedPage) -> Result<(), StoreError> {
        self.change(page.shard, page.owner, Call::Stage(page), |state| {
            let cell = state.checkpoints.entry((page.shard, Arc::clone(&page.plugin))).or_default();
            cell.pages.insert((page.part, page.index), page.bytes.clone());
            Ok(())
        })
        .await
    }

    pub(in super::super) async fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        self.change(commit.shard, commit.owner, Call::Commit(commit), |state| {
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
        })
        .await
    }

    pub(in super::super) async fn head(&self, shard: u32, plugin: &str) -> Result<Option<Head>, StoreError> {
        let head = |state: &mut State| {
            Ok(state.checkpoints.get(&(shard, plugin.into())).and_then(|cell| cell.head.clone()))
        };
        self.through(Call::Read("head"), head).await
    }

    pub(in super::super) async fn discard(&self, shard: u32, plugin: &str) -> Result<(), StoreError> {
        let discard = |state: &mut State| {
            state.checkpoints.remove(&(shard, plugin.into()));
            Ok(())
        };
        self.through(Call::Record("checkpoint"), discard).await
    }

    pub(in super::super) async fn page(
        &self,
        shard: u32,
        plugin: &str,
        place: Place,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let page = |state: &mut State| {
            let cell = state.checkpoints.get(&(shard, plugin.into()));
            Ok(cell.and_then(|cell| cell.pages.get(&place).cloned()))
        };
        self.through(Call::Read("page"), page).await
    }
}
