//! `aggregator plugin deploy`, `list` and `rollback`: what an author tells a running host.
//!
//! Invariant: a component is loaded here before it is sent, so that what cannot run anywhere is refused without
//! a host; the host judges it again all the same.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use super::workbench;
use crate::config::Config;

/// Which host, and what it must be shown.
#[derive(Debug, Args)]
pub(super) struct Host {
    /// The host's address. Without it: this machine at METRICS_PORT.
    #[arg(long)]
    host: Option<String>,
    /// A file with the host's ADMIN_TOKEN. Without it: ADMIN_TOKEN of this environment, where it is set.
    #[arg(long)]
    token_file: Option<PathBuf>,
}

/// Sends a component to a running host.
#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// The component.
    file: PathBuf,
    #[command(flatten)]
    host: Host,
    /// Runs it hidden beside the running version and compares the two.
    #[arg(long)]
    shadow: bool,
}

/// Shows the plugins of a running host.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    host: Host,
}

/// Has a host go back to the version before.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The plugin's name.
    name: String,
    #[command(flatten)]
    host: Host,
}

/// What a host answered.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Answer(Value);

/// The plugins of a host, as it answered.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Listing(Value);

impl Host {
    #[cfg(test)]
    pub(super) fn of(url: &str) -> Self {
        Self { host: Some(url.to_owned()), token_file: None }
    }

    pub(super) fn client(&self, config: &Config) -> Result<Client, Failure> {
        let url = self.host.clone().unwrap_or_else(|| format!("http://{}", config.http.address()));
        let token = match &self.token_file {
            Some(file) => Some(String::from_utf8_lossy(&workbench::read(file)?).trim().to_owned()),
            None => config.http.admin_token.as_ref().map(|token| token.expose().to_owned()),
        };
        Client::new("--host", &url, token)
    }
}

impl Deploy {
    pub(super) fn run(&self, config: &Config) -> Result<Answer, Failure> {
        let loaded = workbench::load(config, &self.file, None)?;
        let running = &loaded.running;
        let (method, path) = match self.shadow {
            false => ("PUT", format!("/plugins/{}", running.name())),
            true => ("POST", format!("/plugins/{}/shadow", running.name())),
        };
        let headers = [("Content-Type", "application/wasm"), ("X-Content-SHA256", &*running.digest)];
        let client = self.host.client(config)?;
        client.send(method, &path, &headers, &workbench::read(&self.file)?).map(Answer)
    }
}

impl List {
    pub(super) fn run(&self, config: &Config) -> Result<Listing, Failure> {
        self.host.client(config)?.send("GET", "/plugins", &[], &[]).map(Listing)
    }
}

impl Rollback {
    pub(super) fn run(&self, config: &Config) -> Result<Answer, Failure> {
        if !crate::plugin::is_name(&self.name) {
            return Err(Failure::Unusable(format!("{:?} is no plugin's name", self.name)));
        }
        let path = format!("/plugins/{}/rollback", self.name);
        self.host.client(config)?.send("POST", &path, &[], &[]).map(Answer)
    }
}

/// A line for each plugin: name, version, the beginning of its digest, and the change under way.
impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plugins = self.0["plugins"].as_array().map(Vec::as_slice).unwrap_or_default();
        plugins.iter().try_for_each(|plugin| {
            let text = |value: &Value, most| crate::plugin::printable(value.as_str().unwrap_or("-"), most);
            let digest = text(&plugin["digest"], 64);
            let state = plugin["trial"]["phase"].as_str().unwrap_or("runs");
            writeln!(
                f,
                "{:<20} {:<10} {:<12} {}",
                text(&plugin["name"], 64),
                text(&plugin["version"], 32),
                digest.get(..12).unwrap_or(&digest),
                crate::plugin::printable(state, 32)
            )
        })
    }
}

/// Objects line by line, what lies in them indented; so that any answer can be read.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.0, 0)
    }
}

fn write(f: &mut fmt::Formatter<'_>, value: &Value, depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| match value {
            Value::Null => Ok(()),
            Value::Object(inner) if inner.is_empty() => Ok(()),
            Value::Array(items) if items.is_empty() => Ok(()),
            Value::Object(_) | Value::Array(_) => {
                writeln!(f, "{indent}{name}:")?;
                write(f, value, depth + 1)
            }
            Value::String(text) => writeln!(f, "{indent}{name}: {}", crate::plugin::printable(text, 2_000)),
            _ => writeln!(f, "{indent}{name}: {value}"),
        }),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(at, item)| {
            if at > 0 && item.is_object() {
                writeln!(f)?;
            }
            write(f, item, depth)
        }),
        Value::String(text) => writeln!(f, "{indent}{}", crate::plugin::printable(text, 2_000)),
        _ => writeln!(f, "{indent}{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_has_a_line_for_each_plugin_whatever_is_unknown_of_it() {
        let text = Listing(serde_json::json!({"plugins": [
            {"name": "a", "version": "1.0", "digest": "0123456789abcdef", "trial": {"phase": "probation"}},
            {"name": "b", "version": null, "digest": null, "trial": null},
        ]}))
        .to_string();
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words, [vec!["a", "1.0", "0123456789ab", "probation"], vec!["b", "-", "-", "runs"]]);
        assert_eq!(Listing(Value::Null).to_string(), "");
    }

    #[test]
    fn an_answer_is_readable_and_holds_no_control_characters() {
        let answer =
            serde_json::json!({"plugins": [{"name": "a", "trial": null}, {"name": "b\u{1b}"}], "n": 2});
        let text = Answer(answer).to_string();
        assert!(text.contains("  name: a\n\n  name: b\\u{1b}\n"), "{text}");
        assert!(!text.contains("trial") && text.contains("n: 2\n"), "{text}");
    }
}
