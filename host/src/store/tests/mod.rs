//! The promises of a store, the same for Redis and memory, and those that only Redis needs.

mod checkpoints;
mod contract;
mod faults;
mod hostile;
mod plugins;
mod redis_only;
mod regression;
mod relay;
mod server;
mod service;
mod upkeep;

use std::sync::Arc;

use super::{Chunk, Commit, Head, Owner, Part, Row, StagedPage, Store, StoreError};

/// Makes each promise a test of either store; each Redis is one of the test's own.
macro_rules! promises {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $promise() {
                    super::$promise(&crate::store::Store::memory()).await;
                }
            )*
        }
        mod redis {
            $(
                #[tokio::test]
                async fn $promise() {
                    let server = crate::store::tests::server::Server::start();
                    super::$promise(&server.store()).await;
                }
            )*
        }
    };
}

use promises;

/// 2026-03-01T12:00:10.123Z
const CLOCK_MS: i64 = 1_772_366_410_123;
const KEY: &str = "aggregates";

/// A chunk of the leading plugin with these tokens, times of last trades and values.
fn chunk(owner: Owner, rows: &[(&str, i64, &str)]) -> Chunk {
    let mut chunk = Chunk::new(3, KEY.into(), true, CLOCK_MS, Some(60_000));
    chunk.owner = owner;
    for &(token, last_trade_ms, value) in rows {
        chunk.values.extend_from_slice(value.as_bytes());
        let end = chunk.values.len();
        chunk.rows.push(Row { token: token.into(), last_trade_ms, end });
    }
    chunk
}

/// The value that is stored of a token, as JSON text.
async fn value(store: &Store, token: &str) -> Option<String> {
    let keys: [Arc<str>; 1] = [KEY.into()];
    let found = store.token(token, &keys).await.unwrap()?;
    found.results.get(KEY).map(ToString::to_string)
}

/// The plugin whose checkpoints most tests write.
const PLUGIN: &str = "sliding-window";

/// A page on its way to shard 3.
fn page(owner: Owner, part: u64, index: u32, bytes: &[u8]) -> StagedPage {
    StagedPage { shard: 3, owner, plugin: PLUGIN.into(), part, index, bytes: bytes.to_vec() }
}

/// The end of a checkpoint of shard 3 with these parts; ids and numbers of pages.
fn commit(owner: Owner, parts: &[(u64, u32)]) -> Commit {
    let parts = parts.iter().map(|&(id, pages)| Part { id, pages }).collect();
    let head = Head { format: Head::FORMAT, digest: "00ff".to_owned(), parts, ..Head::default() };
    Commit { shard: 3, owner, plugin: PLUGIN.into(), head, last_page: None, replaced: Vec::new() }
}

/// Writes a checkpoint of one part, with all pages but the last staged before the commit.
async fn checkpoint(store: &Store, owner: Owner, part: u64, pages: &[&[u8]]) -> Result<(), StoreError> {
    let mut end = commit(owner, &[(part, pages.len() as u32)]);
    for (index, bytes) in pages.iter().enumerate() {
        let page = page(owner, part, index as u32, bytes);
        if index + 1 == pages.len() {
            end.last_page = Some(page);
        } else {
            store.stage(&page).await?;
        }
    }
    store.commit(&end).await
}

/// The pages of the plugin's checkpoint, as a restart loads them; none without a checkpoint.
async fn loaded(store: &Store) -> Option<Vec<Vec<u8>>> {
    let head = store.head(3, PLUGIN).await.unwrap()?;
    let mut pages = Vec::new();
    for part in head.parts {
        for index in 0..part.pages {
            pages.push(store.page(3, PLUGIN, part.id, index).await.unwrap().unwrap());
        }
    }
    Some(pages)
}
