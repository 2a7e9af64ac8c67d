//! `aggregator health`: asks a running service how it is, for probes of containers and for people.
//!
//! One question over plain HTTP, so that an image needs no shell and no other program. Not for anything that
//! changes something. Invariant: it ends within a few seconds, whoever listens on the port.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::app::AppError;
use crate::config::Http;
use crate::plugin::printable;
use crate::request::{self, Answer, Request};

/// How long connecting, sending and each piece of the answer may take.
const LIMIT: Duration = Duration::from_secs(3);
/// How much of a foreign answer is repeated.
const SHOWN_CHARS: usize = 300;

/// What is asked.
#[derive(Debug, Args)]
pub struct Health {
    /// The service's address, like http://127.0.0.1:8081; by default where HTTP_BIND and METRICS_PORT say.
    #[arg(long)]
    url: Option<String>,
    /// Whether it makes progress (/health/live) instead of whether it does its work (/health/ready): a host
    /// that stands by, or waits for Redis, is alive.
    #[arg(long)]
    live: bool,
}

/// Why the answer is not yes.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The settings cannot be read: exit 64.
    #[error("{0}")]
    Settings(AppError),
    /// Nothing can be asked there: exit 64.
    #[error("{0}")]
    Address(String),
    /// Nobody answers: exit 1.
    #[error("{authority} does not answer: {cause}")]
    Silent {
        /// Host and port.
        authority: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The answer is no: exit 1.
    #[error("{0}")]
    Unwell(String),
}

impl ProbeError {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Settings(error) => error.code(),
            Self::Address(_) => 64,
            Self::Silent { .. } | Self::Unwell(_) => 1,
        }
    }
}

/// Asks; gives the status in a word, like `ready`.
///
/// # Errors
/// When the service is not well, does not answer, or cannot be asked.
pub fn ask(health: &Health, settings: impl FnOnce() -> Result<Http, AppError>) -> Result<String, ProbeError> {
    let authority = match &health.url {
        Some(url) => authority_of(url)?,
        None => own_authority(&settings().map_err(ProbeError::Settings)?)?,
    };
    let path = if health.live { "/health/live" } else { "/health/ready" };
    let asked = Request { method: "GET", authority: &authority, path, headers: &[], body: &[], limit: LIMIT };
    match request::send(&asked) {
        Ok(answer) => judge(&answer),
        Err(cause) => Err(ProbeError::Silent { authority, cause }),
    }
}

/// Takes an address apart; a path behind it is not wanted.
fn authority_of(url: &str) -> Result<String, ProbeError> {
    match request::address(url) {
        Some((authority, path)) if path.is_empty() => Ok(authority),
        _ => Err(ProbeError::Address(format!("--url {url}: allowed is http://host:port, without a path"))),
    }
}

/// Where the service of this environment listens.
fn own_authority(http: &Http) -> Result<String, ProbeError> {
    if http.port == 0 {
        return Err(ProbeError::Address(
            "METRICS_PORT=0 takes any free port: name the one in the log with --url".to_owned(),
        ));
    }
    Ok(http.address().to_string())
}

/// Says what an answer means.
fn judge(answer: &Answer) -> Result<String, ProbeError> {
    let Answer { status, body } = answer;
    let said: Value = serde_json::from_str(body).unwrap_or_default();
    let word = said["status"].as_str().unwrap_or("no status");
    if *status == 200 && said["status"].is_string() {
        return Ok(printable(word, SHOWN_CHARS));
    }
    let reasons = said["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let wedged = said["wedged_workers"].as_array().into_iter().flatten();
    let wedged = wedged.map(|worker| format!("worker {worker} makes no progress"));
    let reasons: Vec<String> = reasons.map(str::to_owned).chain(wedged).collect();
    let words = format!("{word} ({status}): {}", reasons.join("; "));
    Err(ProbeError::Unwell(printable(words.trim_end_matches([':', ' ']), SHOWN_CHARS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(bind: &str, port: u16) -> Http {
        Http { bind: bind.parse().unwrap(), port, metrics_enabled: true, admin_token: None }
    }

    #[test]
    fn a_service_that_listens_everywhere_is_asked_on_this_machine() {
        for (bind, expected) in [
            ("127.0.0.1", "127.0.0.1:8081"),
            ("0.0.0.0", "127.0.0.1:8081"),
            ("::", "[::1]:8081"),
            ("192.0.2.1", "192.0.2.1:8081"),
        ] {
            assert_eq!(own_authority(&http(bind, 8081)).unwrap(), expected);
        }
        assert_eq!(own_authority(&http("0.0.0.0", 0)).unwrap_err().code(), 64);
    }

    #[test]
    fn only_plain_addresses_without_a_path_are_asked() {
        assert_eq!(authority_of("http://a:1/").unwrap(), "a:1");
        for url in ["https://a", "a:1", "http://a/health"] {
            assert_eq!(authority_of(url).unwrap_err().code(), 64, "{url}");
        }
    }

    #[test]
    fn the_answer_is_yes_or_no_with_the_reasons() {
        let judged = |status: u16, body: &str| judge(&Answer { status, body: body.to_owned() });
        assert_eq!(judged(200, "{\"status\":\"ready\"}").unwrap(), "ready");
        let no = |status: u16, body: &str| {
            let error = judged(status, body).unwrap_err();
            assert_eq!(error.code(), 1);
            error.to_string()
        };
        assert_eq!(
            no(503, "{\"status\":\"not_ready\",\"reasons\":[\"redis: away\",\"kafka: away\"]}"),
            "not_ready (503): redis: away; kafka: away"
        );
        assert_eq!(
            no(503, "{\"status\":\"wedged\",\"wedged_workers\":[1]}"),
            "wedged (503): worker 1 makes no progress"
        );
        assert_eq!(no(404, "nothing"), "no status (404)");
        assert_eq!(no(200, "somebody else"), "no status (200)");
    }
}
