//! The page of one token: all groups of all plugins, as last written.
//!
//! `GET /tokens/{address}` gives the same to programs. Invariant: groups and fields stand in the order in which the
//! plugin declared them, and no more of them than [`CELLS`] allows.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;
use tokio::time::timeout;

use super::document::Document;
use super::markup::{append, cut, escaped, segment};
use super::parts::{PATIENCE, Part, Parts};
use super::tokens::{self, short};
use super::trail::{self, Trails};
use crate::figure;
use crate::http::State;
use crate::http::problem::Problem;
use crate::http::state::ResultShape;
use crate::http::token::{ADDRESS_BYTES, read};
use crate::results::LEADING_KEY;
use crate::store::TokenResults;

/// How many values are shown of each plugin, and of how many plugins.
const CELLS: usize = 1_500;
const PLUGINS: usize = 8;
/// How much is shown of a text.
const TEXT: usize = 60;

/// The address of a path.
pub(super) fn address(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(address) =
        path.map_err(|error| Problem::bad(error.body_text(), "write the address in UTF-8, percent-encoded"))?;
    match address.len() {
        0..=ADDRESS_BYTES => Ok(address),
        _ => Err(Problem::missing(
            "no token has so long an address",
            "GET /tokens lists the tokens that are alive",
        )),
    }
}

/// `GET /token/{address}`
pub(in crate::http) async fn page(
    Extract(state): Extract<Arc<State>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let address = address(path)?;
    let (status, parts) = parts(&state, &address).await;
    let title = format!("{} · aggregator", short(&address));
    let events = format!("/token/{}/events", segment(&address));
    Ok(Document { title: &title, events: &events, parts: &parts }.respond(&state, status))
}

/// The parts of the page, as they are now, and whether there is such a token.
pub(super) async fn parts(state: &State, address: &str) -> (StatusCode, Parts) {
    let shapes = state.results();
    let (status, html) = match timeout(PATIENCE, read(state, address, &shapes)).await {
        Ok(Ok(Some(found))) => (StatusCode::OK, draw(address, &shapes, &found)),
        Ok(Ok(None)) => (
            StatusCode::NOT_FOUND,
            without(address, "No results: this token has not traded in the longest window, or never."),
        ),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, without(address, &error.to_string())),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, without(address, "The store does not answer.")),
    };
    (status, [Part { id: "token", html }].into())
}

/// The page where there are no results.
fn without(address: &str, words: &str) -> String {
    let mut out = String::new();
    append(
        &mut out,
        format_args!(
            "<section class=\"card\"><div class=\"title\"><h1>{}</h1></div><p role=\"status\">{}</p></section>",
            escaped(address),
            escaped(&cut(words, 400))
        ),
    );
    out
}

fn draw(address: &str, shapes: &[ResultShape], found: &TokenResults) -> String {
    let mut out = String::new();
    append(
        &mut out,
        format_args!("<section class=\"card\"><div class=\"title\"><h1>{}</h1>", escaped(address)),
    );
    if let (Some(shape), Some(results)) =
        (shapes.iter().find(|shape| *shape.key == *LEADING_KEY), found.results.get(LEADING_KEY))
    {
        let lengths = trail::lengths(&shape.groups);
        let price = shape.groups.iter().find_map(|window| tokens::price(results, window));
        let price = price.map_or_else(|| "–".to_owned(), figure::price);
        append(
            &mut out,
            format_args!(
                "<span>$ {price}</span>{}",
                Trails::default().line(address, &lengths, results, Instant::now())
            ),
        );
    }
    append(
        &mut out,
        format_args!(
            "<span class=\"soft\">written {}</span><a class=\"soft\" href=\"/tokens/{}\">as JSON</a></div></section>",
            escaped(&cut(found.last_update.as_deref().unwrap_or("never"), 40)),
            segment(address)
        ),
    );
    for shape in shapes.iter().take(PLUGINS) {
        if let Some(results) = found.results.get(&shape.key) {
            plugin(shape, results, &mut out);
        }
    }
    out
}

