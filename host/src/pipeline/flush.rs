//! From changed rows to chunks on their way to the store.
//!
//! Not for deciding when to flush. Invariant: rows are taken from a plugin only when the writer has
//! room for them, so that a store that is away lets changes coalesce in the plugins and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::audit;
use super::cell::{Cell, CellId, Sight};
use super::cell_clock::Now;
use super::comparison::Moment;
use super::shard::Shard;
use super::tokens::Tokens;
use super::worker::Trying;
use super::writer::{Outgoing, WriterHandle};
use crate::config::{ClockMode, Encoding};
use crate::plugin::catalog::Running;
use crate::plugin::contract::Table;
use crate::results::{LEADING_KEY, MAX_ROWS, Message};
use crate::store::{Chunk, Row};

/// The most rows in a chunk.
pub(super) const CHUNK_ROWS: u32 = MAX_ROWS as u32;
/// How long a cell that starts from a checkpoint may be withheld after its first batch.
const WITHHELD_AT_MOST_MS: u64 = 30_000;
/// For how long rows that are compared may hold up a batch beyond others, so that they are of one moment; of those that
/// are left nothing is said.
const COMPARED_FOR: Duration = Duration::from_millis(20);
/// How long a key outlives its plugin's horizon.
const TTL_SLACK_MS: u64 = 600_000;

/// How results are written.
pub struct FlushRules {
    /// The form of the values.
    pub encoding: Encoding,
    /// The clock decides about time to live.
    pub clock: ClockMode,
    /// Whether rows become messages of the Kafka output, too.
    pub messages: bool,
    /// Whether removals are never exported (no checkpoints), so that plugins may forget them at once.
    pub trim: bool,
}

/// What a flush leaves to the next one of the shard, which goes on there: while trades flow, a shard that
/// began again with its first cell would never come to its last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Left {
    /// Every cell has handed over what had changed.
    #[default]
    Nothing,
    /// The writer was full, or the time was up, at this cell, which had given so many rows.
    Rows(CellId, usize),
    /// What travels behind the rows waits for room.
    Rest,
}

/// The moment up to which a cell has handed all rows over, and its vector then.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) moment: Moment,
    vector: Vec<(i32, i64)>,
}

/// Hands the changed rows of all cells to the shard's writer, as far as that has room and until some time by the
/// monotonic clock; at least one table.
pub(super) fn flush(
    shard: &mut Shard,
    trials: &mut [Trying],
    writer: &WriterHandle,
    shared: &Shared,
    now: Now,
    until: Duration,
    left: Left,
) -> Left {
    writer.pay_removals(shard);
    let (first, mut given) = match left {
        Left::Nothing => (0, 0),
        Left::Rows(id, given) => {
            shard.cells.iter().position(|cell| cell.id == id).map_or((0, 0), |place| (place, given))
        }
        Left::Rest => (shard.cells.len(), 0),
    };
    let Shard { id, tokens, cells, batches, gone, sample, lineage, .. } = shard;
    let (of, batches) = ((*id, *lineage), *batches);
    let mut round =
        Round { of, batches, tokens, gone, sample, trials, writer, shared, now, until, gave: false };
    let mut left = Left::Rest;
    for cell in cells.iter_mut().skip(first).filter(|cell| !cell.apart) {
        if let Some(given) = round.flush(cell, std::mem::take(&mut given)) {
            left = Left::Rows(cell.id, given);
            break;
        }
    }
    writer.owe_removals(std::mem::take(&mut shard.gone));
    if left == Left::Rest {
        shard.sample.clear();
        if writer.finish_flush(shard, smallest_vector(&shard.cells)) {
            left = Left::Nothing;
        }
    }
    left
}

/// What the cells of a shard are flushed with.
struct Round<'a> {
    /// The shard, and how often the store had forgotten when everything was last counted as changed.
    of: (u32, u64),
    batches: u64,
    tokens: &'a mut Tokens,
    gone: &'a mut Vec<Arc<str>>,
    sample: &'a [u32],
    trials: &'a mut [Trying],
    writer: &'a WriterHandle,
    shared: &'a Shared,
    now: Now,
    until: Duration,
    /// A table was handed over.
    gave: bool,
}

