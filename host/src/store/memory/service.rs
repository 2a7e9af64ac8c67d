//! Records of the whole service in memory.
//!
//! Invariant: the one of the folder, for the lease.

use super::super::service::{LayoutRecord, Lease};
use super::MemoryStore;

impl MemoryStore {
    pub(in super::super) fn layout(&self) -> Option<LayoutRecord> {
        self.lock().layout.clone()
    }

    pub(in super::super) fn set_layout(&self, layout: &LayoutRecord) {
        self.lock().layout = Some(layout.clone());
    }

    pub(in super::super) fn lease(&self) -> Option<Lease> {
        self.lock().lease.clone()
    }

    pub(in super::super) fn take_lease(&self, seen: Option<&Lease>, new: &Lease) -> bool {
        let mut state = self.lock();
        let same = state.lease.as_ref() == seen;
        if same {
            state.lease = Some(new.clone());
        }
        same
    }

    pub(in super::super) fn release_lease(&self, own: &Lease) -> bool {
        let mut state = self.lock();
        let freed = state.lease.as_ref().filter(|found| own.continues(found)).map(Lease::freed);
        let released = freed.is_some();
        state.lease = freed.or(state.lease.take());
        released
    }
}
