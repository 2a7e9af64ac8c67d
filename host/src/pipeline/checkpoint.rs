//! Checkpoints of one cell: its state in pages, taken between batches, and put back at a start.
//!
//! A checkpoint is a part: the whole state where there is none yet, what changed since the last one
//! otherwise. Parts pile up until their changes outweigh the whole, which is then written anew. While a
//! part has more than one page, batches go on between pages, and a further round fetches what they
//! changed; the round that fits one page is taken at one moment, and the vector with it.
//!
//! Not for the store's keys. Invariant: state and vector of a checkpoint are of the same moment, and a
//! plugin forgets a removal only when a checkpoint that names it is known to be stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::cell::Cell;
use super::ground::{Ground, checkpoint_name};
use super::moved::Moved;
use super::page::StatePage;
use super::rounds::Rounds;
use super::tokens::Tokens;
use crate::plugin::contract::Page;
use crate::plugin::{PluginError, Stage};
use crate::store::{Commit, Head, Owner, Part, StagedPage};

/// How large checkpoints and their parts get; a simulation makes them small.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many bytes a page has, about; doubled twice with every further round, so that rounds end.
    pub page_bytes: u32,
    /// Changes may outweigh the whole state by this much before it is written anew.
    pub slack_bytes: u64,
    /// The most parts of a checkpoint: a start reads all of them.
    pub parts: usize,
    /// More removals than this are not kept for a checkpoint that cannot be written.
    pub removals: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { page_bytes: 256 << 10, slack_bytes: 1 << 20, parts: 64, removals: 100_000 }
    }
}

/// What a cell starts from.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) head: Head,
    /// Its state; none where it does not fit what runs now, and is only to be replaced.
    pub(super) pages: Option<Vec<StatePage>>,
    /// Where the state comes from the shards of a former layout: what of the stream is in it.
    pub(super) moved: Option<Moved>,
}

impl Saved {
    /// A checkpoint of this shard's own.
    pub(super) fn own(head: Head, pages: Option<Vec<StatePage>>) -> Self {
        Self { head, pages, moved: None }
    }
}

/// The checkpoints of one cell: the last one that is stored, and the one being taken.
#[derive(Debug, Default)]
pub(super) struct Job {
    /// The generation that the stored checkpoint covers; 0: the next one holds the whole state.
    since: u64,
    /// What is stored.
    stored: Stored,
    /// Numbers the parts.
    last_part: u64,
    /// When the next one is due, in monotonic milliseconds.
    due_ms: u64,
    under_way: Option<UnderWay>,
    /// How far partitions were decoded, by the last checkpoint: the one that the cell comes from, or its own.
    decoded: BTreeMap<i32, i64>,
}

#[derive(Debug, Default)]
struct Stored {
    parts: Vec<Part>,
    /// The bytes of the first part, and of all others.
    whole_bytes: u64,
    change_bytes: u64,
    vector: Vec<(i32, i64)>,
}

/// A checkpoint being taken.
#[derive(Debug)]
struct UnderWay {
    began_ms: u64,
    /// Whether it holds the whole state.
    whole: bool,
    part: Part,
    bytes: u64,
    rounds: Rounds,
    /// The last page is with the writer: what the checkpoint carries.
    closing: Option<Closing>,
}

#[derive(Debug)]
struct Closing {
    vector: Vec<(i32, i64)>,
    parting: Vec<u32>,
}

/// A piece of a checkpoint for the writer.
#[derive(Debug)]
pub(super) enum Piece {
    /// A page; more follow.
    Page(StagedPage),
    /// The end.
    Commit(Box<Commit>),
}

/// A checkpoint that is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) bytes: u64,
    pub(super) took_ms: u64,
    pub(super) whole: bool,
}

/// What a step needs to know besides the cell.
pub(super) struct Circumstances<'a> {
    pub(super) shard: u32,
    pub(super) interval: Duration,
    pub(super) now_ms: u64,
    /// Wall time in unix milliseconds.
    pub(super) wall_ms: i64,
    /// How far decoding and the delivery of dead letters got.
    pub(super) decoded: &'a dyn Fn() -> Vec<(i32, i64)>,
    /// Which layout of shards the state belongs to.
    pub(super) layout: &'a str,
    /// Which topic the offsets count, and how the store calls the checkpoint.
    pub(super) ground: &'a Ground,
    pub(super) bounds: Bounds,
}

impl Job {
    /// Has the next checkpoint replace a stored one.
    pub(super) fn replaces(&mut self, head: &Head) {
        self.last_part = head.parts.iter().map(|part| part.id).max().unwrap_or(0);
        self.stored = Stored { parts: head.parts.clone(), ..Stored::default() };
    }

