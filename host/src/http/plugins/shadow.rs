//! A version beside the running one, hidden and compared with it, until it is promoted or dropped.
//!
//! Invariant: a shadow's component gets its name in the directory when it is promoted, and not before.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Extract};
use axum::http::HeaderMap;
use axum::response::Response;

use super::answer::{of_order, respond};
use super::control::blocking;
use super::named;
use crate::http::State;
use crate::http::problem::Problem;
use crate::swap::Order;

/// `POST /plugins/{name}/shadow`
pub(in crate::http) async fn put_shadow(
    Extract(state): Extract<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let control = state.plugins.control()?;
    let name = named(name)?;
    // Without a plugin of this name there is nothing to be compared with.
    state.plugins.status(&name)?;
    let taken = control.take(&name, &headers, body).await?;
    let (conducting, plugin) = (Arc::clone(&control), name.clone());
    let work = async move {
        let candidate = taken.received.candidate().clone();
        let outcome = conducting.order(&plugin, Order::Shadow(candidate)).await.map_err(of_order)?;
        conducting.keep_shadow(taken.received);
        Ok(outcome)
    };
    Ok(respond(&name, control.finish(work).await?))
}

/// `POST /plugins/{name}/shadow/promote`
pub(in crate::http) async fn promote(
    Extract(state): Extract<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let control = state.plugins.control()?;
    let name = named(name)?;
    let (conducting, plugin) = (Arc::clone(&control), name.clone());
    let work = async move {
        let order = Order::Promote(plugin.clone());
        let outcome = conducting.order(&plugin, order).await.map_err(of_order)?;
        if let Some(received) = conducting.take_shadow(&plugin) {
            blocking(move || received.publish()).await?;
        }
        Ok(outcome)
    };
    Ok(respond(&name, control.finish(work).await?))
}

/// `DELETE /plugins/{name}/shadow`
pub(in crate::http) async fn drop_shadow(
    Extract(state): Extract<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let control = state.plugins.control()?;
    let name = named(name)?;
    let (conducting, plugin) = (Arc::clone(&control), name.clone());
    let work = async move {
        let order = Order::DropShadow(plugin.clone());
        let outcome = conducting.order(&plugin, order).await.map_err(of_order)?;
        drop(conducting.take_shadow(&plugin));
        Ok(outcome)
    };
    Ok(respond(&name, control.finish(work).await?))
}
