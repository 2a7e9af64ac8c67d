//! `GET /openapi.json`: the route table as an OpenAPI document.
//!
//! Invariant: nothing stands here about a single route; all of that is in the table.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use super::routes::Route;

/// The document's text, made once.
#[derive(Clone)]
pub(super) struct Document(Bytes);

/// `GET /openapi.json`
pub(super) async fn document(Extension(document): Extension<Arc<Document>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], document.0.clone())
}

impl Document {
    /// Describes a table.
    pub(super) fn of(table: &[Route]) -> Arc<Self> {
        let mut paths: Map<String, Value> = Map::new();
        for route in table {
            let path = paths.entry(route.path).or_insert_with(|| json!({}));
            path[route.method.as_str().to_lowercase()] = operation(route);
        }
        let document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "aggregator",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Exact sliding windows over token trades, computed by plugins. Reading is open; \
                    what changes something needs ADMIN_TOKEN or, where none is set, a client on this machine.",
            },
            "paths": paths,
            "components": {
                "securitySchemes": { "admin": { "type": "http", "scheme": "bearer" } },
                "schemas": { "Problem": {
                    "type": "object",
                    "required": ["error", "hint"],
                    "properties": {
                        "error": { "type": "string", "description": "What is wrong" },
                        "hint": { "type": "string", "description": "What helps" },
                    },
                } },
            },
        });
        Arc::new(Self(document.to_string().into()))
    }
}

/// One method of one path.
fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "summary": route.summary,
        "parameters": parameters(route),
        "responses": responses(route),
    });
    if let Some(takes) = route.takes {
        let schema = match takes {
            "application/json" => json!({ "type": "object" }),
            _ => json!({ "type": "string", "format": "binary" }),
        };
        operation["requestBody"] = json!({ "required": true, "content": { takes: { "schema": schema } } });
    }
    if route.changes {
        // Without a token, a client on this machine needs none.
        operation["security"] = json!([{ "admin": [] }, {}]);
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let parameter = |place: &str, name: &str, words: &str| {
        json!({
            "in": place, "name": name, "required": place == "path", "description": words,
            "schema": { "type": "string" },
        })
    };
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| parameter("path", name, ""));
    let in_query = route.query.iter().map(|(name, words)| parameter("query", name, words));
    let in_head = route.headers.iter().map(|(name, words)| parameter("header", name, words));
    in_path.chain(in_query).chain(in_head).collect()
}

fn responses(route: &Route) -> Map<String, Value> {
    let problem = |words: &str| {
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        json!({ "description": words, "content": { "application/json": { "schema": schema } } })
    };
    let good = |words: &str| json!({ "description": words, "content": { route.gives: {} } });
    let mut responses = Map::from_iter([("200".to_owned(), good("Done"))]);
    if route.changes {
        responses.insert("401".to_owned(), problem("The admin token is missing or wrong"));
        responses.insert(
            "403".to_owned(),
            problem("No admin token is set and the client is elsewhere, or a page of another origin asks"),
        );
    }
    for (status, words) in route.statuses {
        let described = if *status < 300 || route.alike { good(words) } else { problem(words) };
        responses.insert(status.to_string(), described);
    }
    responses
}
