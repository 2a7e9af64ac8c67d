//! The writer of one shard: takes what leaves it in order and does not rest until the store has it.
//!
//! Before that it makes this process the shard's owner and fetches the checkpoints of its cells. Not for
//! encoding. Invariant: one call is under way at a time, so that results of a token, and a checkpoint
//! behind them, reach the store in the order in which they were made; something is given up only when
//! another process owns the shard, when the store has forgotten what it builds on, or at a shutdown
//! that has run out of time.

mod handle;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::audit::{Audit, Difference};
use super::board::Board;
use super::cell::CellId;
use super::checkpoint::{Piece, Saved};
use super::load;
use super::worker::WorkerHandle;
use crate::backoff::Backoff;
use crate::clock::WallClock;
use crate::health::{Health, LEFT_OUT, Part, shard_topic};
use crate::metrics::Metrics;
use crate::results::Message;
use crate::store::{Action, Chunk, Owner, Removal, Store, StoreError, Sweep};
pub(super) use handle::WriterHandle;

/// How many messages wait for the store: one is under way, one is ready.
const QUEUE: usize = 2;
/// The first and the longest wait between two tries.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

/// Where the Kafka output goes; resolves when the broker has the messages.
pub trait Publisher: Send + Sync {
    /// Publishes messages, or says why they could not be.
    fn publish(
        &self,
        messages: Vec<Message>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

/// What a writer is asked to write.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// Rows, or tokens that leave the active list.
    Rows {
        /// For the store.
        chunk: Box<Chunk>,
        /// For the Kafka output.
        messages: Vec<Message>,
    },
    /// How far the shard has come when everything before is written.
    Position(Vec<(i32, i64)>),
    /// A piece of a cell's checkpoint.
    Checkpoint {
        /// The cell.
        cell: CellId,
        /// How often the store had forgotten when it was made.
        lineage: u64,
        /// The piece.
        piece: Piece,
    },
    /// Results that are removed.
    Removal(Removal),
    /// Pieces of checkpoints that are removed.
    Sweep(Sweep),
    /// Rows that are compared with what the store has.
    Audit(Audit),
    /// A question for the checkpoint of a cell that is put back to it.
    Reload {
        /// The cell.
        cell: CellId,
        /// What is asked for.
        wanted: load::Wanted,
    },
}

/// What all writers share.
pub struct WriterContext {
    /// The store.
    pub store: Arc<Store>,
    /// The Kafka output, where it is on.
    pub publisher: Option<Arc<dyn Publisher>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Readiness.
    pub health: Arc<Health>,
    /// Where accepted positions are posted.
    pub board: Arc<Board>,
    /// Random number of this process.
    pub owner_id: u128,
    /// Told when another process turns out to own a shard of ours: what this one has is void.
    pub fenced: Notify,
}

/// What the worker has not heard of yet.
#[derive(Debug, Default)]
pub(super) struct News {
    /// What the shard starts from.
    pub(super) loaded: Option<Loaded>,
    /// Cells whose checkpoint is stored.
    pub(super) committed: Vec<CellId>,
    /// What cells are put back to.
    pub(super) reloaded: Vec<(CellId, Option<Saved>)>,
    /// How often the store has forgotten what was written.
    pub(super) lineage: u64,
    /// Another process owns the shard: nothing more will be written.
    pub(super) lost: bool,
}

/// What a shard starts from.
#[derive(Debug)]
pub(super) struct Loaded {
    /// Its checkpoints, one for each cell.
    pub(super) cells: Vec<Option<Saved>>,
    /// Somebody owned the shard before, and may have shown results of it.
    pub(super) had_owner: bool,
}

/// Starts the writer of a shard; the task ends when the handle is dropped and all is written. `load`
/// names the plugins whose checkpoints are fetched first.
pub(super) fn start(
    shard: u32,
    context: Arc<WriterContext>,
    clock: Arc<WallClock>,
    worker: WorkerHandle,
    runtime: &tokio::runtime::Handle,
    load: load::Wanted,
) -> (WriterHandle, tokio::task::JoinHandle<()>) {
    let (queue, receiver) = mpsc::channel(QUEUE);
    let news: Arc<Mutex<News>> = Arc::default();
    let own_news = Arc::clone(&news);
    let writer = Writer {
        shard,
        context,
        clock,
        worker,
        news: own_news,
        owner: None,
        former: None,
        lost: false,
        failing: false,
        lineage: 0,
    };
    (WriterHandle::new(queue, news), runtime.spawn(writer.run(receiver, load)))
}

/// The task behind a handle.
struct Writer {
    shard: u32,
    context: Arc<WriterContext>,
    clock: Arc<WallClock>,
    worker: WorkerHandle,
    news: Arc<Mutex<News>>,
    owner: Option<Owner>,
    /// As whom it owned the shard before the store forgot; whoever has claimed it since goes first.
    former: Option<Owner>,
    /// Another process owns the shard: everything is dropped and counted.
    lost: bool,
    /// The store did not take what was written last.
    failing: bool,
    /// How often the store has forgotten; pieces of checkpoints that were made before are void.
    lineage: u64,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Outgoing>, load: load::Wanted) {
        let cells = self.load(&load).await;
        let had_owner = self.owner.is_some_and(|owner| owner.epoch > 1);
        self.tell(|news| news.loaded = Some(Loaded { cells, had_owner }));
        while let Some(outgoing) = queue.recv().await {
            self.take(outgoing).await;
            self.worker.wake();
        }
    }

