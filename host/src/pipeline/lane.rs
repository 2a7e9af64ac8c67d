//! Lanes: one bounded queue for each partition, from the source to the worker that decodes it, and
//! the front by which a backlog is read in event-time order.
//!
//! Invariant: the partition at the front never waits for another one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::batch::{Feed, Fetch, Progress};
use super::worker::WorkerHandle;

/// Wakes the source when a lane has room again.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// The source's end of a lane.
pub struct LaneSender {
    queue: Sender<Fetch>,
    worker: WorkerHandle,
}

/// The worker's end of a lane.
pub struct Lane {
    /// The partition whose batches travel here.
    pub partition: i32,
    /// Which reader fills it.
    pub feed: Feed,
    queue: Receiver<Fetch>,
    waker: Waker,
    /// The largest event time decoded so far.
    pub newest_ms: Option<i64>,
    /// Where the partition stood behind the batch taken last.
    pub progress: Progress,
    /// What lies before this offset was decoded, counted and judged by a process that ended since.
    pub decoded: i64,
}

/// Makes a lane that holds that many batches.
pub fn lane(
    partition: i32,
    feed: Feed,
    capacity: usize,
    decoded: i64,
    worker: WorkerHandle,
    waker: Waker,
) -> (LaneSender, Lane) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    (
        LaneSender { queue: sender, worker },
        Lane {
            partition,
            feed,
            queue: receiver,
            waker,
            newest_ms: None,
            progress: Progress::Behind,
            decoded,
        },
    )
}

impl LaneSender {
    /// Hands a batch over, or gives it back where the lane is full. A lane that was given up takes
    /// and drops everything.
    pub fn offer(&self, fetch: Fetch) -> Result<(), Fetch> {
        match self.queue.try_send(fetch) {
            Ok(()) => {
                self.worker.wake();
                Ok(())
            }
            Err(TrySendError::Full(fetch)) => Err(fetch),
            Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// Whether a batch would be taken now.
    pub fn has_room(&self) -> bool {
        !self.queue.is_full()
    }

    /// Whether all batches were taken.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Lane {
    /// Takes the next batch, if there is one.
    pub fn take(&self) -> Option<Fetch> {
        let fetch = self.queue.try_recv().ok()?;
        (self.waker)();
        Some(fetch)
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// What a partition contributes to the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Contribution {
    /// Nothing read yet: everybody waits for it.
    Unread,
    /// Reading its backlog, up to this event time.
    Behind(i64),
    /// At its end: waits for nobody and holds nobody.
    Free,
}

/// How far each assigned partition has been taken, by event time.
#[derive(Debug)]
pub struct Front {
    /// How far a partition may be ahead of the smallest, in milliseconds; none: no alignment.
    align_ms: Option<i64>,
    contributions: Mutex<BTreeMap<i32, Contribution>>,
}

impl Front {
    /// A front without partitions.
    pub fn new(align_ms: Option<i64>) -> Self {
        Self { align_ms, contributions: Mutex::default() }
    }

    fn with<R>(&self, act: impl FnOnce(&mut BTreeMap<i32, Contribution>) -> R) -> R {
        act(&mut self.contributions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a partition in, with nothing read.
    pub fn assign(&self, partition: i32) {
        self.with(|all| all.insert(partition, Contribution::Unread));
    }

    /// Leaves a partition out: revoked, or not to be fetched.
    pub fn leave(&self, partition: i32) {
        self.with(|all| all.remove(&partition));
    }

    /// Notes what was taken from a lane.
    pub fn note(&self, partition: i32, newest_ms: Option<i64>, progress: Progress) {
        let contribution = match (progress, newest_ms) {
            (Progress::Live | Progress::End, _) => Contribution::Free,
            (Progress::Behind, Some(newest_ms)) => Contribution::Behind(newest_ms),
            (Progress::Behind, None) => Contribution::Unread,
        };
        self.with(|all| all.insert(partition, contribution));
    }

    /// Whether the next batch of a partition may be taken.
    pub fn admits(&self, partition: i32) -> bool {
        let Some(align_ms) = self.align_ms else {
            return true;
        };
        self.with(|all| {
            let Some(&Contribution::Behind(own_ms)) = all.get(&partition) else {
                return true;
            };
            match all.values().min() {
                Some(Contribution::Unread) => false,
                Some(&Contribution::Behind(front_ms)) => own_ms.saturating_sub(front_ms) <= align_ms,
                Some(Contribution::Free) | None => true,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_far_ahead_of_the_front_waits_and_the_front_never_does() {
        let front = Front::new(Some(10_000));
        front.assign(0);
        front.assign(1);
        assert!(front.admits(0) && front.admits(1));
        front.note(0, Some(50_000), Progress::Behind);
        assert!(!front.admits(0), "partition 1 has not been read");
        assert!(front.admits(1));
        front.note(1, Some(39_999), Progress::Behind);
        assert!(!front.admits(0));
        assert!(front.admits(1));
        front.note(1, Some(40_000), Progress::Behind);
        assert!(front.admits(0));
        front.note(1, Some(40_000), Progress::Live);
        assert!(front.admits(0), "a live partition holds nobody");
    }

    #[test]
    fn without_alignment_nobody_waits() {
        let front = Front::new(None);
        front.assign(0);
        front.assign(1);
        front.note(0, Some(50_000), Progress::Behind);
        assert!(front.admits(0));
    }
}
