//! Sends a chunk to `write.lua`.
//!
//! Invariant: the order of the arguments is the one that the script reads.

use std::sync::LazyLock;

use redis::Cmd;

use super::super::chunk::Chunk;
use super::super::error::StoreError;
use super::super::keys;
use super::script::Script;
use super::{RedisStore, answer};
use crate::clock::rfc3339;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("write.lua")));

impl RedisStore {
    pub(in super::super) async fn write(&self, chunk: &Chunk) -> Result<(), StoreError> {
        let scope = keys::shard(chunk.shard);
        let owner_key = keys::owner(&scope);
        let command = command(chunk, &scope, &owner_key, self.next_try());
        let link = self.writer(chunk.shard as usize);
        let words: Vec<Vec<u8>> = SCRIPT.call(link, &command, &owner_key).await?;
        answer::written(chunk, &words)
    }
}

fn command(chunk: &Chunk, scope: &str, owner_key: &str, number: u64) -> Cmd {
    let tokens: usize = chunk.rows.iter().map(|row| row.token.len()).sum();
    let bytes = chunk.values.len() + tokens + 24 * chunk.rows.len() + 64 * chunk.forgotten.len();
    let mut command = SCRIPT.command(3, 7 + 3 * chunk.rows.len() + chunk.forgotten.len(), bytes);
    command.arg(owner_key).arg(keys::written(scope)).arg(keys::ACTIVE);
    command.arg(chunk.owner.to_string()).arg(number);
    command.arg(&*chunk.result_key).arg(u8::from(chunk.leading));
    command.arg(rfc3339::text(chunk.clock_ms));
    // 0 stands for no time to live.
    command.arg(chunk.ttl_ms.map_or(0, |ttl_ms| ttl_ms.max(1)));
    command.arg(chunk.rows.len());
    for (row, value) in chunk.values() {
        command.arg(&*row.token).arg(value).arg(row.last_trade_ms);
    }
    for gone in &chunk.forgotten {
        command.arg(&**gone);
    }
    command
}
