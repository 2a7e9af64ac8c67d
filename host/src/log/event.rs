//! An event taken apart: what both forms of a line need of it.

use std::error::Error;
use std::fmt;

use tracing::Event;
use tracing::field::{Field, Visit};

use crate::config::Level;

/// The field that makes an error fatal; it is shown as the level only.
pub(super) const FATAL: &str = "fatal";

/// The crate whose modules are components.
pub(super) const CRATE: &str = env!("CARGO_CRATE_NAME");

/// The field that says which plugin an event is about.
const PLUGIN: &str = "plugin";

/// The field that holds the words of an event.
const MESSAGE: &str = "message";

/// The most of one text that is written, in bytes.
const LONGEST_TEXT: usize = 16 * 1024;

/// What a line begins with.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) timestamp_ms: i64,
    pub(super) level: Level,
    pub(super) component: &'a str,
    pub(super) message: String,
}

/// A field's value, in the type that it was given with.
pub(super) enum Value<'a> {
    /// A whole number or a truth value, as its digits or word.
    Plain(String),
    /// A number that may be infinite or none.
    Float(f64),
    /// Any text.
    Text(&'a str),
}

/// Finds the part of the service that an event comes from: the first module of this crate's path,
/// the name of another crate, or a target that was given by hand.
pub(super) fn component(target: &str) -> &str {
    let (first, rest) = target.split_once("::").unwrap_or((target, ""));
    if first != CRATE || rest.is_empty() {
        return first;
    }
    rest.split_once("::").map_or(rest, |(module, _)| module)
}

/// Gives the level's name as it is written.
pub(super) fn name(level: Level) -> &'static str {
    match level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
        Level::Fatal => "FATAL",
    }
}

/// Cuts a text where it is too long for a line.
pub(super) fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

/// Which plugin an event is about; none where it is about none.
pub(super) fn plugin(event: &Event<'_>) -> Option<String> {
    event.metadata().fields().field(PLUGIN)?;
    let mut plugin = None;
    event.record(&mut Fields(|name: &str, value: Value<'_>| match value {
        Value::Text(text) if name == PLUGIN => plugin = Some(text.to_owned()),
        _ => {}
    }));
    plugin
}

/// Picks out what is not a field of the line: the message and the mark of a fatal error.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) message: String,
    pub(super) fatal: bool,
}

impl Visit for Words {
    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == FATAL {
            self.fatal = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            value.clone_into(&mut self.message);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            self.message = format!("{value:?}");
        }
    }
}

/// Hands each field of the line to a function.
pub(super) struct Fields<F>(pub(super) F);

impl<F: FnMut(&str, Value<'_>)> Fields<F> {
    fn give(&mut self, field: &Field, value: Value<'_>) {
        let name = field.name();
        if name != MESSAGE && name != FATAL {
            (self.0)(name.strip_prefix("r#").unwrap_or(name), value);
        }
    }
}

impl<F: FnMut(&str, Value<'_>)> Visit for Fields<F> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.give(field, Value::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.give(field, Value::Plain(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.give(field, Value::Plain(value.to_string()));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.give(field, Value::Plain(value.to_string()));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.give(field, Value::Plain(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.give(field, Value::Plain(value.to_string()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.give(field, Value::Text(value));
    }

    fn record_error(&mut self, field: &Field, error: &(dyn Error + 'static)) {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next.filter(|_| text.len() < LONGEST_TEXT) {
            text.push_str(&format!(": {cause}"));
            next = cause.source();
        }
        self.give(field, Value::Text(&text));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.give(field, Value::Text(&text));
    }
}
