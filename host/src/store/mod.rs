//! Where results go: Redis, or this process's memory for demos and tests.
//!
//! Both follow the same rules. A shard has an owner record; [`Store::claim`] writes it, and every
//! [`Store::write`] compares it before it changes anything, so that a process that was frozen and
//! replaced cannot overwrite newer values. Values are absolute: writing a chunk twice does no harm. The
//! same holds for a cell's checkpoint: its pages are staged, then a commit makes it the one that counts.
//!
//! A store may forget what it had acknowledged: it then takes no write until the shard is claimed again.
//!
//! Not for deciding what is written, nor for trying again: errors say by [`StoreError::action`] what the
//! caller does.
//!
//! Invariant: only this folder names the `redis` crate, and nothing here waits without a limit.

mod checkpoint;
mod chunk;
mod claims;
mod decode;
mod error;
mod keys;
pub mod members;
mod memory;
mod owner;
mod plugins;
mod redis;
mod service;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::checkpoint::{Commit, Head, Part, SavedMark, StagedPage};
pub use self::chunk::{Chunk, Row};
pub use self::error::{Action, OpenError, StoreError};
use self::members::Member;
pub use self::memory::{Call, Link, MemoryStore, Passage, Snapshot};
pub use self::owner::Owner;
pub use self::plugins::{CHUNK_BYTES, PluginRecord, PluginVersion, Switched};
pub use self::redis::RedisStore;
pub use self::service::{LayoutRecord, Lease, Towards};
pub use self::upkeep::{CheckpointPiece, Found, REMOVED_AT_ONCE, Removal, Sweep, removed_at_once};
use crate::config;

/// A store of results.
#[derive(Debug)]
pub enum Store {
    /// A Redis server.
    Redis(Box<RedisStore>),
    /// This process's memory.
    Memory(Box<MemoryStore>),
}

impl From<MemoryStore> for Store {
    fn from(store: MemoryStore) -> Self {
        Self::Memory(Box::new(store))
    }
}

/// All results of one token, as last written.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenResults {
    /// The clock of the last write, RFC 3339; none where only other plugins have written yet.
    pub last_update: Option<String>,
    /// Result key to value.
    pub results: BTreeMap<Arc<str>, serde_json::Value>,
}

/// Reads a stored result, whatever its encoding.
///
/// # Errors
/// When it is none that this service writes.
pub fn result_value(key: &str, bytes: &[u8]) -> Result<serde_json::Value, StoreError> {
    decode::value(key, bytes)
}

impl Store {
    /// Prepares a store in Redis; connects with the first call, not here.
    ///
    /// # Errors
    /// Only for settings that cannot work: an address or certificates that cannot be read.
    pub fn redis(config: &config::Redis) -> Result<Self, OpenError> {
        RedisStore::open(config).map(|store| Self::Redis(Box::new(store)))
    }

    /// Makes an empty store in memory.
    #[must_use]
    pub fn memory() -> Self {
        Self::Memory(Box::default())
    }

