//! The store in this process's memory, with the rules of the one in Redis.
//!
//! A forgotten token goes with all its values, so that memory is bounded by the number of active
//! tokens; nothing expires by itself. Several clients can share the memory, each with a [`Link`] of its
//! own, and the memory can go back to a [`Snapshot`]: for simulations. Not for speed: every call takes the
//! one lock.
//!
//! Invariant: a call holds the lock from the comparison of the owner to its last change.

mod checkpoint;
mod link;
mod plugins;
mod service;
mod snapshot;
mod upkeep;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::link::{Call, Link, Passage};
pub use self::snapshot::Snapshot;
use super::checkpoint::{Head, Place};
use super::chunk::{Chunk, Row};
use super::claims::Claims;
use super::error::StoreError;
use super::members::Member;
use super::owner::Owner;
use super::service::{LayoutRecord, Lease};
use super::{TokenResults, decode, keys};
use crate::clock::rfc3339;

/// Results in memory, as one client sees them.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    /// The number of the last try of a write, of all shards.
    tries: AtomicU64,
    /// The claims of this client: epochs rise even when the store forgets, and it is noticed.
    claims: Claims,
    /// The way to the memory; none: no way at all.
    link: Option<Arc<dyn Link>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    owners: HashMap<String, Owner>,
    /// The number of the last try of a scope's owner.
    written: HashMap<String, u64>,
    tokens: HashMap<Arc<str>, Token>,
    /// By shard and plugin.
    checkpoints: HashMap<(u32, Arc<str>), Checkpoint>,
    plugins: BTreeMap<String, plugins::Plugin>,
    layout: Option<LayoutRecord>,
    lease: Option<Lease>,
    /// By id.
    members: BTreeMap<String, Member>,
}

/// A cell's checkpoint, and pages of the next one.
#[derive(Debug, Clone, Default)]
struct Checkpoint {
    /// None before the first commit.
    head: Option<Head>,
    pages: HashMap<Place, Vec<u8>>,
}

/// What is known of one token.
#[derive(Debug, Clone, Default)]
struct Token {
    /// None until the leading plugin has written it.
    leading: Option<Leading>,
    /// Result key to encoded value.
    values: BTreeMap<Arc<str>, Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
struct Leading {
    last_trade_ms: i64,
    last_update_ms: i64,
}

/// One try of a write by an owner of a shard.
struct Attempt {
    shard: u32,
    scope: String,
    owner: Owner,
    number: u64,
    /// The number that the store must have come to, if it has forgotten nothing.
    acknowledged: u64,
}

impl MemoryStore {
    pub(super) async fn write(&self, chunk: &Chunk) -> Result<(), StoreError> {
        self.change(chunk.shard, chunk.owner, Call::Write(chunk), |state| {
            state.write(chunk);
            Ok(())
        })
        .await
    }

    pub(super) async fn claim(&self, scope: &str, id: u128) -> Result<Owner, StoreError> {
        self.claim_after(scope, id, None).await
    }

    pub(super) async fn reclaim(&self, scope: &str, own: Owner) -> Result<Owner, StoreError> {
        self.claim_after(scope, own.id, Some(own)).await
    }

    /// Claims a scope, but not from who has followed `own`.
    async fn claim_after(&self, scope: &str, id: u128, own: Option<Owner>) -> Result<Owner, StoreError> {
        let known = self.claims.of(scope).map_or(0, |claim| claim.owner.epoch);
        let number = self.next_try();
        let claim = |state: &mut State| {
            let former = state.owners.get(scope).copied();
            if let (Some(found), Some(own)) = (former, own)
                && found.follows(own)
            {
                return Err(StoreError::Fenced { found: former, own });
            }
            let stored = former.map_or(0, |former| former.epoch);
            let owner = Owner { epoch: stored.max(known).saturating_add(1), id };
            state.owners.insert(scope.to_owned(), owner);
            // Tries from before this claim stay behind the new number.
            state.written.insert(scope.to_owned(), number);
            Ok(owner)
        };
        let owner = self.through(Call::Claim(scope), claim).await?;
        self.claims.claimed(scope, owner, number);
        Ok(owner)
    }

    pub(super) async fn token(
        &self,
        address: &str,
        keys: &[Arc<str>],
    ) -> Result<Option<TokenResults>, StoreError> {
        self.through(Call::Read("token"), |state| state.token(address, keys)).await
    }

    pub(super) async fn active(&self, limit: usize) -> Result<Vec<(String, i64)>, StoreError> {
        self.through(Call::Read("active"), |state| Ok(state.active(limit))).await
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        self.through(Call::Read("ping"), |_| Ok(())).await
    }

