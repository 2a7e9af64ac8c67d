//! The store in this process's memory, with the rules of the one in Redis.
//!
//! A forgotten token goes with all its values, so that memory is bounded by the number of active
//! tokens; nothing expires by itself. Not for speed: every call takes the one lock.
//!
//! Invariant: a call holds the lock from the comparison of the owner to its last change.

mod checkpoint;
mod plugins;
mod service;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::checkpoint::{Head, Place};
use super::chunk::{Chunk, Row};
use super::error::StoreError;
use super::owner::Owner;
use super::service::{LayoutRecord, Lease};
use super::{TokenResults, decode, keys};
use crate::clock::rfc3339;

/// Results in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    owners: HashMap<String, Owner>,
    tokens: HashMap<Arc<str>, Token>,
    /// By shard and plugin.
    checkpoints: HashMap<(u32, Arc<str>), Checkpoint>,
    plugins: BTreeMap<String, plugins::Plugin>,
    layout: Option<LayoutRecord>,
    lease: Option<Lease>,
}

/// A cell's checkpoint, and pages of the next one.
#[derive(Debug, Default)]
struct Checkpoint {
    /// None before the first commit.
    head: Option<Head>,
    pages: HashMap<Place, Vec<u8>>,
}

/// What is known of one token.
#[derive(Debug, Default)]
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

impl MemoryStore {
    pub(super) fn write(&self, chunk: &Chunk) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.compare(chunk.shard, chunk.owner)?;
        for (row, value) in chunk.values() {
            let token = state.tokens.entry(Arc::clone(&row.token)).or_default();
            token.take(chunk, row, value);
        }
        for gone in &chunk.forgotten {
            state.tokens.remove(gone);
        }
        Ok(())
    }

    pub(super) fn claim(&self, scope: &str, id: u128) -> Owner {
        let mut state = self.lock();
        let epoch = state.owners.get(scope).map_or(0, |former| former.epoch) + 1;
        let owner = Owner { epoch, id };
        state.owners.insert(scope.to_owned(), owner);
        owner
    }

    pub(super) fn token(&self, address: &str, keys: &[Arc<str>]) -> Result<Option<TokenResults>, StoreError> {
        let state = self.lock();
        let Some(token) = state.tokens.get(address) else {
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

    pub(super) fn active(&self, limit: usize) -> Vec<(String, i64)> {
        let state = self.lock();
        let traded =
            state.tokens.iter().filter_map(|(token, known)| Some((known.leading?.last_trade_ms, token)));
        let mut latest: Vec<(i64, &Arc<str>)> = traded.collect();
        // As a sorted set read backwards: by time, then by name, both falling.
        latest.sort_unstable_by(|a, b| b.cmp(a));
        latest.truncate(limit);
        latest.into_iter().map(|(at, token)| (token.to_string(), at)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Refuses everybody but the shard's owner.
    fn compare(&self, shard: u32, own: Owner) -> Result<(), StoreError> {
        let found = self.owners.get(&keys::shard(shard)).copied();
        if found == Some(own) { Ok(()) } else { Err(StoreError::Fenced { found, own }) }
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
