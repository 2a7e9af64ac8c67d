//! The writer of one shard: takes chunks in order and does not rest until the store has them.
//!
//! Not for encoding. Invariant: one chunk is under way at a time, so that results of a token reach
//! the store in the order in which they were made; a chunk is given up only when another process
//! owns the shard, or at a shutdown that has run out of time.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::board::Board;
use super::shard::Shard;
use super::worker::{Event, WorkerHandle};
use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::results::Message;
use crate::store::{Action, Chunk, Owner, Store, StoreError};

/// How many chunks wait for the store: one is under way, one is ready.
const QUEUE: usize = 2;
/// What a failing write is called in the health report.
const WRITES: &str = "writes";
/// The first and the longest wait between two tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Where the Kafka output goes; resolves when the broker has the messages.
pub trait Publisher: Send + Sync {
    /// Publishes messages, or says why they could not be.
    fn publish(
        &self,
        messages: Vec<Message>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

/// What a writer is asked to write.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Rows; none when only removals or a vector are news.
    pub chunk: Chunk,
    /// Messages for the Kafka output.
    pub messages: Vec<Message>,
    /// How far the shard has come when this is written.
    pub vector: Vec<(i32, i64)>,
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
}

/// The worker's end of a shard's writer.
pub(super) struct WriterHandle {
    queue: mpsc::Sender<Outgoing>,
    state: RefCell<Owed>,
}

/// What waits for the next chunk to travel with.
#[derive(Default)]
struct Owed {
    removals: Vec<Arc<str>>,
    vector: Vec<(i32, i64)>,
}

/// Starts the writer of a shard; the task ends when the handle is dropped and all is written.
pub(super) fn start(
    shard: u32,
    context: Arc<WriterContext>,
    worker: WorkerHandle,
    runtime: &tokio::runtime::Handle,
) -> (WriterHandle, tokio::task::JoinHandle<()>) {
    let (queue, receiver) = mpsc::channel(QUEUE);
    let writer = Writer { shard, context, worker, owner: None, lost: false };
    (WriterHandle { queue, state: RefCell::default() }, runtime.spawn(writer.run(receiver)))
}

impl WriterHandle {
    /// Whether a chunk would be taken now. Only the shard's worker sends, so the answer stays true.
    pub(super) fn has_room(&self) -> bool {
        self.queue.capacity() > 0
    }

    /// Hands over what `has_room` has promised to take.
    pub(super) fn send(&self, outgoing: Outgoing) {
        // A closed queue means that the writer was given up at a shutdown.
        drop(self.queue.try_send(outgoing));
    }

    /// Remembers tokens that must leave the active list with the next chunk.
    pub(super) fn owe_removals(&self, gone: Vec<Arc<str>>) {
        self.state.borrow_mut().removals.extend(gone);
    }

    /// Ends a flush: what is owed travels behind the rows.
    pub(super) fn finish_flush(&self, shard: &Shard, vector: Vec<(i32, i64)>) {
        let mut owed = self.state.borrow_mut();
        let removals = std::mem::take(&mut owed.removals);
        if !self.has_room() {
            owed.removals = removals;
            return;
        }
        if removals.is_empty() && owed.vector == vector {
            return;
        }
        let mut chunk = Chunk::new(shard.id, super::flush::LEADING_KEY.into(), true, 0, None);
        chunk.forgotten = shard.still_gone(removals);
        owed.vector.clone_from(&vector);
        self.send(Outgoing { chunk, messages: Vec::new(), vector });
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.capacity() == self.queue.max_capacity()
    }
}

/// The task behind a handle.
struct Writer {
    shard: u32,
    context: Arc<WriterContext>,
    worker: WorkerHandle,
    owner: Option<Owner>,
    /// Another process owns the shard: everything is dropped and counted.
    lost: bool,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Outgoing>) {
        while let Some(mut outgoing) = queue.recv().await {
            let written = self.write(&mut outgoing).await;
            if written {
                self.publish(std::mem::take(&mut outgoing.messages)).await;
                self.context.board.accept(self.shard, &outgoing.vector);
            }
            self.worker.wake();
        }
        self.context.health.clear(Part::Redis, &self.topic());
    }

    /// Writes a chunk, however long it takes; false when the shard is not ours any more.
    async fn write(&mut self, outgoing: &mut Outgoing) -> bool {
        let chunk = &mut outgoing.chunk;
        if chunk.rows.is_empty() && chunk.forgotten.is_empty() {
            return !self.lost;
        }
        let mut wait = BACKOFF.0;
        loop {
            if self.lost {
                self.context.metrics.fenced_writes.inc();
                return false;
            }
            let began = Instant::now();
            let tried = self.try_write(chunk).await;
            self.context.metrics.store_call(began.elapsed(), tried.is_ok());
            match tried {
                Ok(()) => {
                    self.context.metrics.rows_written.inc_by(chunk.rows.len() as u64);
                    self.context.health.ok(Part::Redis, WRITES);
                    return true;
                }
                Err(error) if error.action() == Action::Skip => {
                    // Everything but the poisoned key is written.
                    self.context.health.fail(Part::Redis, WRITES, &error.to_string());
                    return true;
                }
                Err(error) => self.recover(&error, &mut wait).await,
            }
        }
    }

    async fn try_write(&mut self, chunk: &mut Chunk) -> Result<(), StoreError> {
        let owner = match self.owner {
            Some(owner) => owner,
            None => self.claim().await?,
        };
        chunk.owner = owner;
        self.context.store.write(chunk).await
    }

    async fn claim(&mut self) -> Result<Owner, StoreError> {
        let owner = self.context.store.claim(&format!("shard-{}", self.shard), self.context.owner_id).await?;
        self.owner = Some(owner);
        self.context.board.shard(self.shard, |status| status.epoch = Some(owner.epoch));
        Ok(owner)
    }

    async fn recover(&mut self, error: &StoreError, wait: &mut Duration) {
        match error.action() {
            Action::Fenced(None) => {
                // The store has forgotten who owns the shard, and with it, perhaps, every result.
                tracing::warn!(
                    shard = self.shard,
                    "Store forgot the shard's owner; claiming it again and rewriting"
                );
                self.owner = None;
                self.worker.post(Event::Rewrite { shard: self.shard }).await;
            }
            Action::Fenced(Some(owner)) => {
                self.lost = true;
                let words =
                    format!("shard {} is owned by another process (epoch {})", self.shard, owner.epoch);
                self.context.board.shard(self.shard, |status| status.epoch = None);
                self.context.health.fail(Part::Redis, &self.topic(), &words);
            }
            Action::Skip | Action::Retry => {
                self.context.health.fail(Part::Redis, WRITES, &error.to_string());
                tokio::time::sleep(*wait).await;
                *wait = (*wait * 2).min(BACKOFF.1);
            }
        }
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

    fn topic(&self) -> String {
        format!("shard {}", self.shard)
    }
}
