//! Records of the whole service in memory.
//!
//! Invariant: the one of the folder, for the lease.

use super::super::error::StoreError;
use super::super::members::Member;
use super::super::service::{LayoutRecord, Lease};
use super::{Call, MemoryStore, State};

impl MemoryStore {
    pub(in super::super) async fn layout(&self) -> Result<Option<LayoutRecord>, StoreError> {
        self.through(Call::Read("layout"), |state| Ok(state.layout.clone())).await
    }

    pub(in super::super) async fn set_layout(&self, layout: &LayoutRecord) -> Result<(), StoreError> {
        let set = |state: &mut State| {
            state.layout = Some(layout.clone());
            Ok(())
        };
        self.through(Call::Record("layout"), set).await
    }

    pub(in super::super) async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        self.through(Call::Read("lease"), |state| Ok(state.lease.clone())).await
    }

    pub(in super::super) async fn take_lease(
        &self,
        seen: Option<&Lease>,
        new: &Lease,
    ) -> Result<bool, StoreError> {
        let take = |state: &mut State| {
            let same = state.lease.as_ref() == seen;
            if same {
                state.lease = Some(new.clone());
            }
            Ok(same)
        };
        self.through(Call::Record("lease"), take).await
    }

    /// Those who share the memory last as long as it does: none is forgotten.
    pub(in super::super) async fn introduce(&self, own: &Member) -> Result<Vec<Member>, StoreError> {
        let note = |state: &mut State| {
            state.members.insert(own.id.clone(), own.clone());
            Ok(state.members.values().cloned().collect())
        };
        self.through(Call::Record("members"), note).await
    }

    pub(in super::super) async fn release_lease(&self, own: &Lease) -> Result<bool, StoreError> {
        let release = |state: &mut State| {
            let freed = state.lease.as_ref().filter(|found| own.continues(found)).map(Lease::freed);
            let released = freed.is_some();
            state.lease = freed.or(state.lease.take());
            Ok(released)
        };
        self.through(Call::Record("lease"), release).await
    }
}
