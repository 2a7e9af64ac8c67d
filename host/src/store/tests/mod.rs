//! The promises of a store, the same for Redis and memory, and those that only Redis needs.

mod contract;
mod faults;
mod redis_only;
mod server;

use std::sync::Arc;

use super::{Chunk, Owner, Row, Store};

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
