//! Records of plugins and their components in Redis.
//!
//! All records are fields of one hash, so that one call reads them. Chunks of components live for an hour
//! until a record names them.
//!
//! Invariant: the order of the keys and arguments is the one that the scripts read.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::super::error::StoreError;
use super::super::keys;
use super::super::plugins::{ChunkPlace, PluginRecord, PluginVersion, Switched, chunks_of, obsolete};
use super::RedisStore;
use super::script::Script;

static STAGE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("stage_component.lua")));
static SWITCH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("switch_plugin.lua")));

/// How long a chunk waits for the record that names it.
const STAGED_MS: u64 = 3_600_000;

impl RedisStore {
    pub(in super::super) async fn plugins(&self) -> Result<BTreeMap<String, PluginRecord>, StoreError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(keys::PLUGINS);
        let found: Vec<(String, Vec<u8>)> = self.reader.call(&command, "HGETALL", keys::PLUGINS).await?;
        let read = |(name, bytes): (String, Vec<u8>)| {
            let record = PluginRecord::decode(&format!("{} {name}", keys::PLUGINS), &bytes)?;
            Ok((name, record))
        };
        found.into_iter().map(read).collect()
    }

    pub(in super::super) async fn stage_component(
        &self,
        plugin: &str,
        digest: &str,
        wasm: &[u8],
    ) -> Result<(), StoreError> {
        for (index, chunk) in chunks_of(wasm) {
            let key = keys::component(plugin, (digest, index));
            let mut command = STAGE.command(1, 2, chunk.len() + key.len());
            command.arg(&key).arg(chunk).arg(STAGED_MS);
            let _stored: i64 = STAGE.call(self.writer(0), &command, &key).await?;
        }
        Ok(())
    }

    pub(in super::super) async fn switch_plugin(
        &self,
        plugin: &str,
        seen: Option<&PluginRecord>,
        new: Option<&PluginRecord>,
    ) -> Result<Switched, StoreError> {
        let of_chunk = |place: ChunkPlace<'_>| keys::component(plugin, place);
        let mut own: Vec<String> = new.into_iter().flat_map(PluginRecord::chunks).map(of_chunk).collect();
        let needed = own.len();
        own.extend(obsolete(seen, new).into_iter().map(of_chunk));
        let record = new.map(|record| record.encode(keys::PLUGINS)).transpose()?.unwrap_or_default();

        let mut command = SWITCH.command(1 + own.len(), 4, record.len() + 128 * own.len());
        command.arg(keys::PLUGINS).arg(&own);
        command.arg(plugin).arg(seen.map_or(0, |record| record.revision)).arg(record).arg(needed);
        let answer: String = SWITCH.call(self.writer(0), &command, keys::PLUGINS).await?;
        match answer.as_str() {
            "switched" => Ok(Switched::Done),
            "stale" => Ok(Switched::Stale),
            "incomplete" => Ok(Switched::Incomplete),
            other => Err(StoreError::Answer { command: "EVALSHA", words: other.to_owned() }),
        }
    }

    pub(in super::super) async fn component(
        &self,
        plugin: &str,
        version: &PluginVersion,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut chunks = Vec::new();
        for place in version.places() {
            chunks.push(self.get(&keys::component(plugin, place)).await?);
        }
        version.assemble(&keys::component(plugin, (&version.digest, 0)), chunks)
    }
}
