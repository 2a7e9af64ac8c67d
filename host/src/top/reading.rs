//! What a host says of itself, at one moment.
//!
//! Not for how it looks. Invariant: an answer that lacks something, of an older or a newer host, is read as far as it
//! goes; only no answer at all is a failure.

use std::time::Duration;

use serde_json::Value;

use crate::author::{Client, Failure};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many tokens are asked for.
const TOKENS: usize = 10;

/// The answers of one host.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// `/health/ready`, whatever its status.
    pub(super) ready: Value,
    /// `/metrics/json`
    pub(super) metrics: Value,
    /// `/performance`
    pub(super) performance: Value,
    /// `/partitions`
    pub(super) partitions: Value,
    /// `/plugins`
    pub(super) plugins: Value,
    /// The busiest tokens, each with its results where they could be read.
    pub(super) tokens: Vec<(String, Value)>,
    /// All tokens that are alive.
    pub(super) active_tokens: u64,
    /// Rejected records by reason, from `/metrics`; none where metrics are switched off.
    pub(super) rejected: Option<Vec<(String, f64)>>,
}

impl Reading {
    /// Asks a host.
    pub(super) fn ask(client: &Client) -> Result<Self, Failure> {
        let json = |path: &str| {
            let (_, body) = client.read(path, PATIENCE)?;
            Ok::<Value, Failure>(serde_json::from_str(&body).unwrap_or(Value::Null))
        };
        let listing = json(&format!("/tokens?limit={TOKENS}"))?;
        let names = listing["tokens"].as_array().into_iter().flatten();
        let names = names.filter_map(|token| token["token"].as_str()).take(TOKENS);
        let tokens = names
            .map(|token| Ok((token.to_owned(), json(&format!("/tokens/{}", segment(token)))?)))
            .collect::<Result<_, Failure>>()?;
        let (status, metrics) = client.read("/metrics", PATIENCE)?;
        Ok(Self {
            ready: json("/health/ready")?,
            metrics: json("/metrics/json")?,
            performance: json("/performance")?,
            partitions: json("/partitions")?,
            plugins: json("/plugins")?,
            tokens,
            active_tokens: listing["active_tokens"].as_u64().unwrap_or(0),
            rejected: (status == 200).then(|| rejected(&metrics)),
        })
    }

    /// A list of one of the answers.
    pub(super) fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
        answer[name].as_array().map(Vec::as_slice).unwrap_or_default()
    }
}

/// Rejected records by reason, those of which there are any.
fn rejected(metrics: &str) -> Vec<(String, f64)> {
    let line = |line: &str| {
        let (reason, count) = line.strip_prefix("aggregator_rejected_total{reason=\"")?.split_once("\"} ")?;
        let count: f64 = count.trim().parse().ok()?;
        (count > 0.0).then(|| (reason.to_owned(), count))
    };
    metrics.lines().filter_map(line).collect()
}

/// A text as one segment of a path.
fn segment(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_are_read_from_the_metrics() {
        let metrics = "# HELP aggregator_rejected_total Records\naggregator_rejected_total{reason=\"not_json\"} 3\n\
                       aggregator_rejected_total{reason=\"bad_side\"} 0\naggregator_trades_total 9\n";
        assert_eq!(rejected(metrics), [("not_json".to_owned(), 3.0)]);
        assert_eq!(segment("a/b é"), "a%2Fb%20%C3%A9");
    }
}
