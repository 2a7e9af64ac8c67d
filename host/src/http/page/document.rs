//! What is around the parts of a page: head, style, script, and the policy that lets nothing else in.
//!
//! Invariant: only the style and the script of this file run: a Content-Security-Policy names them by a number that
//! is new for each answer.

use std::hash::{BuildHasher, RandomState};

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::markup::{append, escaped};
use super::parts::Part;
use super::tokens::MOST_WINDOWS;
use crate::http::{State, shield};

const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");

/// Where else to look.
const ELSEWHERE: [&str; 8] = [
    "/health",
    "/metrics",
    "/performance",
    "/partitions",
    "/plugins",
    "/tokens",
    "/rejections",
    "/openapi.json",
];

/// A page.
pub(super) struct Document<'a> {
    /// What stands in the browser's tab.
    pub(super) title: &'a str,
    /// The path of the stream that keeps it fresh.
    pub(super) events: &'a str,
    pub(super) parts: &'a [Part],
}

impl Document<'_> {
    /// Answers with it.
    pub(super) fn respond(&self, state: &State, status: StatusCode) -> Response {
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
        (status, headers, html, shield::LIVE, self.draw(&state.streams.program, &nonce)).into_response()
    }

    fn draw(&self, program: &str, nonce: &str) -> String {
        let mut out = String::with_capacity(64 * 1024);
        out.push_str(concat!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
            "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">",
            "<meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">",
            "<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\n",
        ));
        append(
            &mut out,
            format_args!("<title>{}</title><style nonce=\"{nonce}\">\n{STYLE}", escaped(self.title)),
        );
        choices(&mut out);
        append(
            &mut out,
            format_args!(
                "</style></head>\n<body data-program=\"{program}\" data-events=\"{}\">\
                 <header><a class=\"brand\" href=\"/\">aggregator</a><span class=\"version\">{}</span>\
                 <span id=\"live\" hidden></span></header>\n<main>\n",
                escaped(self.events),
                env!("CARGO_PKG_VERSION"),
            ),
        );
        for part in self.parts {
            // These two stand side by side.
            match part.id {
                "partitions" => out.push_str("<div class=\"cols\">"),
                "charts" => out.push_str("<section aria-label=\"The last five minutes\">"),
                _ => {}
            }
            append(&mut out, format_args!("<div id=\"{}\">{}</div>", part.id, part.html));
            match part.id {
                "workers" => out.push_str("</div>"),
                "charts" => out.push_str("</section>"),
                _ => {}
            }
            out.push('\n');
        }
        out.push_str("</main>\n<footer><span>For programs:</span>");
        for path in ELSEWHERE {
            append(&mut out, format_args!("<a href=\"{path}\">{path}</a>"));
        }
        append(
            &mut out,
            format_args!("</footer>\n<script nonce=\"{nonce}\">\n{SCRIPT}</script></body></html>\n"),
        );
        out
    }
}

/// The rules by which the chosen window of the tokens is shown, without a script.
fn choices(out: &mut String) {
    for index in 0..MOST_WINDOWS {
        append(out, format_args!(".tokens:has(#w{index}:checked) .w:not(.w{index}){{display:none}}\n"));
    }
}

/// A number that nobody can foresee, from the operating system's randomness.
pub(super) fn nonce() -> String {
    let half = || RandomState::new().hash_one(0_u8);
    format!("{:016x}{:016x}", half(), half())
}