    /// Writes a chunk if its owner still owns the shard, and nothing of it otherwise.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another owner is on record. [`StoreError::WrongType`] when a key of
    /// the service is taken by something else: that key was left out, the rest is written.
    pub async fn write(&self, chunk: &Chunk) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.write(chunk).await,
            Self::Memory(store) => store.write(chunk).await,
        }
    }

    /// Makes `id` the owner of a shard under a new epoch; the former owner is fenced from then on.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn claim(&self, shard: u32, id: u128) -> Result<Owner, StoreError> {
        match self {
            Self::Redis(store) => store.claim(&keys::shard(shard), id).await,
            Self::Memory(store) => store.claim(&keys::shard(shard), id).await,
        }
    }

    /// Claims a shard again that the store has forgotten `own` to own.
    ///
    /// # Errors
    /// As [`Store::claim`]; [`StoreError::Fenced`] when somebody else has claimed it meanwhile.
    pub async fn reclaim(&self, shard: u32, own: Owner) -> Result<Owner, StoreError> {
        match self {
            Self::Redis(store) => store.reclaim(&keys::shard(shard), own).await,
            Self::Memory(store) => store.reclaim(&keys::shard(shard), own).await,
        }
    }

    /// Reads what is stored of a token under these result keys, whatever its encoding; none for an
    /// unknown token.
    ///
    /// # Errors
    /// When the store cannot be reached, or a value is not one that this service writes.
    pub async fn token(&self, address: &str, keys: &[Arc<str>]) -> Result<Option<TokenResults>, StoreError> {
        match self {
            Self::Redis(store) => store.token(address, keys).await,
            Self::Memory(store) => store.token(address, keys).await,
        }
    }

    /// Reads the active tokens with the unix milliseconds of their last trades, latest first, at most
    /// `limit` of them.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn active(&self, limit: usize) -> Result<Vec<(String, i64)>, StoreError> {
        match self {
            Self::Redis(store) => store.active(limit).await,
            Self::Memory(store) => store.active(limit).await,
        }
    }

    /// Asks whether the store answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.ping().await,
            Self::Memory(store) => store.ping().await,
        }
    }

    /// Says which of these shards the store has gone back on: it no longer has what it acknowledged to
    /// this process. Shards that this process has not claimed, or that another one owns, are not named.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn forgotten(&self, shards: &[u32]) -> Result<Vec<u32>, StoreError> {
        match self {
            Self::Redis(store) => store.forgotten(shards).await,
            Self::Memory(store) => store.forgotten(shards).await,
        }
    }

    /// Says whether a key that writes had to leave out can be written again; everything that belongs
    /// there must then be written once more. Said once.
    ///
    /// # Errors
    /// [`StoreError::WrongType`] while it cannot; or when the store does not answer.
    pub async fn mended(&self) -> Result<bool, StoreError> {
        match self {
            Self::Redis(store) => store.mended().await,
            Self::Memory(_) => Ok(false),
        }
    }

    /// Has [`Store::mended`] say it again.
    pub fn note_left_out(&self) {
        if let Self::Redis(store) = self {
            store.note_left_out();
        }
    }

    /// Stores a page of a checkpoint that is being written. Without a commit it goes by itself.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another owner is on record, [`StoreError::Regressed`] when the store
    /// has forgotten earlier writes; nothing is written then.
    pub async fn stage(&self, page: &StagedPage) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.stage(page).await,
            Self::Memory(store) => store.stage(page).await,
        }
    }

    /// Makes a checkpoint the one that counts, and removes the parts that it replaces.
    ///
    /// # Errors
    /// As [`Store::stage`]; [`StoreError::Regressed`] also when a page that the head names is missing.
    pub async fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.commit(commit).await,
            Self::Memory(store) => store.commit(commit).await,
        }
    }

    /// Reads the head of a plugin's checkpoint; none where there is no checkpoint.
    ///
    /// # Errors
    /// When the store cannot be reached; [`StoreError::Undecodable`] when the head is of another format.
    pub async fn head(&self, shard: u32, plugin: &str) -> Result<Option<Head>, StoreError> {
        match self {
            Self::Redis(store) => store.head(shard, plugin).await,
            Self::Memory(store) => store.head(shard, plugin).await,
        }
    }

    /// Reads a page of a checkpoint.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn page(
        &self,
        shard: u32,
        plugin: &str,
        part: u64,
        index: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Redis(store) => store.page(shard, plugin, (part, index)).await,
            Self::Memory(store) => store.page(shard, plugin, (part, index)).await,
        }
    }

    /// Removes a checkpoint that nothing will be started from any more, if there is one.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn discard(&self, shard: u32, plugin: &str) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.discard(shard, plugin).await,
            Self::Memory(store) => store.discard(shard, plugin).await,
        }
    }

    /// Reads how the service was laid out when it last said so.
    ///
    /// # Errors
    /// When the store cannot be reached, or the record is not one that this service writes.
    pub async fn layout(&self) -> Result<Option<LayoutRecord>, StoreError> {
        match self {
            Self::Redis(store) => store.layout().await,
            Self::Memory(store) => store.layout().await,
        }
    }

    /// Writes how the service is laid out.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn set_layout(&self, layout: &LayoutRecord) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.set_layout(layout).await,
            Self::Memory(store) => store.set_layout(layout).await,
        }
    }

    /// Reads who serves.
    ///
    /// # Errors
    /// When the store cannot be reached, or the record is not one that this service writes.
    pub async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        match self {
            Self::Redis(store) => store.lease().await,
            Self::Memory(store) => store.lease().await,
        }
    }

    /// Puts `new` in the place of the lease if that is still exactly `seen`; says whether it was.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses; the lease may have been taken all the same.
    pub async fn take_lease(&self, seen: Option<&Lease>, new: &Lease) -> Result<bool, StoreError> {
        match self {
            Self::Redis(store) => store.take_lease(seen, new).await,
            Self::Memory(store) => store.take_lease(seen, new).await,
        }
    }

    /// Frees the lease if holder and epoch are still those of `own`, whatever its beat; says whether
    /// they were.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses; the lease may be free all the same.
    pub async fn release_lease(&self, own: &Lease) -> Result<bool, StoreError> {
        match self {
            Self::Redis(store) => store.release_lease(own).await,
            Self::Memory(store) => store.release_lease(own).await,
        }
    }

    /// Gives memory back that is kept for later.
    pub async fn give_back(&self) {
        match self {
            Self::Redis(store) => store.give_back().await,
            Self::Memory(_) => {}
        }
    }

    /// Notes what a host says of itself; gives what all hosts said that are there, the caller too.
    ///
    /// # Errors
    /// When the store cannot be reached, or holds something that no host says.
    pub async fn introduce(&self, own: &Member) -> Result<Vec<Member>, StoreError> {
        match self {
            Self::Redis(store) => store.introduce(own).await,
            Self::Memory(store) => store.introduce(own).await,
        }
    }

    /// Reads the records of all plugins, by name.
    ///
    /// # Errors
    /// When the store cannot be reached, or a record is not one that this service writes.
    pub async fn plugins(&self) -> Result<BTreeMap<String, PluginRecord>, StoreError> {
        match self {
            Self::Redis(store) => store.plugins().await,
            Self::Memory(store) => store.plugins().await,
        }
    }

    /// Stores a component of a plugin. Without a record that names it, it goes by itself.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn stage_component(&self, plugin: &str, digest: &str, wasm: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.stage_component(plugin, digest, wasm).await,
            Self::Memory(store) => store.stage_component(plugin, digest, wasm).await,
        }
    }

    /// Puts `new` in the place of a plugin's record if that is still the one that was `seen`, and removes
    /// the components that are no longer named; without `new` the record and all of them.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses; the record may be the new one all the same.
    pub async fn switch_plugin(
        &self,
        plugin: &str,
        seen: Option<&PluginRecord>,
        new: Option<&PluginRecord>,
    ) -> Result<Switched, StoreError> {
        match self {
            Self::Redis(store) => store.switch_plugin(plugin, seen, new).await,
            Self::Memory(store) => store.switch_plugin(plugin, seen, new).await,
        }
    }

    /// Reads the component of a version that a plugin's record names; none where the store does not have
    /// it whole.
    ///
    /// # Errors
    /// When the store cannot be reached; [`StoreError::Undecodable`] when it is not the component that it
    /// was.
    pub async fn component(
        &self,
        plugin: &str,
        version: &PluginVersion,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Redis(store) => store.component(plugin, version).await,
            Self::Memory(store) => store.component(plugin, version).await,
        }
    }

    /// Walks one step over the active list; gives tokens, and the cursor of the next step, 0 at the end.
    /// Every token that stays on the list is met at least once.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn walk_active(&self, cursor: u64) -> Result<(Vec<String>, u64), StoreError> {
        match self {
            Self::Redis(store) => store.walk_active(cursor).await,
            Self::Memory(store) => store.walk_active().await,
        }
    }

    /// Walks one step over all keys, as [`Store::walk_active`] does over the list.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn walk(&self, cursor: u64) -> Result<(Found, u64), StoreError> {
        match self {
            Self::Redis(store) => store.walk(cursor).await,
            Self::Memory(store) => store.walk().await,
        }
    }

    /// Whether a piece of a checkpoint stays until somebody removes it.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn is_permanent(&self, piece: &CheckpointPiece) -> Result<bool, StoreError> {
        match self {
            Self::Redis(store) => store.is_permanent(piece).await,
            // Pages that no commit names go with the next one.
            Self::Memory(_) => Ok(piece.place.is_none()),
        }
    }

    /// Reads what stands in the place of each of a chunk's rows, if its owner still owns the shard.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn results(&self, chunk: &Chunk) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        match self {
            Self::Redis(store) => store.results(chunk).await,
            Self::Memory(store) => store.results(chunk).await,
        }
    }

    /// Removes results of tokens, if the owner still owns the shard.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn remove(&self, removal: &Removal) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.remove(removal).await,
            Self::Memory(store) => store.remove(removal).await,
        }
    }

    /// Removes pieces of checkpoints, if the owner still owns its shard.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn sweep(&self, sweep: &Sweep) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.sweep(sweep).await,
            Self::Memory(store) => store.sweep(sweep).await,
        }
    }
}
