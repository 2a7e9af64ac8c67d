//! The worker's end of a shard's writer: what waits for room, and what the writer tells.
//!
//! Invariant: nothing is sent where there is no room, and nothing that is owed is forgotten.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::super::shard::Shard;
use super::{News, Outgoing};
use crate::results::LEADING_KEY;
use crate::store::{CheckpointPiece, Chunk, Owner, Removal, Sweep, removed_at_once};

/// The worker's end of a shard's writer.
pub(in super::super) struct WriterHandle {
    queue: mpsc::Sender<Outgoing>,
    state: RefCell<Owed>,
    news: Arc<Mutex<News>>,
}

/// What waits for the next flush to travel with.
#[derive(Default)]
struct Owed {
    removals: Vec<Arc<str>>,
    /// Tokens whose results go as well.
    evicted: Vec<Arc<str>>,
    vector: Vec<(i32, i64)>,
}

impl WriterHandle {
    pub(in super::super) fn new(queue: mpsc::Sender<Outgoing>, news: Arc<Mutex<News>>) -> Self {
        Self { queue, state: RefCell::default(), news }
    }

    /// Whether a message would be taken now. Only the shard's worker sends, so the answer stays true.
    pub(in super::super) fn has_room(&self) -> bool {
        self.queue.capacity() > 0
    }

    /// Hands over what `has_room` has promised to take.
    pub(in super::super) fn send(&self, outgoing: Outgoing) {
        // A closed queue means that the writer was given up at a shutdown.
        drop(self.queue.try_send(outgoing));
    }

    /// Writes nothing, so that the writer finds out whether the store still has what it accepted.
    pub(in super::super) fn probe(&self, shard: u32) {
        let chunk = Chunk::new(shard, LEADING_KEY.into(), false, 0, None);
        self.send(Outgoing::Rows { chunk: Box::new(chunk), messages: Vec::new() });
    }

    /// Remembers tokens that must leave the active list.
    pub(in super::super) fn owe_removals(&self, gone: Vec<Arc<str>>) {
        self.state.borrow_mut().removals.extend(gone);
    }

    /// Remembers tokens whose results must go.
    pub(in super::super) fn owe_evicted(&self, gone: Vec<Arc<str>>) {
        self.state.borrow_mut().evicted.extend(gone);
    }

    /// Whether tokens have not left the active list yet, that no checkpoint made from now on names.
    pub(in super::super) fn owes_removals(&self) -> bool {
        let owed = self.state.borrow();
        !owed.removals.is_empty() || !owed.evicted.is_empty()
    }

    /// Hands removals over, where there is room; the last rows of these tokens went before.
    pub(in super::super) fn pay_removals(&self, shard: &Shard) {
        let mut state = self.state.borrow_mut();
        while !state.evicted.is_empty() && self.has_room() {
            let tokens = shard.still_gone(removed_at_once(&mut state.evicted));
            if !tokens.is_empty() {
                self.remove(shard, tokens, false);
            }
        }
        while !state.removals.is_empty() && self.has_room() {
            let mut chunk = Chunk::new(shard.id, LEADING_KEY.into(), true, 0, None);
            chunk.forgotten = shard.still_gone(removed_at_once(&mut state.removals));
            self.send(Outgoing::Rows { chunk: Box::new(chunk), messages: Vec::new() });
        }
    }

    /// Hands over tokens whose results are removed; with `only_list`, which only leave the active list where
    /// no result is stored. There must be room.
    pub(in super::super) fn remove(&self, shard: &Shard, tokens: Vec<Arc<str>>, only_list: bool) {
        let (owner, result_keys) = (Owner::NOBODY, shard.result_keys());
        self.send(Outgoing::Removal(Removal { shard: shard.id, owner, tokens, result_keys, only_list }));
    }

    /// Hands over pieces of checkpoints to be removed. There must be room.
    pub(in super::super) fn sweep(&self, shard: u32, pieces: Vec<CheckpointPiece>) {
        self.send(Outgoing::Sweep(Sweep { shard, owner: Owner::NOBODY, pieces }));
    }

    /// Ends a flush: what is owed travels behind the rows. Says whether there was room for all of it.
    pub(in super::super) fn finish_flush(&self, shard: &Shard, vector: Vec<(i32, i64)>) -> bool {
        self.pay_removals(shard);
        let owes = self.owes_removals();
        let mut owed = self.state.borrow_mut();
        let news = !vector.is_empty() && owed.vector != vector;
        if !owes && news && self.has_room() {
            owed.vector.clone_from(&vector);
            self.send(Outgoing::Position(vector));
            return true;
        }
        !owes && !news
    }

    /// Whether nothing waits. Something may be under way: that ends when the task is joined.
    pub(in super::super) fn is_idle(&self) -> bool {
        self.queue.capacity() == self.queue.max_capacity() && !self.owes_removals()
    }

    /// Takes what has happened since it was last asked.
    pub(in super::super) fn news(&self) -> News {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        News {
            loaded: news.loaded.take(),
            committed: std::mem::take(&mut news.committed),
            reloaded: std::mem::take(&mut news.reloaded),
            lineage: news.lineage,
            lost: news.lost,
        }
    }
}
