//! A shard that goes: what it has left is stored, step by step and within a deadline.
//!
//! Not for deciding which shards go. Invariant: the worker's other shards go on meanwhile, and a shard
//! that is not stored in time is said to be given up.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::super::Shared;
use super::super::cell_clock::Now;
use super::BATCH_WAITS;
use super::owned::Owned;

/// How long a shard waits for dead letters on their way: what its last checkpoint does not know of is sent again.
const LETTERS_WITHIN: Duration = Duration::from_millis(500);
/// How long the writer of a closed shard may take to end at least.
const JOIN_AT_LEAST: Duration = Duration::from_millis(100);

/// A closing shard.
pub(super) struct Closing {
    /// Its number.
    pub(super) shard: u32,
    /// When it is given up, by the monotonic clock.
    until: Duration,
    /// When it was first looked at: T stands, so that no row changes any more by time alone.
    now: Option<Now>,
    /// When it waits no more for dead letters; none before it was looked at.
    letters_until: Option<Duration>,
    /// Who is told that it is gone.
    done: Option<Sender<()>>,
    awaits: Awaits,
}

/// What a closing shard waits for.
enum Awaits {
    /// Rows and checkpoints.
    Storing(Box<Owned>),
    /// The end of its writer, which has been told to end.
    Ending(tokio::task::JoinHandle<()>),
    /// Nothing.
    Nothing,
}

impl Closing {
    pub(super) fn new(owned: Owned, until: Duration, done: Option<Sender<()>>) -> Self {
        let (shard, awaits) = (owned.shard.id, Awaits::Storing(Box::new(owned)));
        Self { shard, until, now: None, letters_until: None, done, awaits }
    }

    /// Shortens the time until it is given up.
    pub(super) fn end_by(&mut self, until: Duration) {
        self.until = until.min(self.until);
    }

    /// Goes on; says whether the shard is gone.
    pub(super) fn go_on(&mut self, shared: &Shared, now: Now) -> bool {
        let at = shared.clock.monotonic();
        let now = *self.now.get_or_insert(now);
        self.awaits = match std::mem::replace(&mut self.awaits, Awaits::Nothing) {
            Awaits::Storing(owned) => self.store(owned, shared, now, at),
            Awaits::Ending(task) => self.join(task, shared, at),
            Awaits::Nothing => Awaits::Nothing,
        };
        let gone = matches!(self.awaits, Awaits::Nothing);
        if let Some(done) = self.done.take_if(|_| gone) {
            done.send(()).ok();
        }
        gone
    }

    /// Gives up what is not stored yet.
    pub(super) fn give_up(self) {
        match self.awaits {
            Awaits::Storing(owned) => owned.task.abort(),
            Awaits::Ending(task) => task.abort(),
            Awaits::Nothing => {}
        }
        if let Some(done) = self.done {
            done.send(()).ok();
        }
    }

    fn store(&mut self, mut owned: Box<Owned>, shared: &Shared, now: Now, at: Duration) -> Awaits {
        owned.hear(shared, now);
        if owned.ready && owned.flush(shared, now, at + BATCH_WAITS) {
            owned.checkpoint(shared, now);
        }
        let letters_until = *self.letters_until.get_or_insert(at + LETTERS_WITHIN);
        let stored = owned.is_stored(shared) && (at >= letters_until || !owned.awaits_letters(shared));
        if !stored && at < self.until {
            owned.hurry();
            return Awaits::Storing(owned);
        }
        let Owned { writer, task, ready, .. } = *owned;
        if !ready {
            // It has taken nothing yet, and its writer waits for the store.
            task.abort();
            return Awaits::Nothing;
        }
        if !stored {
            self.tell_given_up(shared);
        }
        drop(writer);
        self.until = self.until.max(at + JOIN_AT_LEAST);
        Awaits::Ending(task)
    }

    fn join(&self, mut task: tokio::task::JoinHandle<()>, shared: &Shared, at: Duration) -> Awaits {
        match Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => return Awaits::Nothing,
            Poll::Pending if at < self.until => return Awaits::Ending(task),
            Poll::Pending | Poll::Ready(Err(_)) => {}
        }
        task.abort();
        self.tell_given_up(shared);
        Awaits::Nothing
    }

    fn tell_given_up(&self, shared: &Shared) {
        tracing::warn!(shard = self.shard, "Results not written in time; given up");
        shared.unwritten.store(true, Ordering::Relaxed);
    }
}
