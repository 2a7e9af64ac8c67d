//! What the store has told this process of the scopes that it claimed.
//!
//! A server may go back to an older state, of which the owner record can be a part. The number of the
//! last try then gives it away: it is lower than one that the server has acknowledged.
//!
//! Invariant: under one claim the acknowledged number only rises.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::owner::Owner;

/// All scopes that this process has claimed.
#[derive(Debug, Default)]
pub(super) struct Claims {
    scopes: Mutex<HashMap<String, Claim>>,
}

/// The last claim of a scope.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) owner: Owner,
    /// The number of the last try that the server is known to have taken.
    pub(super) acknowledged: u64,
}

impl Claims {
    /// Remembers a claim that the server has taken under a number.
    pub(super) fn claimed(&self, scope: &str, owner: Owner, number: u64) {
        self.lock().insert(scope.to_owned(), Claim { owner, acknowledged: number });
    }

    /// Remembers that the server has taken a try of this owner.
    pub(super) fn acknowledged(&self, scope: &str, owner: Owner, number: u64) {
        if let Some(claim) = self.lock().get_mut(scope)
            && claim.owner == owner
        {
            claim.acknowledged = claim.acknowledged.max(number);
        }
    }

    /// The last claim of a scope.
    pub(super) fn of(&self, scope: &str) -> Option<Claim> {
        self.lock().get(scope).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Claim>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Whether the server, by what it holds now, has gone back behind this claim or a write under it.
    pub(super) fn is_forgotten(self, owner: Option<Owner>, number: Option<u64>) -> bool {
        match owner {
            Some(owner) if owner == self.owner => number.unwrap_or(0) < self.acknowledged,
            // Another owner is no loss, an older one or none is.
            Some(owner) => owner.epoch < self.owner.epoch,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Owner = Owner { epoch: 5, id: 7 };

    #[test]
    fn an_older_state_is_told_from_another_owner() {
        let claim = Claim { owner: OWN, acknowledged: 30 };
        assert!(!claim.is_forgotten(Some(OWN), Some(30)));
        // A try that timed out was taken all the same.
        assert!(!claim.is_forgotten(Some(OWN), Some(31)));
        assert!(claim.is_forgotten(Some(OWN), Some(29)));
        assert!(claim.is_forgotten(Some(OWN), None));
        assert!(claim.is_forgotten(None, Some(30)));
        assert!(claim.is_forgotten(Some(Owner { epoch: 4, id: 8 }), Some(90)));
        assert!(!claim.is_forgotten(Some(Owner { epoch: 6, id: 8 }), Some(1)));
        assert!(!claim.is_forgotten(Some(Owner { epoch: 5, id: 8 }), Some(1)));
    }

    #[test]
    fn numbers_rise_under_a_claim_and_begin_anew_with_the_next() {
        let claims = Claims::default();
        claims.acknowledged("s", OWN, 3);
        assert!(claims.of("s").is_none());
        claims.claimed("s", OWN, 10);
        claims.acknowledged("s", OWN, 12);
        claims.acknowledged("s", OWN, 11);
        assert_eq!(claims.of("s").unwrap().acknowledged, 12);
        claims.claimed("s", Owner { epoch: 6, id: 7 }, 20);
        claims.acknowledged("s", OWN, 50);
        assert_eq!(claims.of("s").unwrap().acknowledged, 20);
    }
}
