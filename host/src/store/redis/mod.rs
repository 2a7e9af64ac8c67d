//! The store in Redis.
//!
//! Every change of a shard is one script call that compares the owner record first (`fence.lua`). A
//! shard's calls travel over one connection, in their order. A call that was given up may still reach
//! the server later, over a connection that this side has abandoned: therefore each try of a write has
//! a number, and the script takes none that is not above the last one. The number also tells when the
//! server has gone back to an older state: it is below the last one that this side has seen acknowledged.
//!
//! Not for trying again. Invariant: a write that the server takes late changes nothing.

mod attempt;
mod checkpoint;
mod claim;
mod forgotten;
mod link;
mod plugins;
mod script;
mod service;
mod tls;
mod upkeep;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::claims::Claims;
use super::error::{OpenError, StoreError, undecodable};
use super::{TokenResults, decode, keys};
use crate::config;
use link::Link;

/// Results in Redis.
#[derive(Debug)]
pub struct RedisStore {
    /// Connections for writes; a shard always uses the same one.
    writers: Vec<Link>,
    /// The connection for reads and for records of the whole service, which so never wait behind a chunk.
    reader: Link,
    /// The number of the last try of a write, of all shards.
    tries: AtomicU64,
    /// The claims of this process: epochs rise even when the server forgets, and it is noticed.
    claims: Claims,
    /// A write has left the active list out, since the key holds something else.
    left_out: AtomicBool,
}

impl RedisStore {
    /// Prepares the connections; each is made when it is first used.
    pub(super) fn open(config: &config::Redis) -> Result<Self, OpenError> {
        let client = tls::client(config)?;
        let limit = config.read_timeout.max(config.write_timeout);
        let link = || Link::new(client.clone(), config.display.clone(), limit);
        Ok(Self {
            writers: (0..config.pool_size.max(1)).map(|_| link()).collect(),
            reader: link(),
            tries: AtomicU64::new(0),
            claims: Claims::default(),
            left_out: AtomicBool::new(false),
        })
    }

    pub(super) async fn token(
        &self,
        address: &str,
        keys: &[Arc<str>],
    ) -> Result<Option<TokenResults>, StoreError> {
        let named = keys.iter().map(|key| &**key);
        let names: Vec<String> =
            std::iter::once(keys::LAST_UPDATE).chain(named).map(|key| keys::of_token(address, key)).collect();
        let mut command = redis::cmd("MGET");
        command.arg(&names);
        let found: Vec<Option<Vec<u8>>> = self.reader.call(&command, "MGET", &names[0]).await?;
        let mut found = found.into_iter();
        let last_update = found.next().flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let mut results = BTreeMap::new();
        for ((key, name), bytes) in keys.iter().zip(&names[1..]).zip(found) {
            if let Some(bytes) = bytes {
                results.insert(Arc::clone(key), decode::value(name, &bytes)?);
            }
        }
        Ok((last_update.is_some() || !results.is_empty()).then_some(TokenResults { last_update, results }))
    }

    pub(super) async fn active(&self, limit: usize) -> Result<Vec<(String, i64)>, StoreError> {
        let Some(last) = limit.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let mut command = redis::cmd("ZRANGE");
        command.arg(keys::ACTIVE).arg(0).arg(last).arg("REV").arg("WITHSCORES");
        let found: Vec<(Vec<u8>, f64)> = self.reader.call(&command, "ZRANGE", keys::ACTIVE).await?;
        Ok(found
            .into_iter()
            .map(|(token, at)| (String::from_utf8_lossy(&token).into_owned(), at as i64))
            .collect())
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        let _pong: String = self.reader.call(&redis::cmd("PING"), "PING", "the connection").await?;
        Ok(())
    }

    /// A shard's calls wait for each other, so none of them overtakes another one on the new connection.
    pub(super) async fn give_back(&self) {
        for link in self.writers.iter().chain([&self.reader]) {
            link.renew().await;
        }
    }

    pub(super) async fn mended(&self) -> Result<bool, StoreError> {
        if !self.left_out.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut command = redis::cmd("TYPE");
        command.arg(keys::ACTIVE);
        let found: String = self.reader.call(&command, "TYPE", keys::ACTIVE).await?;
        if found != "none" && found != "zset" {
            return Err(StoreError::WrongType { key: keys::ACTIVE.to_owned(), command: "ZADD", found });
        }
        Ok(self.left_out.swap(false, Ordering::Relaxed))
    }

    pub(super) fn note_left_out(&self) {
        self.left_out.store(true, Ordering::Relaxed);
    }

    /// Reads a key.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let mut command = redis::cmd("GET");
        command.arg(key);
        self.reader.call(&command, "GET", key).await
    }

    /// Reads a key of a checkpoint: without somebody else's value in it there is none, however often it is asked for.
    async fn saved(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(key).await.map_err(|error| match error {
            StoreError::Refused { words, .. } if words.starts_with("WRONGTYPE") => undecodable(key, words),
            error => error,
        })
    }

    /// Numbers a try.
    fn next_try(&self) -> u64 {
        self.tries.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The connection of a shard, or of anything else by its number.
    fn writer(&self, number: usize) -> &Link {
        &self.writers[number % self.writers.len()]
    }
}
