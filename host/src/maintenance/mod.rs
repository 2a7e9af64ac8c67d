//! Regular upkeep: what was not written is written, what nobody needs any more goes, memory is compared with
//! the store and kept within its limit.
//!
//! One thread with time on its hands. It decides and waits; workers do what it asks between two batches, and
//! whatever is removed goes through the writer of a shard that this host owns. `round` is what is done every
//! `MAINTENANCE_INTERVAL`, `leftovers` its walk over the store, `limit` what happens when the plugins take too
//! much, `giving_back` what `POST /performance/gc` asks for. Not for the trade path. Invariant: nothing here
//! is needed for results to be right.

mod giving_back;
mod leftovers;
mod limit;
mod round;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;

pub use giving_back::GivenBack;
use leftovers::Walk;

use crate::metrics::MaintenanceCounts;
use crate::pipeline::upkeep::Upkeep;
use crate::pipeline::{Intake, Shared};
use crate::swap::Orders;
use crate::threads::joined;

/// How many requests wait.
const REQUESTS: usize = 2;
/// How often the memory of plugins is looked at, where it has a limit.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a shard may take for what it is asked; one that cannot write results takes for ever.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What maintenance works with.
pub struct Parts {
    /// The pipeline.
    pub intake: Intake,
    /// What leads changes of plugins, where they change.
    pub orders: Option<Orders>,
    /// How often everything is done.
    pub interval: Duration,
    /// A result that should have moved is stale when it was not written for so long.
    pub stale_threshold: Duration,
    /// The most linear memory of all visible cells.
    pub memory_limit: Option<u64>,
}

/// What asks for memory to be given back.
#[derive(Clone)]
pub struct Requests(Sender<oneshot::Sender<GivenBack>>);

impl Requests {
    /// Asks; the answer comes when it is done. None where others have asked for the same, or the service ends.
    pub fn give_back(&self) -> Option<oneshot::Receiver<GivenBack>> {
        let (answer, answered) = oneshot::channel();
        match self.0.try_send(answer) {
            Ok(()) => Some(answered),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => None,
        }
    }

    /// Requests that nobody hears, and what hears them instead.
    #[cfg(test)]
    pub(crate) fn pair() -> (Self, Receiver<oneshot::Sender<GivenBack>>) {
        let (sender, receiver) = crossbeam_channel::bounded(REQUESTS);
        (Self(sender), receiver)
    }
}

/// The running thread; ends when dropped.
pub struct Maintenance {
    requests: Requests,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Maintenance {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(parts: Parts) -> std::io::Result<Self> {
        let (requests, asked) = crossbeam_channel::bounded(REQUESTS);
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let work = Work {
            stopped,
            counts: parts.intake.shared().metrics.maintenance.counts(),
            parts,
            walk: Walk::default(),
            unmeasured: false,
        };
        let thread = thread::Builder::new().name("maintenance".to_owned()).spawn(move || work.run(&asked))?;
        Ok(Self { requests: Requests(requests), stop: Some(stop), thread: Some(thread) })
    }

    /// Has it end soon; dropping it waits for that.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Where memory is asked to be given back.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.stop();
        self.thread.take().map(joined);
    }
}

/// The state of the thread.
struct Work {
    parts: Parts,
    /// Disconnected when the end is near.
    stopped: Receiver<()>,
    /// What had been counted when that was last told.
    counts: MaintenanceCounts,
    /// Where the walk over the store goes on.
    walk: Walk,
    /// Tokens were forgotten, and no instance could be made anew since: measuring tells nothing before.
    unmeasured: bool,
}

impl Work {
    fn run(mut self, asked: &Receiver<oneshot::Sender<GivenBack>>) {
        let clock = Arc::clone(&self.shared().clock);
        let mut due = clock.monotonic() + self.parts.interval;
        loop {
            let until_due = due.saturating_sub(clock.monotonic());
            let wait = if self.parts.memory_limit.is_some() { until_due.min(LOOK_EVERY) } else { until_due };
            crossbeam_channel::select! {
                recv(self.stopped) -> _ => return,
                recv(asked) -> answer => if let Ok(answer) = answer {
                    answer.send(self.give_back()).ok();
                },
                default(wait) => {}
            }
            self.keep_within_limit();
            if clock.monotonic() >= due {
                self.round();
                due = clock.monotonic() + self.parts.interval;
            }
        }
    }

    fn shared(&self) -> &Shared {
        self.parts.intake.shared()
    }

    /// The shards that this host owns.
    fn shards(&self) -> Vec<u32> {
        self.shared().board.shards().into_keys().collect()
    }

    /// Asks something of a shard and waits for the answer; none where it was not done.
    fn ask<R>(&self, shard: u32, ask: impl FnOnce(Sender<R>) -> Upkeep) -> Option<R> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.parts.intake.keep(shard, ask(reply));
        self.wait(&answer)
    }

    /// Waits for an answer; none where there is none, or the service ends.
    fn wait<R>(&self, answer: &Receiver<R>) -> Option<R> {
        crossbeam_channel::select! {
            recv(answer) -> answer => answer.ok(),
            recv(self.stopped) -> _ => None,
            default(ANSWER_WITHIN) => None,
        }
    }

    /// Whether the end is near.
    fn ends(&self) -> bool {
        self.stopped.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected)
    }
}
