//! The thread on which candidates become plugins while the service runs.
//!
//! Not for deciding what happens to a plugin that is ready. Invariant: one candidate at a time, a bounded
//! number waiting, and no thread or child left when it has stopped.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;

use super::candidate::Candidate;
use super::loader::{Loaded, Loader, ResultKeys};
use super::refusal::Refusal;
use crate::threads::joined;

/// How many candidates wait.
const WAITING: usize = 4;

/// What comes of a candidate.
pub type Outcome = Result<Loaded, Refusal>;

/// Too many candidates wait already, or the service ends: try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("other plugins are being loaded; try again in a moment")]
pub struct Busy;

struct Job {
    candidate: Candidate,
    taken: ResultKeys,
    answer: oneshot::Sender<Outcome>,
}

/// Loads candidates off the workers.
pub struct Workshop {
    /// None when it has stopped.
    jobs: Option<Sender<Job>>,
    loader: Arc<Loader>,
    thread: Option<JoinHandle<()>>,
}

impl Workshop {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(loader: Arc<Loader>) -> io::Result<Self> {
        let (jobs, waiting) = crossbeam_channel::bounded(WAITING);
        let own = Arc::clone(&loader);
        let thread =
            thread::Builder::new().name("plugin-workshop".to_owned()).spawn(move || work(&own, &waiting))?;
        Ok(Self { jobs: Some(jobs), loader, thread: Some(thread) })
    }

    /// Hands in a candidate. Who does not want the outcome any more drops the receiver.
    ///
    /// # Errors
    /// When too many wait.
    pub fn submit(
        &self,
        candidate: Candidate,
        taken: ResultKeys,
    ) -> Result<oneshot::Receiver<Outcome>, Busy> {
        let (answer, outcome) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(Busy)?;
        match jobs.try_send(Job { candidate, taken, answer }) {
            Ok(()) => Ok(outcome),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Busy),
        }
    }

    /// Loads a candidate here and now; for when nothing else is under way.
    ///
    /// # Errors
    /// Says how far the candidate came and what is wrong with it.
    pub fn load(&self, candidate: &Candidate, taken: &ResultKeys) -> Outcome {
        self.loader.load(candidate, taken)
    }

    /// Gives up what is being loaded, and waits until the thread has ended.
    pub fn stop(&mut self) {
        self.loader.cancel();
        drop(self.jobs.take());
        self.thread.take().map(joined);
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.stop();
    }
}

fn work(loader: &Loader, waiting: &Receiver<Job>) {
    for job in waiting {
        if job.answer.is_closed() {
            continue;
        }
        let Job { candidate, taken, answer } = job;
        let outcome = loader.load(&candidate, &taken);
        tell(&candidate, &outcome);
        // Who hears of it may take in the next one at once: the memory of one is enough.
        drop(candidate);
        // Nobody may want it any more.
        drop(answer.send(outcome));
    }
}

fn tell(candidate: &Candidate, outcome: &Outcome) {
    match outcome {
        Ok(loaded) => tracing::info!(
            plugin = loaded.running.name(),
            version = %loaded.running.plugin.description().version,
            digest = %candidate.digest,
            compile = ?loaded.compile,
            check = ?loaded.check,
            "Plugin loaded"
        ),
        Err(refusal) => refusal.log(),
    }
}