    fn tell(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.worker.wake();
    }

    /// Becomes the owner and fetches the checkpoints, however long that takes.
    async fn load(&mut self, wanted: &load::Wanted) -> Vec<Option<Saved>> {
        let mut backoff = BACKOFF;
        loop {
            let fetched = match self.owner().await {
                Ok(_) => load::fetch(&self.context.store, self.shard, wanted).await,
                Err(error) => Err(error),
            };
            match fetched {
                Ok(saved) => {
                    self.works();
                    return saved;
                }
                Err(error) => self.recover(&error, &mut backoff).await,
            }
            if self.lost {
                return wanted.cells.iter().map(|_| None).collect();
            }
        }
    }

    async fn take(&mut self, mut outgoing: Outgoing) {
        match &mut outgoing {
            Outgoing::Position(vector) => {
                if !self.lost {
                    self.context.board.accept(self.shard, vector);
                }
            }
            Outgoing::Rows { messages, .. } => {
                let messages = std::mem::take(messages);
                if self.write(&mut outgoing).await {
                    self.publish(messages).await;
                }
            }
            &mut Outgoing::Checkpoint { cell, ref piece, .. } => {
                let ends = matches!(piece, Piece::Commit(_));
                if self.write(&mut outgoing).await && ends {
                    self.tell(|news| news.committed.push(cell));
                }
            }
            Outgoing::Removal(_) | Outgoing::Sweep(_) => {
                self.write(&mut outgoing).await;
            }
            Outgoing::Audit(audit) => {
                if let Some(mut rows) = self.compare(audit).await {
                    self.write(&mut rows).await;
                }
            }
            Outgoing::Reload { cell, wanted } if !self.lost => {
                let (cell, saved) = (*cell, self.load(wanted).await.pop().flatten());
                self.tell(|news| news.reloaded.push((cell, saved)));
            }
            Outgoing::Reload { .. } => {}
        }
    }