    /// The job of a new version of the plugin: its first checkpoint replaces the former one's.
    pub(super) fn handed_over(self) -> Self {
        let stored = Stored { parts: self.stored.parts, ..Stored::default() };
        Self { last_part: self.last_part, stored, decoded: self.decoded, ..Self::default() }
    }

    /// Whether a checkpoint was stored.
    pub(super) fn has_stored(&self) -> bool {
        self.since > 0
    }

    /// Starts from a stored checkpoint: the next one writes the whole state again and replaces it.
    pub(super) fn restored(&mut self, head: &Head) {
        self.replaces(head);
        self.decoded = head.decoded.iter().copied().collect();
    }

    /// How far partitions had been decoded, counted and judged when the last checkpoint was taken.
    pub(super) fn decoded(&self) -> &BTreeMap<i32, i64> {
        &self.decoded
    }

    /// How far they are now. Of one that this process has not come to yet the last checkpoint knows.
    fn decoded_by_now(&mut self, here: Vec<(i32, i64)>) -> Vec<(i32, i64)> {
        self.decoded.extend(here);
        self.decoded.iter().map(|(&partition, &next)| (partition, next)).collect()
    }

    /// Sets when the first one is due.
    pub(super) fn schedule(&mut self, due_ms: u64) {
        self.due_ms = due_ms;
    }

