//! How plugins are: what runs and since which change, their cells, and the trades left out for them.
//!
//! Invariant: only reading; lists are as short as what they are taken from keeps them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Extract};
use serde_json::{Value, json};

use super::named;
use crate::http::State;
use crate::http::problem::Problem;
use crate::pipeline::board::CellStatus;
use crate::pipeline::cost::Cost;
use crate::plugin::canonical;
use crate::swap::PluginStatus;

/// `GET /plugins`
pub(in crate::http) async fn list(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let plugins: Vec<Value> = state.plugins.statuses().iter().map(|status| shown(&state, status)).collect();
    let can_change = state.plugins.control.is_some();
    Json(json!({
        "plugins": plugins,
        "can_change": can_change,
        "quarantined": (state.plugins.quarantined)(),
        "members": state.members.shown(),
    }))
}

/// `GET /plugins/{name}`
pub(in crate::http) async fn one(
    Extract(state): Extract<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let status = state.plugins.status(&named(name)?)?;
    let mut plugin = shown(&state, &status);
    let quarantined = (state.plugins.quarantined)().into_iter();
    let own: Vec<_> = quarantined.filter(|trade| canonical(&trade.plugin) == status.name).collect();
    plugin["quarantined"] = json!(own);
    Ok(Json(plugin))
}

/// `GET /plugins/{name}/config`
pub(in crate::http) async fn config(
    Extract(state): Extract<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let status = state.plugins.status(&named(name)?)?;
    let none =
        || Problem::missing("the plugin does not run, so it has no configuration", "GET /plugins says why");
    status.configuration.map(Json).ok_or_else(none)
}

/// A plugin with its cells and counts.
fn shown(state: &State, status: &PluginStatus) -> Value {
    let shards = state.board.shards();
    let own = |cell: &&CellStatus| canonical(&cell.plugin) == status.name;
    let cells: Vec<(u32, CellStatus)> = shards
        .iter()
        .flat_map(|(shard, status)| status.cells.iter().map(|cell| (*shard, cell)))
        .filter(|(_, cell)| own(cell))
        .map(|(shard, cell)| (shard, cell.clone()))
        .collect();
    let memory_bytes: usize = cells.iter().map(|(_, cell)| cell.memory_bytes).sum();
    let cost = |hidden: bool| {
        let counted = cells.iter().filter(|(_, cell)| (cell.state == "hidden") == hidden);
        shown_cost(counted.fold(Cost::default(), |sum, (_, cell)| sum.and(&cell.cost)))
    };
    let (running, hidden) = (cost(false), cost(true));
    let cells: Vec<Value> = cells.iter().map(|(shard, cell)| shown_cell(*shard, cell)).collect();
    let mut shown = json!(status);
    shown["cells"] = json!(cells);
    shown["memory_bytes"] = json!(memory_bytes);
    shown["cost"] = json!({ "running": running, "hidden": hidden });
    shown["counts"] = json!(state.metrics.plugin_events.counts(&status.name));
    shown
}

/// Time in the plugin's calls, since its cells were made.
fn shown_cost(cost: Cost) -> Value {
    json!({
        "trades": cost.trades,
        "ns_per_trade": cost.ns_per_trade(),
        "rows": cost.rows,
        "ns_per_row": cost.ns_per_row(),
    })
}

fn shown_cell(shard: u32, cell: &CellStatus) -> Value {
    json!({
        "shard": shard,
        "state": cell.state,
        "digest": &*cell.digest,
        "memory_bytes": cell.memory_bytes,
        "fault": cell.fault,
    })
}
