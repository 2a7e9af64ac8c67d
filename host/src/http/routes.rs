//! The route table: every path and method of the service, with what it does and who may ask.
//!
//! The router and the OpenAPI document are both made of it, so that neither can have a route that the
//! other lacks. Invariant: a route that changes something stands behind the guard because its entry says
//! so, and for no other reason.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Extension, Router};

use super::guard::Guard;
use super::openapi::Document;
use super::plugins::DIGEST_HEADER;
use super::{
    State, guard, health, logs, metrics, openapi, page, performance, plugins, positions, problem, shield,
    tap, token, tokens,
};
use crate::config;

/// Extractors take no longer body; who takes a component or a configuration has limits of its own.
const BODY_LIMIT_BYTES: usize = 4_096;
/// How long the answer to a question may take. Shorter than a connection's patience.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// How long a change may take, with what is sent for it. Shorter than what the guard grants a connection.
const CHANGE_LIMIT: Duration = Duration::from_secs(105);

/// One method of one path.
pub(super) struct Route {
    pub(super) method: Method,
    /// As axum and OpenAPI write it, with parameters in braces.
    pub(super) path: &'static str,
    /// What it does, in one sentence.
    pub(super) summary: &'static str,
    /// Whether it changes something, so that it needs the admin token.
    pub(super) changes: bool,
    /// The type of the body that it takes.
    pub(super) takes: Option<&'static str>,
    /// The type of a good answer.
    pub(super) gives: &'static str,
    /// Query parameters and what they mean.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// Headers that it reads, and what they mean.
    pub(super) headers: &'static [(&'static str, &'static str)],
    /// Statuses besides 200 and those that every route has.
    pub(super) statuses: &'static [(u16, &'static str)],
    /// Whether answers of other statuses have the form of a good one.
    pub(super) alike: bool,
    handler: MethodRouter<Arc<State>>,
}

const JSON: &str = "application/json";
const HTML: &str = "text/html";
const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
const COMPONENT: &str = "application/wasm";
const DIGEST: &[(&str, &str)] =
    &[(DIGEST_HEADER, "The component's SHA-256; where another one comes, nothing is done with it")];
const NO_NAME: (u16, &str) = (400, "The name is none that a plugin can have");
const NO_PLUGIN: (u16, &str) = (404, "There is no such plugin");
const UNDER_WAY: (u16, &str) = (202, "It takes long and goes on");
const CONFLICT: (u16, &str) = (409, "Something else must be done first; the hint says what");
const FULL: (u16, &str) = (503, "Too many pages are open");
/// What a change of a plugin may come to.
const ORDERED: &[(u16, &str)] = &[UNDER_WAY, NO_NAME, NO_PLUGIN, CONFLICT, (503, "Other changes come first")];
/// The same where something is sent along.
const REFUSALS: &[(u16, &str)] = &[
    UNDER_WAY,
    (400, "The name is none, or the body is not what was announced"),
    NO_PLUGIN,
    (408, "The body comes too slowly"),
    CONFLICT,
    (413, "The body is too long"),
    (422, "It cannot run; stage, cause and hint say why"),
    (503, "Other changes come first"),
];
const UNAVAILABLE: (u16, &str) = (503, "It is not; the body has the same form and says why");

/// A route that only reads.
fn read(path: &'static str, handler: MethodRouter<Arc<State>>, summary: &'static str) -> Route {
    Route {
        method: Method::GET,
        path,
        summary,
        changes: false,
        takes: None,
        gives: JSON,
        query: &[],
        headers: &[],
        statuses: &[],
        alike: false,
        handler,
    }
}

/// A route that changes something.
fn change(
    method: Method,
    path: &'static str,
    handler: MethodRouter<Arc<State>>,
    summary: &'static str,
) -> Route {
    Route { method, changes: true, ..read(path, handler, summary) }
}

