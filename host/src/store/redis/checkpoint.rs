//! Checkpoints in Redis: pages under keys of their own, and a head that makes them count.
//!
//! Staged pages live for an hour, so that those of a checkpoint that nobody finishes go by themselves; a
//! commit takes that limit off them, in the same script that writes the head.
//!
//! Invariant: the order of the keys and arguments is the one that the scripts read.

use std::sync::LazyLock;

use super::super::checkpoint::{Commit, Head, Place, StagedPage};
use super::super::error::{Action, StoreError};
use super::super::keys;
use super::RedisStore;
use super::script::Script;

static STAGE: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("fence.lua"), include_str!("stage.lua"))));
static COMMIT: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("fence.lua"), include_str!("commit.lua"))));

/// How many keys one call removes.
const DISCARDED_AT_ONCE: usize = 256;
/// How long a page waits for its commit.
const STAGED_MS: u64 = 3_600_000;

impl RedisStore {
    pub(in super::super) async fn stage(&self, page: &StagedPage) -> Result<(), StoreError> {
        let attempt = self.attempt(page.shard, page.owner);
        let key = keys::page(page.shard, &page.plugin, (page.part, page.index));
        let mut command = attempt.command(&STAGE, &[key], 2, page.bytes.len());
        command.arg(&page.bytes).arg(STAGED_MS);
        self.send(&STAGE, &attempt, &command).await
    }

    pub(in super::super) async fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let of_page = |place: Place| keys::page(commit.shard, &commit.plugin, place);
        let mut own = vec![keys::head(commit.shard, &commit.plugin)];
        own.extend(commit.needed().map(of_page));
        let needed = own.len() - 1;
        own.extend(commit.obsolete().map(of_page));
        let obsolete = own.len() - 1 - needed;
        own.extend(commit.last_page.iter().map(|page| of_page((page.part, page.index))));
        let head = commit.head.encode(&own[0])?;
        let along = commit.last_page.as_ref().map(|page| &page.bytes);

        let attempt = self.attempt(commit.shard, commit.owner);
        let bytes = head.len() + along.map_or(0, Vec::len);
        let mut command = attempt.command(&COMMIT, &own, 4, bytes);
        command.arg(head).arg(needed).arg(obsolete).arg(along);
        self.send(&COMMIT, &attempt, &command).await
    }

    pub(in super::super) async fn head(&self, shard: u32, plugin: &str) -> Result<Option<Head>, StoreError> {
        let key = keys::head(shard, plugin);
        self.saved(&key).await?.map(|bytes| Head::decode(&key, &bytes)).transpose()
    }

    pub(in super::super) async fn discard(&self, shard: u32, plugin: &str) -> Result<(), StoreError> {
        let head = match self.head(shard, plugin).await {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(()),
            // One that cannot be read names no pages.
            Err(error) if error.action() == Action::Skip => Head::default(),
            Err(error) => return Err(error),
        };
        let key = keys::head(shard, plugin);
        // The pages first: what is left after a failure is found again.
        let pages: Vec<Place> = head.parts.iter().flat_map(|part| part.places()).collect();
        for some in pages.chunks(DISCARDED_AT_ONCE) {
            let mut command = redis::cmd("UNLINK");
            for &place in some {
                command.arg(keys::page(shard, plugin, place));
            }
            self.reader.call::<i64>(&command, "UNLINK", &key).await?;
        }
        let mut command = redis::cmd("UNLINK");
        command.arg(&key);
        self.reader.call::<i64>(&command, "UNLINK", &key).await.map(drop)
    }

    pub(in super::super) async fn page(
        &self,
        shard: u32,
        plugin: &str,
        place: Place,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.saved(&keys::page(shard, plugin, place)).await
    }
}
