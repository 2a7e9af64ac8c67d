//! Another version, another configuration, the version before, or none.
//!
//! Invariant: the directory changes after the plugin has, apart from the removal of a plugin, which the directory has
//! to allow first.

use std::sync::Arc;
use std::time::Duration;

use aggregator_sdk::duration;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::answer::{Outcome, of_order, respond};
use super::control::{Control, blocking};
use super::named;
use crate::http::State;
use crate::http::body::Pieces;
use crate::http::problem::Problem;
use crate::plugin::catalog::DEFAULT_NAME;
use crate::plugin::{Candidate, MAX_CONFIGURATION_BYTES, same_name};
use crate::swap::Order;

/// As `PLUGIN_PROBATION` allows.
const LONGEST_PROBATION: Duration = Duration::from_secs(86_400);

/// What may be asked for beside a component.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Wish {
    /// Instead of `PLUGIN_PROBATION`; none with `0`.
    probation: Option<String>,
}

/// How long a version is to be on probation, where that is asked for.
fn probation(wish: Result<Query<Wish>, QueryRejection>) -> Result<Option<Duration>, Problem> {
    const HINT: &str = "?probation= takes a duration such as 0, 30s or 10m, up to 24h";
    let Query(wish) = wish.map_err(|error| Problem::bad(error.body_text(), HINT))?;
    let Some(text) = wish.probation else {
        return Ok(None);
    };
    let probation = duration::parse(&text).map_err(|error| Problem::bad(error.to_string(), HINT))?;
    match probation <= LONGEST_PROBATION {
        true => Ok(Some(probation)),
        false => Err(Problem::bad(format!("{text} is longer than a day"), HINT)),
    }
}

/// `PUT /plugins/{name}`
pub(in crate::http) async fn put(
    Extract(state): Extract<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
    wish: Result<Query<Wish>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let control = state.plugins.control()?;
    let name = named(name)?;
    let probation = probation(wish)?;
    let taken = control.take(&name, &headers, body).await?;
    let (conducting, plugin) = (Arc::clone(&control), name.clone());
    let work = async move {
        let candidate = taken.received.candidate().clone();
        let outcome = conducting.order(&plugin, Order::Run(candidate, probation)).await.map_err(of_order)?;
        blocking(move || taken.received.publish()).await?;
        Ok(outcome)
    };
    Ok(respond(&name, control.finish(work).await?))
}

/// `PUT /plugins/{name}/config`
pub(in crate::http) async fn put_config(
    Extract(state): Extract<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, Problem> {
    let control = state.plugins.control()?;
    let name = named(name)?;
    let runs = state.plugins.status(&name)?.digest;
    let configuration = Pieces::new(body).whole(MAX_CONFIGURATION_BYTES).await?;
    let configuration = String::from_utf8(configuration)
        .map_err(|_| Problem::bad("the configuration is not UTF-8", "send a JSON object"))?;
    let (directory, plugin) = (control.directory.clone(), name.clone());
    // Begins an upload and drops it, to learn before anything is swapped whether the directory takes files.
    let lies_there = move || directory.upload(&plugin).and_then(|_| directory.candidate(&plugin));
    let Some(lies) = blocking(lies_there).await?.filter(|lies| runs.as_deref() == Some(&*lies.digest)) else {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "PLUGINS_DIR has another version of this plugin than the one that runs, or none",
            "PUT the component that is meant first, then its configuration",
        ));
    };
    let candidate = Candidate { configuration: configuration.as_str().into(), ..lies };
    let (conducting, plugin) = (Arc::clone(&control), name.clone());
    let work = async move {
        let outcome = conducting.order(&plugin, Order::Run(candidate, None)).await.map_err(of_order)?;
        let directory = conducting.directory.clone();
        blocking(move || directory.configure(&plugin, &configuration)).await?;
        Ok(outcome)
    };
    Ok(respond(&name, control.finish(work).await?))
}

/// `DELETE /plugins/{name}`
pub(in crate::http) async fn delete(
    Extract(state): Extract<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let control = state.plugins.control()?;
    let name = named(name)?;
    let (conducting, plugin) = (Arc::clone(&control), name.clone());
    let runs = state.plugins.status(&name).ok().and_then(|status| status.digest);
    let work = async move {
        if same_name(&plugin, DEFAULT_NAME) {
            return restore_built_in(&conducting, runs).await;
        }
        let (directory, removed) = (conducting.directory.clone(), plugin.clone());
        blocking(move || directory.remove(&removed)).await?;
        conducting.order(&plugin, Order::Unload(plugin.clone())).await.map_err(of_order)
    };
    Ok(respond(&name, control.finish(work).await?))
}

/// Has the built-in plugin run in the place of another one of its name, whose files then go.
async fn restore_built_in(control: &Control, runs: Option<String>) -> Result<Outcome, Problem> {
    let directory = control.directory.clone();
    let built_in = directory.built_in();
    let is_alone = runs.as_deref() == Some(&*built_in.digest);
    // Begins an upload and drops it, to learn before anything is swapped whether the directory lets files go.
    let lies_there = move || match directory.has_files(DEFAULT_NAME)? {
        true => directory.upload(DEFAULT_NAME).map(|_| true),
        false => Ok(false),
    };
    if !blocking(lies_there).await? && is_alone {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "the built-in plugin cannot be removed",
            "PUT another component of this name to have that run in its place",
        ));
    }
    let outcome = control.order(DEFAULT_NAME, Order::Run(built_in, None)).await.map_err(of_order)?;
    let directory = control.directory.clone();
    blocking(move || directory.remove(DEFAULT_NAME)).await?;
    Ok(outcome)
}

/// `POST /plugins/{name}/rollback`
pub(in crate::http) async fn rollback(
    Extract(state): Extract<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let control = state.plugins.control()?;
    let name = named(name)?;
    let (conducting, plugin) = (Arc::clone(&control), name.clone());
    let work =
        async move { conducting.order(&plugin, Order::Rollback(plugin.clone())).await.map_err(of_order) };
    Ok(respond(&name, control.finish(work).await?))
}
