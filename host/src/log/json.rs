//! A line as one JSON object.
//!
//! Invariant: no key stands twice because of a field; one that has the name of a fixed key gets an
//! underscore.

use tracing::Event;

use super::event::{self, Fields, Head, Value};
use crate::clock::rfc3339;

/// What every line says of itself.
const SERVICE: &str = "aggregator-service";

const FIXED_KEYS: [&str; 5] = ["timestamp", "level", "message", "service", "component"];

/// Writes an event as a JSON object, without the end of the line.
pub(super) fn line(head: &Head<'_>, event: &Event<'_>) -> String {
    let mut out = format!(
        "{{\"timestamp\":\"{}\",\"level\":\"{}\",\"message\":{},\"service\":\"{SERVICE}\",\"component\":{}",
        rfc3339::text(head.timestamp_ms),
        event::name(head.level),
        quoted(&head.message),
        quoted(head.component),
    );
    event.record(&mut Fields(|name: &str, value: Value<'_>| {
        let underscore = if FIXED_KEYS.contains(&name) { "_" } else { "" };
        out.push_str(&format!(",{}:", quoted(&format!("{name}{underscore}"))));
        match value {
            Value::Plain(word) => out.push_str(&word),
            Value::Float(number) => out.push_str(&float(number)),
            Value::Text(text) => out.push_str(&quoted(text)),
        }
    }));
    out.push('}');
    out
}

/// JSON has no number for infinity.
fn float(number: f64) -> String {
    if number.is_finite() { number_text(number) } else { quoted(&number.to_string()) }
}

fn number_text(number: f64) -> String {
    serde_json::Number::from_f64(number).map_or_else(|| "null".to_owned(), |n| n.to_string())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(event::shortened(text)).to_string()
}
