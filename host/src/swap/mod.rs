//! Plugins come, change and go while trades flow.
//!
//! One thread, the [`Conductor`], hears of candidates (from the directory and over HTTP), has them loaded in
//! the workshop, and leads each through its trial: prepared in every shard, shown, on probation, accepted;
//! or taken back. The shards do the work, see [`crate::pipeline::trial`]; the store's records say what a
//! restart runs, see [`Records`]. Invariant: each plugin has at most one change under way, and whatever goes
//! wrong before it is accepted, the version before it goes on, be it after a restart.

mod change;
mod conductor;
mod leading;
mod records;
mod status;
#[cfg(test)]
mod tests;
mod verdicts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::{oneshot, watch};

use crate::pipeline::Intake;
use crate::plugin::catalog::Running;
use crate::plugin::directory::{Change as FileChange, Watcher};
use crate::plugin::workshop::Workshop;
use crate::plugin::{Candidate, Refusal};
use crate::threads::joined;
use conductor::Work;
pub use records::Records;
pub use status::{Kind, Phases, PluginStatus, Swap, TrialStatus};

/// How many orders wait.
const ORDERS: usize = 16;

/// What is asked of the conductor.
#[derive(Debug)]
pub enum Order {
    /// Run this, whatever was refused before, with another probation than the usual one where one is given.
    Run(Candidate, Option<Duration>),
    /// Run this beside the running version, hidden, and compare the two.
    Shadow(Candidate),
    /// Show the shadow in the place of the running version.
    Promote(String),
    /// End the shadow.
    DropShadow(String),
    /// Go back to the version before.
    Rollback(String),
    /// Have the plugin go.
    Unload(String),
    /// Have second cells go: end every probation now, and every shadow.
    MakeRoom,
    /// Before any shard is open: have what the store's records say run.
    Adopt,
}

/// What an order came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// This version runs already.
    Unchanged,
    /// The new version is shown in every shard.
    Swapped,
    /// The version is hidden in every shard, and compared.
    Shadowing,
    /// The change under way was taken back, or the version before is shown again.
    RolledBack,
    /// The plugin goes.
    Unloading,
}

/// Why an order was not followed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OrderError {
    /// The candidate was refused.
    #[error("{0}")]
    Refused(Refusal),
    /// It failed when it met real trades and real state, and is gone again.
    #[error("{0}")]
    Failed(String),
    /// There is no such plugin, or nothing to go back to.
    #[error("{0}")]
    Missing(String),
    /// A later order has taken its place, or something must end first.
    #[error("{0}")]
    Conflict(String),
    /// Too many orders wait, or the service ends.
    #[error("the service is busy with other plugins, or ends; try again in a moment")]
    Busy,
}

/// The answer to an order.
pub type Answer = Result<Told, OrderError>;

/// An order with the place for its answer.
struct Asked {
    order: Order,
    answer: oneshot::Sender<Answer>,
}

/// Where the conductor tells how plugins are.
#[derive(Default)]
struct PluginBoard {
    plugins: watch::Sender<BTreeMap<String, PluginStatus>>,
}

/// What gives orders.
#[derive(Clone)]
pub struct Orders {
    asked: Sender<Asked>,
    board: Arc<PluginBoard>,
}

impl Orders {
    /// Gives an order; the answer comes when it is followed or refused.
    ///
    /// # Errors
    /// When too many wait.
    pub fn give(&self, order: Order) -> Result<oneshot::Receiver<Answer>, OrderError> {
        let (answer, answered) = oneshot::channel();
        match self.asked.try_send(Asked { order, answer }) {
            Ok(()) => Ok(answered),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(OrderError::Busy),
        }
    }

    /// How each plugin is, by name.
    pub fn plugins(&self) -> BTreeMap<String, PluginStatus> {
        self.board.plugins.borrow().clone()
    }

    /// Waits until what [`Self::plugins`] gives is so; an answer may come a moment before it is told there.
    pub async fn until(&self, is_so: impl FnMut(&BTreeMap<String, PluginStatus>) -> bool) {
        // The board lives as long as this does, so that this fails never.
        self.board.plugins.subscribe().wait_for(is_so).await.ok();
    }
}

/// What the conductor works with.
pub struct Parts {
    /// The pipeline.
    pub intake: Intake,
    /// Where candidates are loaded.
    pub workshop: Workshop,
    /// The store's records.
    pub records: Records,
    /// Which plugins run, each with what it was made of.
    pub running: Vec<(Candidate, Running)>,
    /// How long a former version stays after a swap.
    pub probation: Duration,
    /// The most linear memory of all visible cells; none for no limit.
    pub memory_limit: Option<u64>,
    /// What changes in the directory, where it is watched.
    pub files: Option<(Watcher, Receiver<FileChange>)>,
}

/// The running conductor; ends when dropped.
pub struct Conductor {
    orders: Orders,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Conductor {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(parts: Parts) -> std::io::Result<Self> {
        let (asked, orders) = crossbeam_channel::bounded(ORDERS);
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let board = Arc::new(PluginBoard::default());
        let work = Work::new(parts, Arc::clone(&board), orders, stopped);
        let thread = thread::Builder::new().name("plugin-conductor".to_owned()).spawn(move || work.run())?;
        Ok(Self { orders: Orders { asked, board }, stop: Some(stop), thread: Some(thread) })
    }

    /// Has it end soon; dropping it waits for that.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Where orders are given.
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }
}

impl Drop for Conductor {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().map(joined);
    }
}
