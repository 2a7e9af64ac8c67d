//! The operator's page: the busiest tokens and their windows, drawn once here and then kept fresh by
//! a little script that reads `/tokens`, `/tokens/{address}` and `/health`.
//!
//! Without a script it shows the same and is loaded anew every few seconds. Invariant: every text that
//! comes from trades passes [`markup::escaped`], and only the style and the script of this file run: a
//! Content-Security-Policy names them by a number that is new for each answer.

mod markup;
mod table;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use axum::extract::State as Extract;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use self::markup::escaped;
use super::{State, figure, health, shield, token};
use crate::pipeline::status::Sort;
use table::Shown;

/// How many tokens the page shows: as many as rows allow, within these bounds.
const TOKENS: (usize, usize) = (5, 20);
/// How many rows the page has room for, one for each token and window.
const ROWS: usize = 120;

/// The plugin result that the page shows.
const RESULT_KEY: &str = "aggregates";

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// `GET /`
pub(super) async fn page(Extract(state): Extract<Arc<State>>) -> Response {
    let (tokens, notice) = busiest(&state).await;
    let nonce = nonce();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let mut headers = HeaderMap::new();
    // A nonce is letters and digits, so the text is always one that a header can hold.
    if let Ok(policy) = policy.parse() {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    let html = [(CONTENT_TYPE, "text/html; charset=utf-8")];
    let body = draw(&state, &tokens, notice.as_deref(), &nonce);
    (headers, html, shield::LIVE, body).into_response()
}

/// A number that nobody can foresee, from the operating system's randomness.
fn nonce() -> String {
    let half = || RandomState::new().hash_one(0_u8);
    format!("{:016x}{:016x}", half(), half())
}

/// The busiest tokens with their results, and what keeps some from being shown.
async fn busiest(state: &State) -> (Vec<Shown>, Option<String>) {
    let tokens = match state.live_tokens(limit(state), Sort::Trades).await {
        Ok(tokens) => tokens,
        Err(problem) => return (Vec::new(), Some(problem.error().to_owned())),
    };
    let shapes = state.results();
    let mut shown = Vec::new();
    for status in tokens {
        match token::read(state, &status.token, &shapes).await {
            Ok(found) => shown.push(Shown {
                results: found.and_then(|mut found| found.results.remove(RESULT_KEY)),
                status,
            }),
            // The next one would only wait as long for the same answer.
            Err(error) => return (shown, Some(error.to_string())),
        }
    }
    (shown, None)
}

/// The names of the windows, in configured order.
fn windows(state: &State) -> Vec<String> {
    let shape = state.results().into_iter().find(|shape| *shape.key == *RESULT_KEY);
    shape.map_or_else(Vec::new, |shape| shape.groups)
}

/// How many tokens are shown.
fn limit(state: &State) -> usize {
    let (least, most) = TOKENS;
    (ROWS / windows(state).len().max(1)).clamp(least, most)
}

fn draw(state: &State, tokens: &[Shown], notice: Option<&str>, nonce: &str) -> String {
    let windows = windows(state);
    let mut out = String::with_capacity(48 * 1024);
    out.push_str(concat!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">",
        "<meta name=\"color-scheme\" content=\"dark light\">",
        "<title>aggregator</title><link rel=\"icon\" href=\"data:,\">",
        "<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\n",
    ));
    append(&mut out, format_args!("<style nonce=\"{nonce}\">\n{STYLE}"));
    table::choices_style(&windows, &mut out);
    out.push_str("</style></head><body>\n");
    header(state, notice, &mut out);
    out.push_str("<main>\n");
    table::choices(&windows, &mut out);
    table::table(&windows, tokens, limit(state), &mut out);
    out.push_str("</main>\n");
    footer(&mut out);
    append(&mut out, format_args!("<script nonce=\"{nonce}\">\n{SCRIPT}</script></body></html>\n"));
    out
}

fn header(state: &State, notice: Option<&str>, out: &mut String) {
    let healthy = health::is_healthy(state);
    let word = if healthy { "healthy" } else { "unhealthy" };
    append(
        out,
        format_args!(
            "<header><h1>aggregator</h1><dl>\
             <div><dt>Health</dt><dd id=\"health\" class=\"{word}\">{word}</dd></div>\
             <div><dt>Trades</dt><dd id=\"trades\">{}</dd></div>\
             <div><dt>Trades/s</dt><dd id=\"rate\">…</dd></div>\
             <div><dt>Tokens</dt><dd id=\"active\">{}</dd></div>\
             <div><dt>Workers</dt><dd id=\"workers\">{}</dd></div>\
             <div><dt>Up</dt><dd id=\"uptime\">{} s</dd></div></dl>\n",
            figure::count(state.metrics.trades.get()),
            figure::count(state.active_tokens() as u64),
            state.workers,
            figure::count(state.uptime().as_secs()),
        ),
    );
    let mut words = health::reasons(state);
    words.extend(notice.map(str::to_owned));
    let hidden = if words.is_empty() { " hidden" } else { "" };
    append(
        out,
        format_args!(
            "<p id=\"notice\" role=\"status\"{hidden}>{}</p></header>\n",
            escaped(&words.join(" · "))
        ),
    );
}

fn footer(out: &mut String) {
    out.push_str("<footer><nav>");
    for path in ["/health", "/metrics", "/tokens", "/partitions", "/rejections"] {
        append(out, format_args!("<a href=\"{path}\">{path}</a> "));
    }
    out.push_str("</nav></footer>\n");
}

/// Appends formatted text.
fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.push_str(&std::fmt::format(text));
}
