//! What this process itself wrote into the directory, or took out of it, when it ran or had gone already.
//!
//! Whoever watches sees it later, perhaps when something further is on its way, and must not take it for a
//! wish to go back. Invariant: what somebody else does to a plugin's files ends what is noted here of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What was done to a plugin's files last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// They are a candidate with this identity now.
    Wrote(String),
    /// They are gone.
    Removed,
}

/// The last deeds, by the name that stands for all of a plugin's; one for all clones of a directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Own(Arc<Mutex<BTreeMap<String, Deed>>>);

impl Own {
    /// Notes a deed; before it can be seen.
    pub(super) fn note(&self, name: &str, deed: Deed) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), deed);
    }

    /// Whether the files were taken away here, and nobody has done anything since.
    pub(super) fn has_removed(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name) == Some(&Deed::Removed)
    }

    /// Whether what was seen is our own deed.
    pub(super) fn accounts_for(&self, name: &str, seen: &Deed) -> bool {
        let mut deeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = deeds.get(name) == Some(seen);
        if !is_own {
            deeds.remove(name);
        }
        is_own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_own_deed_is_accounted_for_and_only_until_somebody_else_does_something() {
        let own = Own::default();
        let wrote = |identity: &str| Deed::Wrote(identity.to_owned());
        own.note("a", wrote("1"));
        assert!(own.accounts_for("a", &wrote("1")) && own.accounts_for("a", &wrote("1")));
        own.clone().note("a", Deed::Removed);
        assert!(own.has_removed("a") && own.accounts_for("a", &Deed::Removed));
        own.note("a", wrote("2"));
        assert!(!own.has_removed("a") && !own.accounts_for("a", &wrote("1")));
        assert!(!own.accounts_for("a", &wrote("2")), "somebody else had the files");
        assert!(!own.accounts_for("b", &Deed::Removed));
    }
}