impl Round<'_> {
    /// Hands over what has changed in a cell that has given some rows before; gives how many those are now, if
    /// there is no room or no time for the others.
    fn flush(&mut self, cell: &mut Cell, before: usize) -> Option<usize> {
        let clock_ms = cell.clock.advance(self.now)?;
        let moment = Moment { clock_ms, batches: self.batches };
        if cell.sight == Sight::Withheld {
            if !may_show(cell, self.shared, self.now) {
                // Rows that nobody may see stay in the plugin, the last ones of tokens among them.
                cell.note_handed(moment);
                return None;
            }
            cell.sight = Sight::Visible;
            cell.touch_all(self.tokens);
        }
        if cell.clock.take_final(self.now) {
            cell.touch_all(self.tokens);
        }
        // Rows that are compared must be of one moment.
        let compared = self.trials.iter().any(|trial| trial.compares(cell).is_some());
        let mut given = 0;
        loop {
            if before + given > cell.known.len() {
                // More than had changed at first, since trades go on: the others have their turn.
                return None;
            }
            let full = cell.sight == Sight::Visible && !self.writer.has_room();
            let until = self.until + if compared { COMPARED_FOR } else { Duration::ZERO };
            let late = self.gave && self.shared.clock.monotonic() >= until;
            if full || late {
                return Some(before + given);
            }
            let Some(table) = cell.flush(clock_ms, CHUNK_ROWS, self.tokens) else {
                break;
            };
            self.gave = true;
            given += table.tokens.len();
            self.hand_over(cell, &table, moment);
            if !table.more {
                break;
            }
        }
        self.finish(cell, moment);
        None
    }

    /// Hands the rows of a table to the writer, and lets go of the tokens that the plugin has forgotten.
    fn hand_over(&mut self, cell: &mut Cell, table: &Table, moment: Moment) {
        let rows = visible_rows(self.of.0, cell, self.tokens, table, moment, self.trials, self.shared);
        if rows.is_some() {
            cell.note_written(&table.tokens, moment.clock_ms, self.now);
        }
        let kept = cell.keeps_removals(&self.shared.rules);
        let forget = |&number: &u32| cell.forgotten(number, kept, self.tokens);
        let forgotten = table.forgotten.iter().filter_map(forget);
        match rows {
            // With the last rows, so that no crash can leave the tokens on the active list.
            Some((mut chunk, messages)) => {
                chunk.forgotten.extend(forgotten);
                self.writer.send(Outgoing::Rows { chunk, messages });
            }
            None => self.gone.extend(forgotten),
        }
    }

    /// After all rows of a cell: nothing in it is changed now.
    fn finish(&mut self, cell: &mut Cell, moment: Moment) {
        cell.note_handed(moment);
        if !cell.keeps_removals(&self.shared.rules) {
            cell.let_go(self.tokens);
        }
        self.trials.iter_mut().for_each(|trial| trial.flushed(cell, moment));
        if cell.sight == Sight::Visible && self.writer.has_room() {
            // What was changed is with the writer: rows that must stand in the store.
            let clock_ms = moment.clock_ms;
            let (tokens, writer) = (&mut *self.tokens, self.writer);
            let gone = audit::compare(self.of, cell, self.sample, clock_ms, tokens, writer, self.shared);
            self.gone.extend(gone);
        }
    }
}

impl Cell {
    fn note_handed(&mut self, moment: Moment) {
        self.handed = Some(Handed { moment, vector: self.clock.vector().collect() });
    }
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
        if let Some(ancestor) = cell.running.ancestor.as_ref().filter(|_| leading && rules.messages) {
            messages.push(ancestor.message(&token.text, table, index, clock_ms));
        }
    }
    (!chunk.rows.is_empty()).then(|| (Box::new(chunk), messages))
}

/// For each partition the smallest offset up to which all visible cells have handed their rows over; none
/// where one has handed over nothing. Suspended cells hold nobody back, nor does one that failed, while others go on.
fn smallest_vector(cells: &[Cell]) -> Vec<(i32, i64)> {
    let shown = |cell: &&Cell| cell.sight != Sight::Hidden;
    let active = |cell: &&Cell| shown(cell) && cell.is_active();
    let any_active = cells.iter().any(|cell| active(&cell));
    if !any_active && cells.iter().filter(shown).any(|cell| cell.recovery.suspended_by().is_none()) {
        // What a failed one had not handed over comes after it is put back.
        return Vec::new();
    }
    let mut vector: Vec<(i32, i64)> = Vec::new();
    for cell in cells.iter().filter(|cell| !any_active || active(cell)) {
        let Some(handed) = &cell.handed else {
            return Vec::new();
        };
        for &(partition, next) in &handed.vector {
            match vector.iter_mut().find(|(known, _)| *known == partition) {
                Some((_, smallest)) => *smallest = next.min(*smallest),
                None => vector.push((partition, next)),
            }
        }
    }
    vector
}
