//! Maintenance in Redis: small steps over all keys, results as they are, removals behind the fence.
//!
//! Not for deciding what goes. Invariant: a step of a walk is bounded, so that the server serves others
//! between two of them; the order of the keys and arguments is the one that the scripts read.

use std::sync::LazyLock;

use super::super::chunk::Chunk;
use super::super::error::StoreError;
use super::super::keys;
use super::super::upkeep::{CheckpointPiece, Found, Removal, Sweep};
use super::RedisStore;
use super::script::Script;

static REMOVE: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("fence.lua"), include_str!("remove.lua"))));
static SWEEP: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("fence.lua"), include_str!("sweep.lua"))));
static RESULTS: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("fence.lua"), include_str!("results.lua"))));

/// About how many keys a step looks at.
const STEP: usize = 500;

impl RedisStore {
    pub(in super::super) async fn walk_active(&self, cursor: u64) -> Result<(Vec<String>, u64), StoreError> {
        let mut command = redis::cmd("ZSCAN");
        command.arg(keys::ACTIVE).arg(cursor).arg("COUNT").arg(STEP);
        let (next, found): (u64, Vec<Vec<u8>>) = self.reader.call(&command, "ZSCAN", keys::ACTIVE).await?;
        // Each with its score behind it.
        let tokens = found.into_iter().step_by(2).filter_map(|token| String::from_utf8(token).ok());
        Ok((tokens.collect(), next))
    }

    pub(in super::super) async fn walk(&self, cursor: u64) -> Result<(Found, u64), StoreError> {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("COUNT").arg(STEP);
        let (next, names): (u64, Vec<Vec<u8>>) = self.reader.call(&command, "SCAN", "all keys").await?;
        let mut found = Found::default();
        for name in &names {
            if let Ok(name) = std::str::from_utf8(name) {
                found.take(name);
            }
        }
        Ok((found, next))
    }

    pub(in super::super) async fn is_permanent(&self, piece: &CheckpointPiece) -> Result<bool, StoreError> {
        let key = key(piece);
        let mut command = redis::cmd("PTTL");
        command.arg(&key);
        let left_ms: i64 = self.reader.call(&command, "PTTL", &key).await?;
        Ok(left_ms == -1)
    }

    pub(in super::super) async fn results(&self, chunk: &Chunk) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let attempt = self.attempt(chunk.shard, chunk.owner);
        let mut command = attempt.command::<&str>(&RESULTS, &[], 1 + chunk.rows.len(), 64 * chunk.rows.len());
        command.arg(&*chunk.result_key);
        for row in &chunk.rows {
            command.arg(&*row.token);
        }
        let link = self.writer(chunk.shard as usize);
        let mut answer: Vec<Vec<u8>> = RESULTS.call(link, &command, attempt.owner_key()).await?;
        if answer.first().is_none_or(|word| word != b"found") {
            attempt.read(&answer)?;
            return Err(StoreError::Answer { command: "EVALSHA", words: "no results".to_owned() });
        }
        answer.remove(0);
        Ok(answer.into_iter().map(|value| (!value.is_empty()).then_some(value)).collect())
    }

    pub(in super::super) async fn remove(&self, removal: &Removal) -> Result<(), StoreError> {
        let attempt = self.attempt(removal.shard, removal.owner);
        let (parts, tokens) = (removal.result_keys.len() + 1, removal.tokens.len());
        let mut command = attempt.command(&REMOVE, &[keys::ACTIVE], 2 + parts + tokens, 64 * tokens);
        command.arg(u8::from(removal.only_list)).arg(parts).arg(keys::LAST_UPDATE);
        for part in removal.result_keys.iter().chain(&removal.tokens) {
            command.arg(&**part);
        }
        self.send(&REMOVE, &attempt, &command).await
    }

    pub(in super::super) async fn sweep(&self, sweep: &Sweep) -> Result<(), StoreError> {
        let attempt = self.attempt(sweep.shard, sweep.owner);
        let names: Vec<String> = sweep.pieces.iter().map(key).collect();
        let command = attempt.command(&SWEEP, &names, 0, 0);
        self.send(&SWEEP, &attempt, &command).await
    }
}

fn key(piece: &CheckpointPiece) -> String {
    match piece.place {
        Some(place) => keys::page(piece.shard, &piece.plugin, place),
        None => keys::head(piece.shard, &piece.plugin),
    }
}
