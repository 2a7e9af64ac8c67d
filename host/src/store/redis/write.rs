//! Sends a chunk to `write.lua`.
//!
//! Invariant: the order of the arguments is the one that the script reads.

use std::sync::LazyLock;

use redis::Cmd;

use super::super::chunk::Chunk;
use super::super::error::StoreError;
use super::super::keys;
use super::RedisStore;
use super::attempt::Attempt;
use super::script::Script;
use crate::clock::rfc3339;

static SCRIPT: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("fence.lua"), include_str!("write.lua"))));

impl RedisStore {
    pub(in super::super) async fn write(&self, chunk: &Chunk) -> Result<(), StoreError> {
        let attempt = self.attempt(chunk.shard, chunk.owner);
        let command = command(chunk, &attempt);
        self.send(&SCRIPT, &attempt, &command).await
    }
}

fn command(chunk: &Chunk, attempt: &Attempt) -> Cmd {
    let tokens: usize = chunk.rows.iter().map(|row| row.token.len()).sum();
    let bytes = chunk.values.len() + tokens + 24 * chunk.rows.len() + 64 * chunk.forgotten.len();
    let arguments = 5 + 3 * chunk.rows.len() + chunk.forgotten.len();
    let mut command = attempt.command(&SCRIPT, &[keys::ACTIVE], arguments, bytes);
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
