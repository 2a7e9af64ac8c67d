//! `aggregator tap`: live trades and results of a running host, on the screen or into a recording.
//!
//! A recording has a trade a line, in the form of a message, for `plugin test --trades`. Invariant: a recording ends
//! with a whole line, whenever the command is ended.

use std::fs::File;
use std::io::{BufRead, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use serde_json::value::RawValue;

use super::client::Client;
use super::failure::Failure;
use crate::config::Config;

/// Shows or records live trades of a running host.
#[derive(Debug, Args)]
pub struct Tap {
    /// The host's address. Without it: this machine at METRICS_PORT.
    #[arg(long)]
    host: Option<String>,
    /// Only this token's.
    #[arg(long)]
    token: Option<String>,
    /// How many lines a second at most; what is more is left out, and told.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Shows results on their way to the store, too.
    #[arg(long, conflicts_with = "record")]
    results: bool,
    /// Writes the trades into this file, for aggregator plugin test --trades.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Ends after so many lines; else the command goes on until it is ended or the host is.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// What came of listening.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    lines: u64,
    left_out: u64,
}

impl Tap {
    /// Listens until told to end.
    ///
    /// # Errors
    /// Says what does not answer or cannot be written.
    pub fn run(&self, config: &Config) -> Result<(), Failure> {
        let url = self.host.clone().unwrap_or_else(|| format!("http://{}", config.http.address()));
        let lines = Client::new("--host", &url, None)?.listen(&self.path()?)?;
        let heard = match &self.record {
            None => self.copy(lines, std::io::stdout().lock(), false)?,
            Some(file) => {
                let unwritable =
                    |error| Failure::Unavailable(format!("cannot write {}: {error}", file.display()));
                let recording = File::create(file).map_err(unwritable)?;
                self.copy(lines, recording, true)?
            }
        };
        let what = self.record.as_ref().map_or_else(String::new, |file| format!(" in {}", file.display()));
        let words = format!("{} lines{what}, {} left out", heard.lines, heard.left_out);
        writeln!(std::io::stderr(), "{words}").map_err(Failure::internal)
    }

    fn path(&self) -> Result<String, Failure> {
        let of = if self.results { "all" } else { "trades" };
        let token = match &self.token {
            None => String::new(),
            // An address needs no escapes, and what does is none.
            Some(token) if token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b)) => {
                format!("&token={token}")
            }
            Some(token) => return Err(Failure::Unusable(format!("{token:?} is no token's address"))),
        };
        Ok(format!("/tap?of={of}&rate={}{token}", self.rate))
    }

    /// Copies lines until there are enough or no more; `bare`: the trades alone, as messages have them.
    fn copy(&self, mut lines: impl BufRead, mut out: impl Write, bare: bool) -> Result<Heard, Failure> {
        let mut heard = Heard::default();
        let mut line = Vec::new();
        while self.count.is_none_or(|count| heard.lines < count) {
            line.clear();
            let ended = lines.read_until(b'\n', &mut line).map_err(broken)? == 0 || !line.ends_with(b"\n");
            if ended {
                break;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            if let Some(left_out) = left_out(&line) {
                heard.left_out += left_out;
                continue;
            }
            // In one piece, so that no end of the command leaves half a line.
            let mut whole = if bare { trade(&line)? } else { line.trim_ascii() }.to_vec();
            whole.push(b'\n');
            out.write_all(&whole).map_err(Failure::internal)?;
            heard.lines += 1;
        }
        out.flush().map_err(Failure::internal)?;
        Ok(heard)
    }
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::Unavailable(format!("the host ended in the middle: {error}"))
}

/// How many lines a line says were left out, where that is what it says.
fn left_out(line: &[u8]) -> Option<u64> {
    let told = line.starts_with(b"{\"left_out\"");
    told.then(|| serde_json::from_slice::<Value>(line).ok()?["left_out"].as_u64()).flatten()
}

/// The trade in a line, letter by letter.
fn trade(line: &[u8]) -> Result<&[u8], Failure> {
    #[derive(serde::Deserialize)]
    struct Told<'a> {
        #[serde(borrow)]
        trade: &'a RawValue,
    }
    let told: Told<'_> = serde_json::from_slice(line).map_err(broken)?;
    Ok(told.trade.get().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tap(count: Option<u64>) -> Tap {
        Tap { host: None, token: None, rate: 100, results: false, record: None, count }
    }

    const TOLD: &[u8] = b"{\"trade\":{\"Token\":\"a\",\"x\":1.50}}\n\n{\"left_out\":3}\n{\"trade\":{\"Token\":\"b\"}}\n{\"tra";

    #[test]
    fn a_recording_holds_whole_trades_letter_by_letter_and_what_was_left_out_is_told() {
        let mut out = Vec::new();
        let heard = tap(None).copy(TOLD, &mut out, true).ok().unwrap();
        assert_eq!(heard, Heard { lines: 2, left_out: 3 });
        assert_eq!(out, b"{\"Token\":\"a\",\"x\":1.50}\n{\"Token\":\"b\"}\n");
    }

    #[test]
    fn it_ends_after_as_many_lines_as_were_asked_for() {
        let mut out = Vec::new();
        assert_eq!(tap(Some(1)).copy(TOLD, &mut out, false).ok().unwrap().lines, 1);
        assert_eq!(out, b"{\"trade\":{\"Token\":\"a\",\"x\":1.50}}\n");
    }

    #[test]
    fn a_token_cannot_change_the_question() {
        let path = |token: &str| Tap { token: Some(token.to_owned()), ..tap(None) }.path();
        assert_eq!(path("So111").ok().unwrap(), "/tap?of=trades&rate=100&token=So111");
        assert!(path("a&rate=9").is_err());
    }
}