/// The table.
pub(super) fn table(metrics_enabled: bool) -> Vec<Route> {
    let groups =
        [watching(metrics_enabled), performance_routes(), results(), plugin_reads(), plugin_changes()];
    groups.into_iter().flatten().collect()
}

/// How the service is.
fn watching(metrics_enabled: bool) -> Vec<Route> {
    let scrape = if metrics_enabled { get(metrics::metrics) } else { get(metrics::disabled) };
    vec![
        Route {
            statuses: &[UNAVAILABLE],
            alike: true,
            ..read("/health", get(health::health), "Everything known about how the service is.")
        },
        Route {
            statuses: &[UNAVAILABLE],
            alike: true,
            ..read("/health/live", get(health::live), "Whether every worker makes progress.")
        },
        Route {
            statuses: &[UNAVAILABLE],
            alike: true,
            ..read("/health/ready", get(health::ready), "Whether the service does its work.")
        },
        Route {
            gives: "text/plain",
            statuses: &[(404, "METRICS_ENABLED=false")],
            ..read("/metrics", scrape, "Metrics for Prometheus.")
        },
        read(
            "/metrics/json",
            get(metrics::json),
            "The groups of numbers of the Go service before this one; durations in nanoseconds.",
        ),
    ]
}

/// How hard it works.
fn performance_routes() -> Vec<Route> {
    vec![
        read(
            "/performance",
            get(performance::performance),
            "How hard the service works, and how it is tuned.",
        ),
        Route {
            statuses: &[(202, "It goes on"), (503, "It is under way already")],
            ..change(
                Method::POST,
                "/performance/gc",
                post(performance::gc),
                "Has memory given back: instances made anew with their state, the allocator's reserve returned.",
            )
        },
        change(
            Method::POST,
            "/performance/optimize/throughput",
            post(performance::throughput),
            "Has results written less often and larger batches taken, from now on.",
        ),
        change(
            Method::POST,
            "/performance/optimize/latency",
            post(performance::latency),
            "Has results written as soon as can be and smaller batches taken, from now on.",
        ),
        change(
            Method::POST,
            "/performance/optimize/balanced",
            post(performance::balanced),
            "Goes back to what is configured.",
        ),
    ]
}

/// What comes of trades, for people and programs.
fn results() -> Vec<Route> {
    vec![
        Route { gives: HTML, ..read("/", get(page::page), "The operator's page.") },
        Route {
            gives: EVENTS,
            statuses: &[FULL],
            ..read(
                "/events",
                get(page::overview_events),
                "What changes of the operator's page, every second.",
            )
        },
        Route {
            gives: HTML,
            statuses: &[
                (404, "No results of this token; the page says so"),
                (503, "The store does not answer; the page says so"),
            ],
            alike: true,
            ..read("/token/{address}", get(page::token_page), "All results of one token as a page.")
        },
        Route {
            gives: EVENTS,
            statuses: &[FULL],
            ..read(
                "/token/{address}/events",
                get(page::token_events),
                "What changes of a token's page, every second.",
            )
        },
        Route {
            query: &[
                ("sort", "trades (default), last_trade or token"),
                ("limit", "1 to 10000; 100 where it is not given"),
            ],
            statuses: &[(400, "A parameter is wrong")],
            ..read("/tokens", get(tokens::tokens), "Tokens that are alive.")
        },
        Route {
            statuses: &[(404, "No results of this token"), (503, "The store does not answer")],
            ..read("/tokens/{address}", get(token::token), "All results of one token, as last flushed.")
        },
        Route {
            gives: LINES,
            query: &[
                ("of", "trades (default), results or all"),
                ("rate", "how many lines a second at most, 1 to 100000; 100 where it is not given"),
                ("token", "only this token"),
            ],
            statuses: &[(400, "A parameter is wrong"), (503, "Too many listen already")],
            ..read("/tap", get(tap::tap), "Live trades and results, for as long as somebody listens.")
        },
        read("/partitions", get(positions::partitions), "Where each partition and each shard stands."),
        read("/rejections", get(positions::rejections), "The last rejected records, latest first."),
        read("/openapi.json", get(openapi::document), "This description."),
    ]
}

