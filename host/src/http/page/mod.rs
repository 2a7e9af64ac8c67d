//! The operator's page, and the page of one token: drawn here, complete without a script, and kept fresh by a little one.
//!
//! A page is made of *parts* (`parts.rs`), each a piece of markup. The script hears of the parts that changed, once a
//! second, over one stream of server-sent events (`live.rs`), and puts them in their places; it draws nothing itself.
//! Without it the page is loaded anew every few seconds. `status.rs`, `numbers.rs`, `chart.rs`, `positions.rs`,
//! `plugins.rs`, `hosts.rs`, `tokens.rs` and `token.rs` each draw a part, `document.rs` what is around them.
//!
//! Not for deciding anything, and not for programs, which read the other paths. Invariant: every text that comes from
//! records, plugins or the store passes [`markup::escaped`], every list is bounded, and whatever is watched by however
//! many is drawn once.

mod chart;
mod document;
mod hosts;
mod live;
mod markup;
mod numbers;
mod parts;
mod plugins;
mod positions;
mod status;
mod token;
mod tokens;
mod trail;

use std::sync::Arc;

use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::response::Response;

pub(super) use live::{Streams, overview_events, token_events};
pub(super) use parts::Page;
pub(super) use token::page as token_page;

use super::State;
use document::Document;

/// `GET /`
pub(super) async fn page(Extract(state): Extract<Arc<State>>) -> Response {
    let parts = parts::overview(&state).await;
    Document { title: "aggregator", events: "/events", parts: &parts }.respond(&state, StatusCode::OK)
}
