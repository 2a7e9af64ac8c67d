//! All results of one token, as last flushed.
//!
//! Invariant: groups and fields stand in the order in which the plugin declared them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::State;
use super::problem::Problem;
use super::state::ResultShape;
use crate::clock::rfc3339;
use crate::store::{Action, StoreError, TokenResults};

/// No trade with a longer address is taken.
pub(super) const ADDRESS_BYTES: usize = 128;

/// The answer.
#[derive(Serialize)]
struct Answer<'a> {
    token: &'a str,
    last_update: Option<&'a str>,
    /// Some trades of its windows are missing until then, since it was forgotten for its memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete_until: Option<String>,
    results: Results<'a>,
}

/// `GET /tokens/{address}`
pub(super) async fn token(
    Extract(state): Extract<Arc<State>>,
    address: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(address) = address
        .map_err(|error| Problem::bad(error.body_text(), "write the address in UTF-8, percent-encoded"))?;
    let unknown = || {
        let error = format!("no results of token {:?}", shortened(&address));
        Problem::missing(error, "GET /tokens lists the tokens that are alive")
    };
    if address.len() > ADDRESS_BYTES {
        return Err(unknown());
    }
    let shapes = state.results();
    let found = read(&state, &address, &shapes).await.map_err(store_problem)?;
    let found = found.ok_or_else(unknown)?;
    let answer = Answer {
        token: &address,
        last_update: found.last_update.as_deref(),
        incomplete_until: state.incomplete_until_ms(&address).map(rfc3339::text),
        results: Results { found: &found, shapes: &shapes },
    };
    Ok(Json(answer).into_response())
}

/// Reads a token's results from the store.
pub(super) async fn read(
    state: &State,
    address: &str,
    shapes: &[ResultShape],
) -> Result<Option<TokenResults>, StoreError> {
    let keys: Vec<Arc<str>> = shapes.iter().map(|shape| Arc::clone(&shape.key)).collect();
    state.store.token(address, &keys).await
}

/// What a failing store means for the caller.
fn store_problem(error: StoreError) -> Problem {
    let words = error.to_string();
    match error.action() {
        Action::Retry | Action::Regressed => Problem::unavailable(
            words,
            "results are kept and written when the store is back; GET /health shows its state",
        ),
        Action::Skip | Action::Fenced(_) => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            words,
            "another program wrote this key; delete it, and it is written anew",
        ),
    }
}

fn shortened(address: &str) -> String {
    address.chars().take(ADDRESS_BYTES).collect()
}

/// The results of all plugins, in their order.
struct Results<'a> {
    found: &'a TokenResults,
    shapes: &'a [ResultShape],
}

impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let found = self.shapes.iter().filter_map(|shape| {
            let value = Ordered {
                value: self.found.results.get(&shape.key)?,
                order: &shape.groups,
                inner: Some(&shape.fields),
            };
            Some((&*shape.key, value))
        });
        serializer.collect_map(found)
    }
}

/// A value; where it is an object, known members come first and in their order.
struct Ordered<'a> {
    value: &'a Value,
    order: &'a [String],
    /// The order within members.
    inner: Option<&'a [String]>,
}

impl Ordered<'_> {
    fn members<'b>(
        &'b self,
        object: &'b Map<String, Value>,
    ) -> impl Iterator<Item = (&'b String, &'b Value)> {
        let known = self.order.iter().filter_map(|name| Some((name, object.get(name)?)));
        let others = object.iter().filter(|(name, _)| !self.order.contains(name));
        known.chain(others)
    }
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Object(object) = self.value else {
            return self.value.serialize(serializer);
        };
        let Some(order) = self.inner else {
            return serializer.collect_map(self.members(object));
        };
        serializer.collect_map(self.members(object).map(|(name, value)| {
            let inner = None;
            let value = Ordered { value, order, inner };
            (name, value)
        }))
    }
}
