//! Completes uploads, one after another.
//!
//! A component is large, and what a thread has freed an allocator keeps for that thread. So all of them are
//! read by one thread, and what stays of them is the size of the largest, not that times the threads that
//! happened to read one. Invariant: the thread ends with its [`Completing`].

use std::io;
use std::thread::{self, JoinHandle};

use axum::http::StatusCode;
use crossbeam_channel::{Receiver, Sender};
use tokio::sync::oneshot;

use super::answer::of_refusal;
use crate::http::problem::Problem;
use crate::plugin::Refusal;
use crate::plugin::directory::{Received, Upload};
use crate::threads::joined;

/// How many uploads wait; there is no more than one at a time.
const WAITING: usize = 1;

struct Job {
    upload: Upload,
    /// The digest that the client announced.
    announced: Option<String>,
    done: oneshot::Sender<Result<Received, Refusal>>,
}

/// The running thread.
pub(super) struct Completing {
    /// None when it has stopped.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Completing {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, waiting) = crossbeam_channel::bounded(WAITING);
        let thread =
            thread::Builder::new().name("plugin-uploads".to_owned()).spawn(move || work(&waiting))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Ends an upload; see [`Upload::finish`].
    pub(super) async fn complete(
        &self,
        upload: Upload,
        announced: Option<String>,
    ) -> Result<Received, Problem> {
        let (done, answer) = oneshot::channel();
        let job = Job { upload, announced, done };
        let handed = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok());
        match (handed, answer.await) {
            (true, Ok(received)) => received.map_err(|refusal| of_refusal(&refusal)),
            _ => Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the upload could not be completed",
                "the log says what happened; report it",
            )),
        }
    }
}

impl Drop for Completing {
    fn drop(&mut self) {
        drop(self.jobs.take());
        self.thread.take().map(joined);
    }
}

fn work(waiting: &Receiver<Job>) {
    for Job { upload, announced, done } in waiting {
        // Whoever has gone needs no answer.
        drop(done.send(upload.finish(announced.as_deref())));
    }
}