    pub(super) async fn forgotten(&self, shards: &[u32]) -> Result<Vec<u32>, StoreError> {
        let claimed = |&shard: &u32| Some((shard, self.claims.of(&keys::shard(shard))?));
        let claims: Vec<_> = shards.iter().filter_map(claimed).collect();
        let forgotten = |state: &mut State| {
            let forgotten = claims.iter().filter(|(shard, claim)| {
                let scope = keys::shard(*shard);
                let (owner, number) = (state.owners.get(&scope), state.written.get(&scope));
                claim.is_forgotten(owner.copied(), number.copied())
            });
            Ok(forgotten.map(|(shard, _)| *shard).collect())
        };
        self.through(Call::Read("forgotten"), forgotten).await
    }

    /// Makes a write of a shard's owner, with a number as in Redis.
    async fn change(
        &self,
        shard: u32,
        owner: Owner,
        call: Call<'_>,
        change: impl FnOnce(&mut State) -> Result<(), StoreError> + Send,
    ) -> Result<(), StoreError> {
        let attempt = self.attempt(shard, owner);
        let written = |state: &mut State| {
            state.compare(&attempt)?;
            change(state)?;
            state.written.insert(attempt.scope.clone(), attempt.number);
            Ok(())
        };
        self.through(call, written).await?;
        self.claims.acknowledged(&attempt.scope, owner, attempt.number);
        Ok(())
    }

    /// Numbers a try of a write.
    fn attempt(&self, shard: u32, owner: Owner) -> Attempt {
        let scope = keys::shard(shard);
        let acknowledged = self.claims.of(&scope).map_or(0, |claim| claim.acknowledged);
        Attempt { shard, scope, owner, number: self.next_try(), acknowledged }
    }

    /// Makes a call, over the link where there is one.
    async fn through<R: Send>(
        &self,
        call: Call<'_>,
        act: impl FnOnce(&mut State) -> Result<R, StoreError> + Send,
    ) -> Result<R, StoreError> {
        let Some(link) = &self.link else {
            return act(&mut self.lock());
        };
        link.request(call).await?;
        let answer = act(&mut self.lock());
        link.answer(call, answer.is_ok()).await?;
        answer
    }

    /// Numbers a try.
    fn next_try(&self) -> u64 {
        self.tries.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Refuses what `fence.lua` refuses.
    fn compare(&self, attempt: &Attempt) -> Result<(), StoreError> {
        let Attempt { shard, owner, .. } = *attempt;
        let found = self.owners.get(&attempt.scope).copied();
        let last = self.written.get(&attempt.scope).copied().unwrap_or(0);
        if found != Some(owner) {
            Err(StoreError::Fenced { found, own: owner })
        } else if last < attempt.acknowledged {
            Err(StoreError::Regressed { shard })
        } else if attempt.number <= last {
            Err(StoreError::Overtaken { shard })
        } else {
            Ok(())
        }
    }

    fn write(&mut self, chunk: &Chunk) {
        for (row, value) in chunk.values() {
            let token = self.tokens.entry(Arc::clone(&row.token)).or_default();
            token.take(chunk, row, value);
        }
        for gone in &chunk.forgotten {
            self.tokens.remove(gone);
        }
    }

    fn token(&self, address: &str, keys: &[Arc<str>]) -> Result<Option<TokenResults>, StoreError> {
        let Some(token) = self.tokens.get(address) else {
            return Ok(None);
        };
        let mut results = BTreeMap::new();
        for key in keys {
            if let Some(bytes) = token.values.get(key) {
                results.insert(Arc::clone(key), decode::value(&keys::of_token(address, key), bytes)?);
            }
        }
        let last_update = token.leading.map(|leading| rfc3339::text(leading.last_update_ms));
        Ok((last_update.is_some() || !results.is_empty()).then_some(TokenResults { last_update, results }))
    }

    fn active(&self, limit: usize) -> Vec<(String, i64)> {
        let traded =
            self.tokens.iter().filter_map(|(token, known)| Some((known.leading?.last_trade_ms, token)));
        let mut latest: Vec<(i64, &Arc<str>)> = traded.collect();
        // As a sorted set read backwards: by time, then by name, both falling.
        latest.sort_unstable_by(|a, b| b.cmp(a));
        latest.truncate(limit);
        latest.into_iter().map(|(at, token)| (token.to_string(), at)).collect()
    }
}

impl Token {
    fn take(&mut self, chunk: &Chunk, row: &Row, value: &[u8]) {
        let place = self.values.entry(Arc::clone(&chunk.result_key)).or_default();
        place.clear();
        place.extend_from_slice(value);
        if chunk.leading {
            let before_ms = self.leading.map_or(i64::MIN, |leading| leading.last_trade_ms);
            let last_trade_ms = row.last_trade_ms.max(before_ms);
            self.leading = Some(Leading { last_trade_ms, last_update_ms: chunk.clock_ms });
        }
    }
}