/// One plugin's results: a row for each field, a column for each group.
fn plugin(shape: &ResultShape, results: &Value, out: &mut String) {
    let fields = &shape.fields[..shape.fields.len().min(CELLS / 4)];
    let groups = &shape.groups[..shape.groups.len().min((CELLS / fields.len().max(1)).max(1))];
    let all = groups.len() == shape.groups.len() && fields.len() == shape.fields.len();
    let note = if all { "" } else { "not all; the JSON has the rest" };
    append(
        out,
        format_args!(
            "<section class=\"card\"><div class=\"head\"><h2>{}</h2><span class=\"note\">{note}</span></div>\
             <div class=\"scroll\"><table class=\"sticky\"><thead><tr><th scope=\"col\"></th>",
            escaped(&shape.key)
        ),
    );
    for group in groups {
        append(out, format_args!("<th scope=\"col\">{}</th>", escaped(&cut(group, 40))));
    }
    out.push_str("</tr></thead><tbody>");
    for field in fields {
        let name = field.replace('_', " ");
        append(out, format_args!("<tr><th scope=\"row\">{}</th>", escaped(&cut(&name, 64))));
        for group in groups {
            let value = &results[group.as_str()][field.as_str()];
            append(
                out,
                format_args!(
                    "<td title=\"{}\">{}</td>",
                    escaped(&whole(value)),
                    escaped(&text(field, value))
                ),
            );
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div></section>");
}

/// A value with all its digits.
fn whole(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => cut(text, 4 * TEXT),
        other => cut(&other.to_string(), 4 * TEXT),
    }
}

/// A value as short as it can be read.
fn text(field: &str, value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => cut(text, TEXT),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(count), _) => figure::count(count),
            (None, Some(value)) if field.ends_with("change") => figure::percent(value),
            (None, Some(value)) if value.abs() >= 1_000.0 => figure::amount(value),
            (None, Some(value)) => figure::price(value),
            (None, None) => cut(&number.to_string(), TEXT),
        },
        other => cut(&other.to_string(), TEXT),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn shape(key: &str, groups: &[&str], fields: &[&str]) -> ResultShape {
        let words = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        ResultShape { plugin: key.to_owned(), key: key.into(), groups: words(groups), fields: words(fields) }
    }

    #[test]
    fn all_groups_of_all_plugins_are_shown_whatever_their_values_are() {
        let shapes = [
            shape("aggregates", &["1min"], &["buy_count", "vwap"]),
            shape("odd", &["a"], &["words", "nothing"]),
        ];
        let results = BTreeMap::from([
            ("aggregates".to_owned(), json!({"1min": {"buy_count": 1200, "vwap": 0.0000012345}})),
            ("odd".to_owned(), json!({"a": {"words": "<i>", "nothing": null}})),
        ]);
        let found = TokenResults {
            last_update: None,
            results: results.into_iter().map(|(key, value)| (key.as_str().into(), value)).collect(),
        };
        let out = draw("<b>", &shapes, &found);
        for part in
            ["1\u{202f}200", ">0.0000012345<", "&lt;i&gt;", "&lt;b&gt;", "<th scope=\"row\">buy count</th>"]
        {
            assert!(out.contains(part), "{part} is missing in\n{out}");
        }
        assert!(!out.contains("<i>") && !out.contains("<b>"), "{out}");
    }

    #[test]
    fn a_plugin_with_more_than_there_is_room_for_says_so() {
        let names: Vec<String> = (0..1_000).map(|index| format!("field{index}")).collect();
        let shape = ResultShape {
            plugin: "wide".to_owned(),
            key: "wide".into(),
            groups: names.clone(),
            fields: names,
        };
        let mut out = String::new();
        plugin(&shape, &Value::Null, &mut out);
        assert!(
            out.contains("not all") && out.matches("<td").count() <= CELLS,
            "{}",
            out.matches("<td").count()
        );
    }
}
