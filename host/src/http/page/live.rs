//! Streams of server-sent events that keep pages fresh.
//!
//! An event is a JSON object: the parts that changed, by their ids, as markup. A client that does not read is cut off
//! by its connection's patience, and one that reads for hours keeps a place, so places are bounded. Invariant: a
//! stream ends when the service does.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Extract};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::{Stream, unfold};
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::document::nonce;
use super::parts::{self, Parts};
use super::token;
use crate::http::State;
use crate::http::problem::Problem;

/// How many may look at the same time.
const PLACES: usize = 32;
/// How often an event is sent.
const EVERY: Duration = Duration::from_secs(1);
/// When a browser that lost its stream asks for another one.
const RETRY: Duration = Duration::from_secs(2);

/// The streams of a server.
#[derive(Debug)]
pub(in crate::http) struct Streams {
    places: Arc<Semaphore>,
    ending: watch::Sender<bool>,
    /// Tells a page that another program answers than the one that drew it.
    pub(super) program: String,
}

impl Default for Streams {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), ending: watch::Sender::new(false), program: nonce() }
    }
}

impl Streams {
    /// Ends all, and takes no further one.
    pub(in crate::http) fn end(&self) {
        self.places.close();
        self.ending.send_replace(true);
    }

    /// Takes one of the places, and gives what resolves when the service ends.
    pub(in crate::http) fn place(
        &self,
    ) -> Result<(OwnedSemaphorePermit, impl Future<Output = ()> + Send + use<>), Problem> {
        let full = |_| Problem::unavailable("too many pages are open", "close some, or read the other paths");
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(full)?;
        let mut ending = self.ending.subscribe();
        // An error means that the sender is gone, and with it the service.
        Ok((place, async move { drop(ending.wait_for(|ended| *ended).await) }))
    }

    /// Sends what changes of a page until the service or the client ends.
    fn open<F: Future<Output = Parts> + Send + 'static>(
        &self,
        draw: impl Fn() -> F + Send + 'static,
    ) -> Result<Response, Problem> {
        let (place, ended) = self.place()?;
        let events = events(place, self.program.clone(), draw);
        Ok(Sse::new(events.take_until(Box::pin(ended))).into_response())
    }
}

/// What one client has got.
struct Sent<D> {
    draw: D,
    tick: Interval,
    /// The last state of each part, as a hash.
    parts: HashMap<&'static str, u64>,
    /// The program's name; none when it was told.
    program: Option<String>,
    /// Held for its drop.
    _place: OwnedSemaphorePermit,
}

fn events<F: Future<Output = Parts> + Send>(
    place: OwnedSemaphorePermit,
    program: String,
    draw: impl Fn() -> F,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sent = Sent { draw, tick, parts: HashMap::new(), program: Some(program), _place: place };
    unfold(sent, |mut sent| async move {
        sent.tick.tick().await;
        let drawing = (sent.draw)();
        let parts = drawing.await;
        let event = match sent.program.take() {
            Some(program) => {
                let mut changed = sent.changed(&parts);
                changed.insert("program".to_owned(), program.into());
                Event::default().retry(RETRY).data(Value::from(changed).to_string())
            }
            // An event without a change says that the service is there.
            None => Event::default().data(Value::from(sent.changed(&parts)).to_string()),
        };
        Some((Ok(event), sent))
    })
}

impl<D> Sent<D> {
    /// The parts that are not as they were sent last.
    fn changed(&mut self, parts: &Parts) -> Map<String, Value> {
        let mut changed = Map::new();
        for part in parts.iter() {
            let mut hasher = DefaultHasher::new();
            part.html.hash(&mut hasher);
            let hash = hasher.finish();
            if self.parts.insert(part.id, hash) != Some(hash) {
                changed.insert(part.id.to_owned(), part.html.clone().into());
            }
        }
        changed
    }
}

/// `GET /events`
pub(in crate::http) async fn overview_events(
    Extract(state): Extract<Arc<State>>,
) -> Result<Response, Problem> {
    let shared = Arc::clone(&state);
    state.streams.open(move || {
        let state = Arc::clone(&shared);
        async move { parts::overview(&state).await }
    })
}

/// `GET /token/{address}/events`
pub(in crate::http) async fn token_events(
    Extract(state): Extract<Arc<State>>,
    address: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let address: Arc<str> = token::address(address)?.into();
    let shared = Arc::clone(&state);
    state.streams.open(move || {
        let (state, address) = (Arc::clone(&shared), Arc::clone(&address));
        async move { token::parts(&state, &address).await.1 }
    })
}
