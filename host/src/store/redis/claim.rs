//! Makes this process the owner of a scope.
//!
//! The record is read, then replaced only if it is still the same: a claim that was given up and
//! reaches the server late finds another record and changes nothing.
//!
//! Invariant: the epochs that a process is given for a scope rise, also when the server has forgotten
//! the record in between.

use std::sync::LazyLock;

use super::super::error::StoreError;
use super::super::keys;
use super::super::owner::Owner;
use super::RedisStore;
use super::script::Script;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("claim.lua")));

/// How often a claim is tried while others claim the same scope.
const ROUNDS: usize = 8;

impl RedisStore {
    pub(in super::super) async fn claim(&self, scope: &str, id: u128) -> Result<Owner, StoreError> {
        self.claim_after(scope, id, None).await
    }

    pub(in super::super) async fn reclaim(&self, scope: &str, own: Owner) -> Result<Owner, StoreError> {
        self.claim_after(scope, own.id, Some(own)).await
    }

    /// Claims a scope, but not from who has followed `own`.
    async fn claim_after(&self, scope: &str, id: u128, own: Option<Owner>) -> Result<Owner, StoreError> {
        let key = keys::owner(scope);
        for _ in 0..ROUNDS {
            let found = self.record(&key).await?;
            let former = Owner::parse(&found);
            if let (Some(found), Some(own)) = (former, own)
                && found.follows(own)
            {
                return Err(StoreError::Fenced { found: former, own });
            }
            let stored = former.map_or(0, |former| former.epoch);
            let owner = Owner { epoch: stored.max(self.last_epoch(scope)).saturating_add(1), id };
            let mut command = SCRIPT.command(2, 3, 256);
            command.arg(&key).arg(keys::written(scope));
            let number = self.next_try();
            command.arg(found).arg(owner.to_string()).arg(number);
            let replaced: i64 = SCRIPT.call(self.writer(0), &command, &key).await?;
            if replaced == 1 {
                self.claims.claimed(scope, owner, number);
                return Ok(owner);
            }
        }
        Err(StoreError::Contended { scope: scope.to_owned() })
    }

    /// The record as it is; empty where there is none.
    async fn record(&self, key: &str) -> Result<String, StoreError> {
        let mut command = redis::cmd("GET");
        command.arg(key);
        let found: Option<String> = self.writer(0).call(&command, "GET", key).await?;
        Ok(found.unwrap_or_default())
    }

    fn last_epoch(&self, scope: &str) -> u64 {
        self.claims.of(scope).map_or(0, |claim| claim.owner.epoch)
    }
}
