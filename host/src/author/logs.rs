//! `aggregator plugin logs`: what a running host's log says about plugins.
//!
//! Invariant: nothing that a plugin says moves the cursor or changes colours.

use std::io::{BufRead, Write};

use clap::Args;
use serde_json::Value;

use super::Format;
use super::failure::Failure;
use super::remote::Host;
use crate::config::Config;
use crate::plugin::printable;

/// The longest text of a field that is shown; stacks of other languages are long.
const LONGEST: usize = 8_000;
/// Keys that stand before the fields, or say nothing to an author.
const FIXED: [&str; 6] = ["timestamp", "level", "message", "service", "component", "plugin"];

/// Shows what a running host's log says about plugins.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Only about this plugin.
    name: Option<String>,
    /// Goes on with what is logged from now on, until the command is ended or the host is.
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines are shown at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    lines: u32,
    #[command(flatten)]
    host: Host,
}

impl Logs {
    pub(super) fn run(&self, config: &Config, output: Format) -> Result<(), Failure> {
        let lines = self.host.client(config)?.listen(&self.path()?)?;
        self.copy(lines, std::io::stdout().lock(), output)
    }

    fn path(&self) -> Result<String, Failure> {
        let plugin = match &self.name {
            None => String::new(),
            Some(name) if crate::plugin::is_name(name) => format!("&plugin={name}"),
            Some(name) => return Err(Failure::Unusable(format!("{name:?} is no plugin's name"))),
        };
        Ok(format!("/logs?lines={}&follow={}{plugin}", self.lines, self.follow))
    }

    /// Copies lines until there are no more.
    fn copy(&self, lines: impl BufRead, mut out: impl Write, output: Format) -> Result<(), Failure> {
        for line in lines.lines() {
            let line = line.map_err(|error| {
                Failure::Unavailable(format!("the host ended in the middle of its log: {error}"))
            })?;
            if line.is_empty() {
                continue;
            }
            let shown = match (output, serde_json::from_str(&line)) {
                (Format::Text, Ok(line)) => text(&line),
                // As it came, where it is to be or is none of a log.
                _ => printable(&line, usize::MAX),
            };
            writeln!(out, "{shown}").and_then(|()| out.flush()).map_err(Failure::internal)?;
        }
        Ok(())
    }
}

/// A line for people.
fn text(line: &Value) -> String {
    let of = |key: &str| printable(line[key].as_str().unwrap_or_default(), LONGEST);
    if let Some(left_out) = line["left_out"].as_u64() {
        return format!("... {left_out} lines left out");
    }
    let mut text = format!("{} {:<5} {}: {}", of("timestamp"), of("level"), of("plugin"), of("message"));
    let fields = line.as_object().into_iter().flatten();
    for (name, value) in fields.filter(|(name, _)| !FIXED.contains(&name.as_str())) {
        let value = value.as_str().map_or_else(|| value.to_string(), |text| printable(text, LONGEST));
        text += &format!(" {}={value}", printable(name, LONGEST));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = concat!(
        r#"{"timestamp":"2026-03-01T12:00:00.000Z","level":"WARN","message":"Odd\u001b","service":"s","component":"plugin","plugin":"p","shard":3}"#,
        "\n\n{\"left_out\":7}\n",
    );

    fn logs(name: Option<&str>) -> Logs {
        let host = Host::of("http://127.0.0.1:8081");
        Logs { name: name.map(str::to_owned), follow: true, lines: 9, host }
    }

    fn copied(output: Format) -> String {
        let mut out = Vec::new();
        logs(None).copy(LINES.as_bytes(), &mut out, output).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_shown_for_people_or_as_it_came() {
        let text = copied(Format::Text);
        assert_eq!(text, "2026-03-01T12:00:00.000Z WARN  p: Odd\\u{1b} shard=3\n... 7 lines left out\n");
        let json = copied(Format::Json);
        assert_eq!(json, LINES.replace("\n\n", "\n"));
    }

    #[test]
    fn a_name_cannot_change_the_question() {
        assert_eq!(logs(Some("p")).path().unwrap(), "/logs?lines=9&follow=true&plugin=p");
        assert!(logs(Some("p&lines=1")).path().is_err());
    }
}
