//! A line for people at a terminal.
//!
//! Invariant: nothing that comes from outside moves the cursor or changes colours.

use tracing::Event;

use super::event::{self, Fields, Head, Value};
use crate::clock::rfc3339;
use crate::config::Level;

const DIM: &str = "\x1b[2m";
const END: &str = "\x1b[0m";

/// Writes an event as text, without the end of the line.
pub(super) fn line(head: &Head<'_>, event: &Event<'_>, colours: bool) -> String {
    let coloured = |begin: &str, text: &str| {
        if colours { format!("{begin}{text}{END}") } else { text.to_owned() }
    };
    let mut out = format!(
        "{} {} {}: {}",
        coloured(DIM, &rfc3339::text(head.timestamp_ms)),
        coloured(colour(head.level), &format!("{:<5}", event::name(head.level))),
        escaped(head.component),
        escaped(&head.message),
    );
    event.record(&mut Fields(|name: &str, value: Value<'_>| {
        let shown = match value {
            Value::Plain(word) => word,
            Value::Float(number) => number.to_string(),
            Value::Text(text) if bare(text) => text.to_owned(),
            Value::Text(text) => format!("\"{}\"", escaped(text).replace('"', "\\\"")),
        };
        out.push_str(&format!(" {}{shown}", coloured(DIM, &format!("{name}="))));
    }));
    out
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::Debug => "\x1b[34m",
        Level::Info => "\x1b[32m",
        Level::Warn => "\x1b[33m",
        Level::Error => "\x1b[31m",
        Level::Fatal => "\x1b[1;31m",
    }
}

/// Whether a value can be told from its surroundings without quotes.
fn bare(text: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=';
    (1..=256).contains(&text.len()) && text.chars().all(plain)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in event::shortened(text).chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
