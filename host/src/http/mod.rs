//! HTTP: what people, probes and dashboards read, and the operator's page.
//!
//! | path | answer |
//! |---|---|
//! | `GET /` | the operator's page |
//! | `GET /token/{address}` | the page of one token: all results of all plugins |
//! | `GET /events`, `GET /token/{address}/events` | what changes of those pages, every second |
//! | `GET /health` | 200 or 503: everything known about how the service is |
//! | `GET /health/live` | 200, or 503 when a worker is wedged |
//! | `GET /health/ready` | 200, or 503 with the reasons |
//! | `GET /metrics` | Prometheus text, or OpenMetrics where asked for; 404 with `METRICS_ENABLED=false` |
//! | `GET /metrics/json` | the groups of numbers of the Go service before this one |
//! | `GET /performance`, `POST /performance/optimize/{throughput,latency,balanced}`, `POST /performance/gc` | how hard it works, what matters most, and memory given back |
//! | `GET /tokens?sort=trades\|last_trade\|token&limit=N` | tokens that are alive |
//! | `GET /tokens/{address}` | all results of one token, as last flushed |
//! | `GET /tap?of=trades\|results\|all&rate=N&token=ADDRESS` | live trades and results, as long as somebody listens |
//! | `GET /logs?plugin=NAME&lines=N&follow=true` | what the log says about plugins |
//! | `GET /partitions` | where each partition and each shard stands |
//! | `GET /rejections` | the last rejected records, latest first |
//! | `GET /plugins`, `GET /plugins/{name}`, `GET /plugins/{name}/config` | how plugins are |
//! | `PUT /plugins/{name}`, `PUT /plugins/{name}/config`, `DELETE /plugins/{name}` | another version, another configuration, none |
//! | `POST /plugins/{name}/rollback` | the version before |
//! | `POST /plugins/{name}/shadow`, `POST .../shadow/promote`, `DELETE .../shadow` | a version beside the running one |
//! | `GET /openapi.json` | this table for programs |
//!
//! Every other answer is `{"error": "...", "hint": "..."}`: unknown path 404, wrong method 405, a
//! fault of the program 500, no answer in time 503. `HEAD` works wherever `GET` does.
//!
//! What changes something stands behind the guard. Not for deciding anything: handlers read what other
//! parts publish, and hand orders on. Invariant: nothing here can hold up the trade path, whatever clients
//! do: connections, requests under way, what they send and the time that each may take are bounded.

mod body;
mod connection;
mod guard;
mod health;
mod lines;
mod logs;
mod metrics;
mod openapi;
mod page;
mod performance;
mod plugins;
mod positions;
mod problem;
mod routes;
mod server;
mod shield;
mod state;
mod tap;
#[cfg(test)]
mod tests;
mod token;
mod tokens;

pub use server::{BindError, Server};
pub use state::State;
