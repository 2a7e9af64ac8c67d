//! Where results go: Redis, or this process's memory for demos and tests.
//!
//! Both follow the same rules. A shard has an owner record; [`Store::claim`] writes it, and every
//! [`Store::write`] compares it before it changes anything, so that a process that was frozen and
//! replaced cannot overwrite newer values. Values are absolute: writing a chunk twice does no harm.
//!
//! Not for deciding what is written, nor for trying again: errors say by [`StoreError::action`] what the
//! caller does.
//!
//! Invariant: only this folder names the `redis` crate, and nothing here waits without a limit.

mod chunk;
mod decode;
mod error;
mod keys;
mod memory;
mod owner;
mod redis;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::chunk::{Chunk, Row};
pub use self::error::{Action, OpenError, StoreError};
pub use self::memory::MemoryStore;
pub use self::owner::Owner;
pub use self::redis::RedisStore;
use crate::config;

/// A store of results.
#[derive(Debug)]
pub enum Store {
    /// A Redis server.
    Redis(Box<RedisStore>),
    /// This process's memory.
    Memory(MemoryStore),
}

/// All results of one token, as last written.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenResults {
    /// The clock of the last write, RFC 3339; none where only other plugins have written yet.
    pub last_update: Option<String>,
    /// Result key to value.
    pub results: BTreeMap<Arc<str>, serde_json::Value>,
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
        Self::Memory(MemoryStore::default())
    }

    /// Writes a chunk if its owner still owns the shard, and nothing of it otherwise.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another owner is on record. [`StoreError::WrongType`] when a key of
    /// the service is taken by something else: that key was left out, the rest is written.
    pub async fn write(&self, chunk: &Chunk) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.write(chunk).await,
            Self::Memory(store) => store.write(chunk),
        }
    }

    /// Makes `id` the owner of a scope (`shard-3`) under a new epoch; the former owner is fenced from
    /// then on.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn claim(&self, scope: &str, id: u128) -> Result<Owner, StoreError> {
        match self {
            Self::Redis(store) => store.claim(scope, id).await,
            Self::Memory(store) => Ok(store.claim(scope, id)),
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
            Self::Memory(store) => store.token(address, keys),
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
            Self::Memory(store) => Ok(store.active(limit)),
        }
    }

    /// Asks whether the store answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.ping().await,
            Self::Memory(_) => Ok(()),
        }
    }
}
