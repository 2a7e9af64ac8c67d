//! From changed rows to chunks on their way to the store.
//!
//! Not for deciding when to flush. Invariant: rows are taken from a plugin only when the writer has
//! room for them, so that a store that is away lets changes coalesce in the plugins and nowhere else.

use std::sync::Arc;

use super::Shared;
use super::audit;
use super::cell::{Cell, Sight};
use super::cell_clock::Now;
use super::comparison::Moment;
use super::shard::Shard;
use super::tokens::Tokens;
use super::worker::Trying;
use super::writer::{Outgoing, WriterHandle};
use crate::config::{ClockMode, Encoding};
use crate::plugin::catalog::Running;
use crate::plugin::contract::Table;
use crate::results::{Ancestor, Message};
use crate::store::{Chunk, Row};

/// The most rows in a chunk.
pub(super) const CHUNK_ROWS: u32 = 256;
/// The result key whose rows carry `last_update` and the active list.
pub(super) const LEADING_KEY: &str = "aggregates";
/// How long a cell that starts from a checkpoint may be withheld after its first batch.
const WITHHELD_AT_MOST_MS: u64 = 30_000;
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
    /// Whether removals are never exported (no checkpoints), so that plugins may forget them at once.
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
pub(super) fn flush(
    shard: &mut Shard,
    trials: &mut [Trying],
    writer: &WriterHandle,
    shared: &Shared,
    now: Now,
) -> Flushed {
    writer.pay_removals(shard);
    let mut gone = std::mem::take(&mut shard.gone);
    let sample = std::mem::take(&mut shard.sample);
    for cell in shard.cells.iter_mut().filter(|cell| !cell.apart) {
        let Some(clock_ms) = cell.clock.advance(now) else {
            continue;
        };
        let moment = Moment { clock_ms, batches: shard.batches };
        if cell.sight == Sight::Withheld {
            if !may_show(cell, shared, now) {
                // Rows that nobody may see stay in the plugin, the last ones of tokens among them.
                continue;
            }
            cell.sight = Sight::Visible;
            cell.touch_all(&mut shard.tokens);
        }
        if cell.clock.take_final(now) {
            cell.touch_all(&mut shard.tokens);
        }
        let mut given = 0;
        loop {
            if cell.sight == Sight::Visible && !writer.has_room() {
                writer.owe_removals(gone);
                return Flushed::More;
            }
            let Some(table) = cell.flush(clock_ms, CHUNK_ROWS, &mut shard.tokens) else {
                break;
            };
            let rows = visible_rows(shard.id, cell, &shard.tokens, &table, moment, trials, shared);
            if rows.is_some() {
                cell.note_written(&table.tokens, clock_ms, now);
            }
            // A removal is kept for the checkpoint, or for the new version, that must hear of it.
            let kept = cell.giving || (cell.settled && !shared.rules.trim);
            let forget = |&number: &u32| cell.forgotten(number, kept, &mut shard.tokens);
            let forgotten = table.forgotten.iter().filter_map(forget);
            match rows {
                // With the last rows, so that no crash can leave the tokens on the active list.
                Some((mut chunk, messages)) => {
                    chunk.forgotten.extend(forgotten);
                    writer.send(Outgoing::Rows { chunk, messages });
                }
                None => gone.extend(forgotten),
            }
            given += table.tokens.len();
            if !table.more || cell.gives_without_end(given, &mut shard.tokens) {
                break;
            }
        }
        if (shared.rules.trim || !cell.settled) && !cell.giving {
            cell.let_go(&mut shard.tokens);
        }
        trials.iter_mut().for_each(|trial| trial.flushed(cell, moment));
        if cell.sight == Sight::Visible && writer.has_room() {
            // Nothing else is changed now, and what was is with the writer: rows that must stand in the store.
            let of = (shard.id, shard.lineage);
            gone.extend(audit::compare(of, cell, &sample, clock_ms, &mut shard.tokens, writer, shared));
        }
    }
    writer.owe_removals(gone);
    if writer.finish_flush(shard, smallest_vector(&shard.cells)) { Flushed::Done } else { Flushed::More }
}

/// The rows of a table for the writer; none of a cell that is hidden, whose rows are at most compared.
fn visible_rows(
    shard: u32,
    cell: &Cell,
    tokens: &Tokens,
    table: &Table,
    moment: Moment,
    trials: &mut [Trying],
    shared: &Shared,
) -> Option<(Box<Chunk>, Vec<Message>)> {
    let visible = cell.sight == Sight::Visible;
    if visible {
        shared.metrics.plugins.add(cell.running.plugin.description(), shard, table);
    }
    let trial = trials.iter_mut().find(|trial| trial.compares(cell).is_some());
    if !visible && trial.is_none() {
        return None;
    }
    let (chunk, messages) = chunk(shard, cell, tokens, table, moment.clock_ms, &shared.rules)?;
    if visible {
        shared.tap.results(cell, tokens, table, moment.clock_ms);
    }
    if let Some(trial) = trial {
        trial.compare(cell, &chunk, moment);
    }
    visible.then_some((chunk, messages))
}

/// Whether the rows of a withheld cell may be shown: it has caught up, or has waited for too long.
fn may_show(cell: &Cell, shared: &Shared, now: Now) -> bool {
    if cell.lag.is_some() {
        return false;
    }
    if cell.clock.caught_up(now) {
        return true;
    }
    let waited = cell.first_taken_ms.map(|at| now.monotonic_ms.saturating_sub(at));
    let too_long = waited.is_some_and(|ms| ms >= WITHHELD_AT_MOST_MS);
    if too_long {
        shared.metrics.shown_early.inc();
    }
    too_long
}

/// How long the keys of a plugin's results live; none: for ever.
pub(super) fn ttl_ms(running: &Running, rules: &FlushRules) -> Option<u64> {
    match rules.clock {
        ClockMode::Wall => Some(running.settings.horizon_ms + TTL_SLACK_MS),
        ClockMode::Event => None,
    }
}

/// The rows of a table as a chunk, and as messages of the Kafka output; none where there is no row.
pub(super) fn chunk(
    shard: u32,
    cell: &Cell,
    tokens: &Tokens,
    table: &Table,
    clock_ms: i64,
    rules: &FlushRules,
) -> Option<(Box<Chunk>, Vec<Message>)> {
    let leading = *cell.result_key == *LEADING_KEY;
    let ttl_ms = ttl_ms(&cell.running, rules);
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
    (!chunk.rows.is_empty()).then(|| (Box::new(chunk), messages))
}

/// For each partition the smallest offset that all visible cells have passed, as far as their rows were
/// handed over: a cell without a clock has handed over nothing. Suspended cells hold nobody back.
fn smallest_vector(cells: &[Cell]) -> Vec<(i32, i64)> {
    let active = |cell: &&Cell| cell.is_active() && cell.sight != Sight::Hidden;
    let any_active = cells.iter().any(|cell| active(&cell));
    let mut vector: Vec<(i32, i64)> = Vec::new();
    for cell in cells.iter().filter(|cell| !any_active || active(cell)) {
        if any_active && cell.clock.now_ms().is_none() {
            return Vec::new();
        }
        for (partition, next) in cell.clock.vector() {
            match vector.iter_mut().find(|(known, _)| *known == partition) {
                Some((_, smallest)) => *smallest = next.min(*smallest),
                None => vector.push((partition, next)),
            }
        }
    }
    vector
}