/// How plugins are.
fn plugin_reads() -> Vec<Route> {
    vec![
        read("/plugins", get(plugins::list), "How plugins are, and the trades left out for one of them."),
        Route {
            statuses: &[NO_NAME, NO_PLUGIN],
            ..read("/plugins/{name}", get(plugins::one), "How one plugin is.")
        },
        Route {
            gives: LINES,
            query: &[
                ("plugin", "only about this plugin"),
                ("lines", "how many of the last lines, 0 to 10000; 100 where it is not given"),
                ("follow", "true: goes on with what is logged from now on"),
            ],
            statuses: &[(400, "A parameter is wrong"), FULL],
            ..read("/logs", get(logs::logs), "What the log says about plugins.")
        },
        Route {
            statuses: &[NO_NAME, NO_PLUGIN],
            ..read("/plugins/{name}/config", get(plugins::config), "A plugin's configuration.")
        },
    ]
}

/// What may be done with plugins.
fn plugin_changes() -> Vec<Route> {
    vec![
        Route {
            takes: Some(COMPONENT),
            query: &[("probation", "a duration in the place of PLUGIN_PROBATION; 0 for none")],
            headers: DIGEST,
            statuses: REFUSALS,
            ..change(Method::PUT, "/plugins/{name}", put(plugins::put), "Has a component run.")
        },
        Route {
            statuses: ORDERED,
            ..change(
                Method::DELETE,
                "/plugins/{name}",
                delete(plugins::delete),
                "Has a plugin go, with its files.",
            )
        },
        Route {
            takes: Some(JSON),
            statuses: REFUSALS,
            ..change(
                Method::PUT,
                "/plugins/{name}/config",
                put(plugins::put_config),
                "Has a plugin run with another configuration: a swap of the same code.",
            )
        },
        Route {
            statuses: ORDERED,
            ..change(
                Method::POST,
                "/plugins/{name}/rollback",
                post(plugins::rollback),
                "Takes the change under way back, or goes back to the version before.",
            )
        },
        Route {
            takes: Some(COMPONENT),
            headers: DIGEST,
            statuses: REFUSALS,
            ..change(
                Method::POST,
                "/plugins/{name}/shadow",
                post(plugins::put_shadow),
                "Runs a component beside the plugin, hidden, and compares the two.",
            )
        },
        Route {
            statuses: ORDERED,
            ..change(
                Method::POST,
                "/plugins/{name}/shadow/promote",
                post(plugins::promote),
                "Shows the shadow in the place of the running version.",
            )
        },
        Route {
            statuses: ORDERED,
            ..change(
                Method::DELETE,
                "/plugins/{name}/shadow",
                delete(plugins::drop_shadow),
                "Ends the shadow.",
            )
        },
    ]
}

/// Everything that is served.
pub(super) fn router(config: &config::Http, state: State) -> Router {
    let guard = Guard::new(config.admin_token.clone(), state.metrics.admin_refused.clone());
    let table = table(config.metrics_enabled);
    let document = Document::of(&table);
    let add = |router: Router<Arc<State>>, route: Route| router.route(route.path, guarded(route, &guard));
    table
        .into_iter()
        .fold(Router::new(), add)
        .fallback(problem::unknown_path)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(from_fn(shield::shield))
        .layer(Extension(document))
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(Arc::new(state))
}

/// A route's handler behind what its entry asks for.
fn guarded(route: Route, guard: &Arc<Guard>) -> MethodRouter<Arc<State>> {
    let handler = route.handler;
    match route.changes {
        true => handler
            .route_layer(from_fn_with_state(Arc::clone(guard), guard::guard))
            .route_layer(from_fn_with_state(CHANGE_LIMIT, shield::limit)),
        false => handler.route_layer(from_fn_with_state(READ_LIMIT, shield::limit)),
    }
}