    /// Compares rows with what the store has; gives those that differ to be written. Where the store does not
    /// answer, or has forgotten more than these, there is nothing to compare.
    async fn compare(&mut self, audit: &mut Audit) -> Option<Outgoing> {
        audit.chunk.owner = self.owner.filter(|_| !self.lost && audit.lineage == self.lineage)?;
        let stored = match self.context.store.results(&audit.chunk).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::debug!(shard = self.shard, %error, "Results not compared");
                return None;
            }
        };
        let numbers = &self.context.metrics.maintenance;
        numbers.compared.inc_by(audit.chunk.rows.len() as u64);
        let differences = audit.differences(&stored);
        for Difference { token, memory, store } in &differences {
            numbers.differences.inc();
            tracing::error!(
                shard = self.shard, token = %token, result_key = %audit.chunk.result_key, memory, store,
                "The store has another result than memory; written again"
            );
        }
        let nothing = Chunk::new(self.shard, Arc::clone(&audit.chunk.result_key), false, 0, None);
        let chunk = std::mem::replace(&mut audit.chunk, Box::new(nothing));
        (!differences.is_empty()).then_some(Outgoing::Rows { chunk, messages: Vec::new() })
    }

    /// Writes something, however long it takes; false when it was given up.
    async fn write(&mut self, outgoing: &mut Outgoing) -> bool {
        let mut backoff = BACKOFF;
        loop {
            if self.lost {
                self.context.metrics.fenced_writes.inc();
                return false;
            }
            if matches!(outgoing, Outgoing::Checkpoint { lineage, .. } if *lineage != self.lineage) {
                return false;
            }
            let began = self.clock.monotonic();
            let tried = self.try_write(outgoing).await;
            self.context.metrics.store_call(self.clock.monotonic() - began, tried.is_ok());
            match tried {
                Ok(()) => {
                    self.count_rows(outgoing);
                    self.works();
                    return true;
                }
                Err(error) if error.action() == Action::Skip => {
                    // Everything but the poisoned key is written.
                    self.count_rows(outgoing);
                    self.works();
                    self.context.health.fail(Part::Redis, LEFT_OUT, &error.to_string());
                    return matches!(outgoing, Outgoing::Rows { .. });
                }
                Err(error) => self.recover(&error, &mut backoff).await,
            }
        }
    }

    fn count_rows(&self, written: &Outgoing) {
        if let Outgoing::Rows { chunk, .. } = written {
            self.context.metrics.rows_written.inc_by(chunk.rows.len() as u64);
        }
    }

    async fn try_write(&mut self, outgoing: &mut Outgoing) -> Result<(), StoreError> {
        let owner = self.owner().await?;
        let store = &self.context.store;
        match outgoing {
            Outgoing::Rows { chunk, .. } => {
                chunk.owner = owner;
                store.write(chunk).await
            }
            Outgoing::Checkpoint { piece: Piece::Page(page), .. } => {
                page.owner = owner;
                store.stage(page).await
            }
            Outgoing::Checkpoint { piece: Piece::Commit(commit), .. } => {
                commit.owner = owner;
                if let Some(page) = &mut commit.last_page {
                    page.owner = owner;
                }
                store.commit(commit).await
            }
            Outgoing::Removal(removal) => {
                removal.owner = owner;
                store.remove(removal).await
            }
            Outgoing::Sweep(sweep) => {
                sweep.owner = owner;
                store.sweep(sweep).await
            }
            Outgoing::Position(_) | Outgoing::Audit(_) | Outgoing::Reload { .. } => Ok(()),
        }
    }

    /// The record under which this process owns the shard, claimed where there is none yet.
    async fn owner(&mut self) -> Result<Owner, StoreError> {
        if let Some(owner) = self.owner {
            return Ok(owner);
        }
        let store = &self.context.store;
        let owner = match self.former {
            Some(former) => store.reclaim(self.shard, former).await?,
            None => store.claim(self.shard, self.context.owner_id).await?,
        };
        self.owner = Some(owner);
        self.context.board.shard(self.shard, |status| status.epoch = Some(owner.epoch));
        Ok(owner)
    }

    async fn recover(&mut self, error: &StoreError, backoff: &mut Backoff) {
        match error.action() {
            Action::Fenced(None) | Action::Regressed => {
                // The store has forgotten who owns the shard, or what it had accepted.
                tracing::warn!(shard = self.shard, %error, "Store forgot; claiming the shard and writing all again");
                self.context.metrics.store_forgot();
                self.former = self.owner.take().or(self.former);
                self.lineage += 1;
                let lineage = self.lineage;
                self.tell(|news| news.lineage = lineage);
            }
            Action::Fenced(Some(owner)) => {
                self.lost = true;
                let words =
                    format!("shard {} is owned by another process (epoch {})", self.shard, owner.epoch);
                self.context.board.shard(self.shard, |status| status.epoch = None);
                self.context.health.fail(Part::Redis, &shard_topic(self.shard), &words);
                self.tell(|news| news.lost = true);
                self.context.fenced.notify_one();
            }
            Action::Skip | Action::Retry => self.rest(error, backoff).await,
        }
    }

    /// Notes that the store takes what is written.
    fn works(&mut self) {
        if std::mem::take(&mut self.failing) {
            self.context.health.clear(Part::Redis, &shard_topic(self.shard));
        }
    }

    async fn rest(&mut self, error: &StoreError, backoff: &mut Backoff) {
        self.failing = true;
        self.context.health.fail(Part::Redis, &shard_topic(self.shard), &error.to_string());
        self.clock.sleep(backoff.next()).await;
    }

    async fn publish(&self, messages: Vec<Message>) {
        let Some(publisher) = self.context.publisher.as_ref().filter(|_| !messages.is_empty()) else {
            return;
        };
        if let Err(words) = publisher.publish(messages).await {
            self.context.health.fail(Part::Kafka, "output", &words);
        } else {
            self.context.health.ok(Part::Kafka, "output");
        }
    }
}

/// What it said of the store concerns nobody any more, however it ended.
impl Drop for Writer {
    fn drop(&mut self) {
        self.context.health.clear(Part::Redis, &shard_topic(self.shard));
    }
}
