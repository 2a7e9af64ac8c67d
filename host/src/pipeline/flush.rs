//! From changed rows to chunks on their way to the store.
//!
//! Not for deciding when to flush. Invariant: rows are taken from a plugin only when the writer has
//! room for them, so that a store that is away lets changes coalesce in the plugins and nowhere else.

use std::sync::Arc;

use super::Shared;
use super::cell::{Cell, Sight};
use super::cell_clock::Now;
use super::shard::Shard;
use super::tokens::Tokens;
use super::writer::{Outgoing, WriterHandle};
use crate::config::{ClockMode, Encoding};
use crate::plugin::contract::Table;
use crate::results::Ancestor;
use crate::store::{Chunk, Row};

/// The most rows in a chunk.
pub(super) const CHUNK_ROWS: u32 = 256;
/// The result key whose rows carry `last_update` and the active list.
pub(super) const LEADING_KEY: &str = "aggregates";
/// How long a key outlives its plugin's horizon.
const TTL_SLACK_MS: u64 = 600_000;

/// How results are written.
pub struct FlushRules {
    /// The form of the values.
    pub encoding: Encoding,
    /// The clock decides about time to live.
    pub clock: ClockMode,
    /// Writes the messages of the Kafka output, where it is on.
    pub ancestor: Option<Ancestor>,
    /// Whether removals are never exported, so that plugins may forget them at once.
    pub trim: bool,
}

/// What a flush left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Every changed row was handed over.
    Done,
    /// The writer is full: go on when it has room.
    More,
}

/// Hands all changed rows of a shard to its writer, as far as that has room.
pub(super) fn flush(shard: &mut Shard, writer: &WriterHandle, shared: &Shared, now: Now) -> Flushed {
    let rules = &shared.rules;
    let mut gone = Vec::new();
    for cell in &mut shard.cells {
        let Some(clock_ms) = cell.clock.advance(now) else {
            continue;
        };
        if cell.sight == Sight::Withheld && cell.clock.caught_up() {
            cell.sight = Sight::Visible;
            cell.touch_all(&mut shard.tokens);
        }
        if cell.clock.take_final(now) {
            cell.touch_all(&mut shard.tokens);
        }
        loop {
            if !writer.has_room() {
                writer.owe_removals(gone);
                return Flushed::More;
            }
            let Some(table) = cell.flush(clock_ms, CHUNK_ROWS, &mut shard.tokens) else {
                break;
            };
            shared.metrics.plugins.add(cell.running.plugin.description(), shard.id, &table);
            let outgoing = outgoing(shard.id, cell, &shard.tokens, &table, clock_ms, rules);
            for &number in &table.forgotten {
                gone.extend(cell.forgotten(number, &mut shard.tokens));
            }
            if cell.sight == Sight::Visible && !outgoing.chunk.rows.is_empty() {
                writer.send(outgoing);
            }
            if !table.more {
                break;
            }
        }
        if rules.trim {
            cell.trim_all(&mut shard.tokens);
        }
    }
    writer.owe_removals(gone);
    let vector = smallest_vector(&shard.cells);
    writer.finish_flush(shard, vector);
    Flushed::Done
}

/// The rows of a table as a chunk.
fn outgoing(
    shard: u32,
    cell: &Cell,
    tokens: &Tokens,
    table: &Table,
    clock_ms: i64,
    rules: &FlushRules,
) -> Outgoing {
    let settings = &cell.running.settings;
    let leading = *cell.result_key == *LEADING_KEY;
    let ttl_ms = match rules.clock {
        ClockMode::Wall => Some(settings.horizon_ms + TTL_SLACK_MS),
        ClockMode::Event => None,
    };
    let mut chunk = Chunk::new(shard, Arc::clone(&cell.result_key), leading, clock_ms, ttl_ms);
    let mut messages = Vec::new();
    for (index, &number) in table.tokens.iter().enumerate() {
        let Some(token) = tokens.get(number) else {
            continue;
        };
        cell.running.schema.encode_row(rules.encoding, table, index, clock_ms, &mut chunk.values);
        chunk.rows.push(Row {
            token: Arc::clone(&token.text),
            last_trade_ms: token.last_trade_ms,
            end: chunk.values.len(),
        });
        if let Some(ancestor) = rules.ancestor.as_ref().filter(|_| leading) {
            messages.push(ancestor.message(&token.text, table, index, clock_ms));
        }
    }
    Outgoing { chunk, messages, vector: Vec::new() }
}

/// For each partition the smallest offset that all visible cells have passed.
fn smallest_vector(cells: &[Cell]) -> Vec<(i32, i64)> {
    let mut vector: Vec<(i32, i64)> = Vec::new();
    for cell in cells.iter().filter(|cell| cell.is_active() && cell.sight != Sight::Hidden) {
        for (partition, next) in cell.clock.vector() {
            match vector.iter_mut().find(|(known, _)| *known == partition) {
                Some((_, smallest)) => *smallest = next.min(*smallest),
                None => vector.push((partition, next)),
            }
        }
    }
    vector
}