    /// Whether a step is due now.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        match &self.under_way {
            Some(job) => job.closing.is_none(),
            None => now_ms >= self.due_ms,
        }
    }

    /// Whether a checkpoint is being taken or written.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The vector of the stored checkpoint.
    pub(super) fn stored_vector(&self) -> &[(i32, i64)] {
        &self.stored.vector
    }

    /// Whether nothing was taken since the stored checkpoint, nor decoded of the partitions that the cell takes.
    pub(super) fn covers(&self, cell: &Cell, decoded: &[(i32, i64)]) -> bool {
        let known = |partition: &i32| cell.clock.next(*partition).is_some();
        let mut decoded = decoded.iter().filter(|(partition, _)| known(partition));
        self.since > 0
            && self.stored.vector == cell.clock.vector().collect::<Vec<_>>()
            && decoded.all(|(partition, next)| self.decoded.get(partition) >= Some(next))
    }

    /// The store has lost what was written: the next checkpoint holds everything. Returns the removals
    /// that the lost one carried.
    pub(super) fn start_over(&mut self) -> Vec<u32> {
        self.since = 0;
        self.due_ms = 0;
        let closing = self.under_way.take().and_then(|job| job.closing);
        closing.map(|closing| closing.parting).unwrap_or_default()
    }

    fn begin(&mut self, now: &Circumstances<'_>) {
        let outweighed = self.stored.change_bytes > self.stored.whole_bytes + now.bounds.slack_bytes;
        let whole = self.since == 0 || outweighed || self.stored.parts.len() >= now.bounds.parts;
        // Never the number of a part that a former cell of this plugin has left in the store.
        self.last_part = now.wall_ms.unsigned_abs().max(self.last_part + 1);
        let since = if whole { 0 } else { self.since };
        self.under_way = Some(UnderWay {
            began_ms: now.now_ms,
            whole,
            part: Part { id: self.last_part, pages: 0 },
            bytes: 0,
            rounds: Rounds::new(since, now.bounds.page_bytes, 0),
            closing: None,
        });
    }

    /// Notes that the checkpoint under way is stored; returns what it came to, the generation up to
    /// which removals may be forgotten, and the numbers of the tokens that it removed.
    pub(super) fn stored(&mut self, now: &Circumstances<'_>) -> Option<(Taken, u64, Vec<u32>)> {
        let job = self.under_way.take()?;
        let closing = job.closing?;
        self.since = job.rounds.generation;
        self.stored.vector = closing.vector;
        if job.whole {
            (self.stored.whole_bytes, self.stored.change_bytes) = (job.bytes, 0);
            self.stored.parts.clear();
        } else {
            self.stored.change_bytes += job.bytes;
        }
        self.stored.parts.extend((job.part.pages > 0).then_some(job.part));
        self.due_ms = (job.began_ms + millis(now.interval)).max(now.now_ms);
        let took_ms = now.now_ms.saturating_sub(job.began_ms);
        Some((Taken { bytes: job.bytes, took_ms, whole: job.whole }, job.rounds.generation, closing.parting))
    }

    /// Gives up what cannot be taken: the cell is suspended.
    fn abandon(&mut self, now: &Circumstances<'_>) {
        self.under_way = None;
        self.due_ms = now.now_ms + millis(now.interval);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Takes one step of a cell's checkpoint: exports a page and makes a piece of it for the writer, which
/// must have room. None where nothing is to be written.
pub(super) fn step(cell: &mut Cell, tokens: &mut Tokens, now: &Circumstances<'_>) -> Option<Piece> {
    if !cell.job.is_under_way() {
        if !cell.is_active() || !cell.clock.is_known() || cell.job.covers(cell, &(now.decoded)()) {
            cell.job.due_ms = now.now_ms + millis(now.interval);
            return None;
        }
        cell.job.begin(now);
    }
    let mut rounds = cell.job.under_way.as_ref()?.rounds;
    let turn = rounds.step(cell, tokens);
    let saved = turn.as_ref().and_then(|turn| saved(cell, &turn.page, tokens));
    let (Some(turn), Some(saved)) = (turn, saved) else {
        cell.job.abandon(now);
        return None;
    };
    cell.job.under_way.as_mut()?.rounds = rounds;
    let bytes = if saved.is_empty() { Vec::new() } else { saved.encode() };
    advance(cell, turn.is_last, bytes, now)
}

/// A page as it is stored; none, and the cell has failed, where it is none.
fn saved(cell: &mut Cell, page: &Page, tokens: &mut Tokens) -> Option<StatePage> {
    let saved = StatePage::of(page, tokens);
    if saved.is_none() {
        let words = "exports columns that do not fit each other, or removals of tokens that nobody knows";
        cell.fail(PluginError::new(cell.running.name(), Stage::Export, words), tokens);
    }
    saved
}

/// Moves a checkpoint on by a page that was exported, perhaps the last one: state and vector are then of one moment.
fn advance(cell: &mut Cell, is_last: bool, bytes: Vec<u8>, now: &Circumstances<'_>) -> Option<Piece> {
    let plugin = checkpoint_name(now.ground.layout_id, cell.running.name());
    let job = cell.job.under_way.as_mut()?;
    let staged = (!bytes.is_empty()).then(|| {
        job.bytes += bytes.len() as u64;
        job.part.pages += 1;
        let index = job.part.pages - 1;
        let plugin = Arc::clone(&plugin);
        StagedPage { shard: now.shard, owner: Owner::NOBODY, plugin, part: job.part.id, index, bytes }
    });
    if is_last { Some(close(cell, plugin, staged, now)) } else { staged.map(Piece::Page) }
}

fn close(cell: &mut Cell, plugin: Arc<str>, last_page: Option<StagedPage>, now: &Circumstances<'_>) -> Piece {
    let mut head = Head {
        format: Head::FORMAT,
        layout: now.layout.to_owned(),
        topic_id: now.ground.topic_id.as_deref().map(str::to_owned),
        digest: cell.running.digest.to_string(),
        configuration: cell.running.configuration.to_string(),
        state_version: cell.running.plugin.description().state_version,
        horizon_ms: cell.running.settings.horizon_ms,
        step_ms: cell.running.settings.step_ms,
        clock_ms: cell.clock.now_ms(),
        marks: cell.clock.save(),
        sources: cell.clock.save_sources(),
        decoded: cell.job.decoded_by_now((now.decoded)()),
        parts: Vec::new(),
        bytes: 0,
        quarantined: Vec::new(),
    };
    let vector: Vec<(i32, i64)> = cell.clock.vector().collect();
    head.quarantined = cell.recovery.quarantined_after(&vector);
    let parting = cell.take_parting();
    let stored = &cell.job.stored;
    let mut replaced = Vec::new();
    if let Some(job) = cell.job.under_way.as_mut() {
        if job.whole {
            replaced.clone_from(&stored.parts);
        } else {
            head.parts.clone_from(&stored.parts);
            head.bytes = stored.whole_bytes + stored.change_bytes;
        }
        head.parts.extend((job.part.pages > 0).then_some(job.part));
        head.bytes += job.bytes;
        job.closing = Some(Closing { vector, parting });
    }
    Piece::Commit(Box::new(Commit {
        shard: now.shard,
        owner: Owner::NOBODY,
        plugin,
        head,
        last_page,
        replaced,
    }))
}

/// Drops removals that wait for a store which is away for too long; the next checkpoint is a whole one.
pub(super) fn bound_removals(cell: &mut Cell, tokens: &mut Tokens, bounds: Bounds) {
    if cell.waiting_removals() <= bounds.removals || cell.job.is_under_way() || cell.giving {
        return;
    }
    cell.job.start_over();
    cell.let_go(tokens);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_knows_what_was_decoded_of_a_partition_that_its_process_has_not_come_to_yet() {
        let mut job = Job::default();
        job.restored(&Head { decoded: vec![(0, 369), (1, 20)], ..Head::default() });
        assert_eq!(job.decoded_by_now(vec![(1, 25)]), [(0, 369), (1, 25)]);
        assert_eq!(job.handed_over().decoded_by_now(Vec::new()), [(0, 369), (1, 25)]);
    }
}
