//! The parts of the operator's page, drawn once for all who look at the same time.
//!
//! Invariant: nobody waits for a store or a worker longer than [`PATIENCE`] for one drawing; what could not be read is
//! said, and shown as it was last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::tokens::Busiest;
use super::{chart, numbers, plugins, positions, status};
use crate::http::State;

/// How long a drawing is good for.
const FRESH: Duration = Duration::from_millis(500);
/// How long one drawing may wait for the workers, and for the store.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A piece of a page that is replaced as a whole.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The element that holds it.
    pub(super) id: &'static str,
    /// Its markup.
    pub(super) html: String,
}

/// All parts of a page, in their order.
pub(super) type Parts = Arc<[Part]>;

/// What the pages keep between two drawings.
#[derive(Debug, Default)]
pub(in crate::http) struct Page {
    drawn: Mutex<Drawn>,
}

#[derive(Debug, Default)]
struct Drawn {
    last: Option<(Instant, Parts)>,
    busiest: Busiest,
}

/// The parts of the operator's page, as they are now.
pub(super) async fn overview(state: &State) -> Parts {
    let mut drawn = state.page.drawn.lock().await;
    if let Some((at, parts)) = &drawn.last
        && at.elapsed() < FRESH
    {
        return Arc::clone(parts);
    }
    let notice = drawn.busiest.refresh(state).await;
    let parts: Parts = draw(state, &drawn.busiest, notice).into();
    drawn.last = Some((Instant::now(), Arc::clone(&parts)));
    parts
}

fn draw(state: &State, busiest: &Busiest, notice: Option<String>) -> Vec<Part> {
    let plugins = state.plugins.statuses();
    let part = |id, html| Part { id, html };
    vec![
        part("status", status::draw(state, notice)),
        part("numbers", numbers::draw(state)),
        part("charts", chart::draw(state, &plugins)),
        part("partitions", positions::partitions(state)),
        part("workers", positions::workers(state)),
        part("plugins", plugins::draw(state, &plugins)),
        part("tokens", super::tokens::draw(state, busiest)),
        part("shards", positions::shards(state)),
    ]
}
