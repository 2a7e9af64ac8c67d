//! What changes plugins: orders to the conductor, and the directory that is to say the same.
//!
//! A version is tried first and written into the directory when it is shown, so that a refused one leaves no
//! file; what the watcher then finds runs already. Whoever asked may go meanwhile: what was begun is
//! finished all the same, or else the directory would say otherwise than what runs. Invariant: at most
//! [`UPLOADS`] component is taken in at a time and [`UNDER_WAY`] changes are on their way, and each of them
//! ends when the conductor does.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

use super::answer::{Outcome, of_refusal};
use super::completing::Completing;
use crate::http::body::Pieces;
use crate::http::problem::Problem;
use crate::plugin::directory::{Directory, Received};
use crate::plugin::{Cause, Refusal, Stage, canonical};
use crate::swap::{Kind, Order, OrderError, Orders, PluginStatus, Told};

/// How many components are taken in at once: they are large.
const UPLOADS: usize = 1;
/// How many changes are on their way at once.
const UNDER_WAY: usize = 16;
/// How long a component waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// How long whoever asked for a change waits for its end; it goes on after that.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long the conductor's board is waited for after its answer.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// How much of a component is written at once.
const PIECE_BYTES: usize = 256 << 10;
/// The header with a component's SHA-256.
pub(in crate::http) const DIGEST_HEADER: &str = "x-content-sha256";

/// What changes plugins.
pub(super) struct Control {
    pub(super) orders: Orders,
    pub(super) directory: Directory,
    uploads: Arc<Semaphore>,
    completing: Completing,
    /// Components in a shadow, by plugin: written into the directory when they are promoted.
    shadows: Mutex<BTreeMap<String, Received>>,
    /// Changes on their way. Each holds this struct, and ends when the conductor does.
    under_way: Mutex<JoinSet<()>>,
}

/// A component that was taken in.
pub(super) struct Taken {
    pub(super) received: Received,
    /// Held until nobody needs it any more.
    pub(super) _place: OwnedSemaphorePermit,
}

impl Control {
    pub(super) fn new(orders: Orders, directory: Directory) -> io::Result<Self> {
        Ok(Self {
            orders,
            directory,
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            completing: Completing::start()?,
            shadows: Mutex::default(),
            under_way: Mutex::default(),
        })
    }

    /// Takes a component in, unseen until it is published.
    pub(super) async fn take(&self, name: &str, headers: &HeaderMap, body: Body) -> Result<Taken, Problem> {
        let announced = match headers.get(DIGEST_HEADER).map(|digest| digest.to_str()) {
            Some(Ok(digest)) => Some(digest.to_owned()),
            Some(Err(_)) => {
                return Err(Problem::bad("X-Content-SHA256 is no text", "send 64 hexadecimal digits"));
            }
            None => None,
        };
        let mut pieces = Pieces::new(body);
        let most_bytes = self.directory.max_bytes();
        if pieces.announced() > most_bytes as u64 {
            let words = format!("larger than PLUGIN_UPLOAD_MAX ({most_bytes} bytes)");
            return Err(of_refusal(&Refusal::new(name, Stage::Read, Cause::TooLarge, words)));
        }
        let turn = tokio::time::timeout(TURN_WITHIN, Arc::clone(&self.uploads).acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(place)) = turn else {
            return Err(Problem::unavailable("another component is being taken in", "try again in a moment"));
        };
        // What it waited for its turn is nobody's slowness.
        pieces.begin();
        let (directory, owned_name) = (self.directory.clone(), name.to_owned());
        let mut upload = blocking(move || directory.upload(&owned_name)).await?;
        let mut gathered = Vec::new();
        loop {
            let piece = pieces.next().await?;
            gathered.extend_from_slice(piece.as_deref().unwrap_or_default());
            if gathered.len() >= PIECE_BYTES || piece.is_none() {
                let bytes = std::mem::take(&mut gathered);
                upload = blocking(move || upload.add(&bytes).map(|()| upload)).await?;
            }
            if piece.is_none() {
                break;
            }
        }
        let received = self.completing.complete(upload, announced).await?;
        Ok(Taken { received, _place: place })
    }

    /// Has something done to its end, whether or not whoever asked stays; none when it takes too long to
    /// wait for.
    pub(super) async fn finish(
        &self,
        work: impl Future<Output = Result<Outcome, Problem>> + Send + 'static,
    ) -> Result<Option<Outcome>, Problem> {
        let (done, answer) = oneshot::channel();
        {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            while under_way.try_join_next().is_some() {}
            if under_way.len() >= UNDER_WAY {
                return Err(Problem::unavailable(
                    "too many changes are on their way",
                    "try again in a moment",
                ));
            }
            under_way.spawn(async move {
                if let Err(Err(problem)) = done.send(work.await) {
                    tracing::warn!(reason = problem.error(), "Change failed after nobody waited for it");
                }
            });
        }
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(outcome)) => outcome.map(Some),
            Ok(Err(_)) => Err(Problem::unavailable("the service is ending", "ask again when it has started")),
            Err(_) => Ok(None),
        }
    }

    /// Gives an order and waits for what comes of it, and until that can be seen.
    pub(super) async fn order(&self, name: &str, order: Order) -> Result<Outcome, OrderError> {
        let answer = self.orders.give(order)?;
        let told = answer.await.unwrap_or(Err(OrderError::Busy))?;
        let name = canonical(name);
        let is_told = |status: Option<&PluginStatus>| {
            let phase = status.and_then(|status| Some(status.trial.as_ref()?.phase));
            match told {
                Told::Unchanged => true,
                Told::Swapped => !matches!(phase, Some("loading" | "preparing" | "shadowing" | "showing")),
                Told::Shadowing => phase == Some("shadowing"),
                Told::RolledBack => phase.is_none(),
                Told::Unloading => status.is_none(),
            }
        };
        let seen = self.orders.until(|plugins| is_told(plugins.get(&name)));
        // A further change may have begun meanwhile; what is told then is true as well.
        tokio::time::timeout(TOLD_WITHIN, seen).await.ok();
        Ok(Outcome { told, status: self.orders.plugins().remove(&name), plugin: name })
    }

    /// Keeps the component of a shadow; those that are no shadow any more go.
    pub(super) fn keep_shadow(&self, received: Received) {
        let plugins = self.orders.plugins();
        let is_shadow = |name: &String, received: &Received| {
            let trial = plugins.get(name).and_then(|status| status.trial.as_ref());
            trial.is_some_and(|trial| {
                trial.kind == Kind::Shadow && *trial.digest == *received.candidate().digest
            })
        };
        let mut shadows = self.shadows.lock().unwrap_or_else(PoisonError::into_inner);
        shadows.retain(|name, received| is_shadow(name, received));
        shadows.insert(canonical(&received.candidate().name), received);
    }

    /// Gives the component of a plugin's shadow out of keeping.
    pub(super) fn take_shadow(&self, name: &str) -> Option<Received> {
        self.shadows.lock().unwrap_or_else(PoisonError::into_inner).remove(&canonical(name))
    }
}

/// Does something with the directory on a thread that may wait for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|refusal| of_refusal(&refusal)),
        Err(ended) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("work on PLUGINS_DIR ended early: {ended}"),
            "the log says what happened; report it",
        )),
    }
}
