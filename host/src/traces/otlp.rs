//! Spans as OTLP in JSON, which every collector takes at `/v1/traces`.
//!
//! Invariant: ids are hexadecimal and 64-bit numbers are texts, as the protocol's JSON form wants them.

use serde_json::{Value as Json, json};

use super::span::{Span, Value};

/// What the service is called, as in the log.
const SERVICE: &str = "aggregator-service";

/// The body of one request.
pub(super) fn body(spans: &[Span]) -> Vec<u8> {
    let spans: Vec<Json> = spans.iter().map(span).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            attribute("service.name", &Value::Text(SERVICE.to_owned())),
            attribute("service.version", &Value::Text(env!("CARGO_PKG_VERSION").to_owned())),
            attribute("process.pid", &Value::Number(i64::from(std::process::id()))),
        ] },
        "scopeSpans": [{
            "scope": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
        }],
    }] })
    .to_string()
    .into_bytes()
}

fn span(span: &Span) -> Json {
    let attributes: Vec<Json> = span.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    let mut json = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.id),
        "name": span.name,
        // Internal: neither a request nor an answer.
        "kind": 1,
        "startTimeUnixNano": span.began_ns.to_string(),
        "endTimeUnixNano": span.ended_ns.to_string(),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = format!("{parent:016x}").into();
    }
    if let Some(failure) = &span.failure {
        json["status"] = json!({ "code": 2, "message": failure });
    }
    json
}

fn attribute(name: &str, value: &Value) -> Json {
    let value = match value {
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Text(text) => json!({ "stringValue": text }),
    };
    json!({ "key": name, "value": value })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_span_has_the_form_of_the_protocol() {
        let one = Span::ended("flush", Duration::from_nanos(7)).number("shard", 3).text("plugin", "vwap");
        let two = one.part("load", Duration::ZERO, Duration::ZERO).failed(Some("trap".to_owned()));
        let body: Json = serde_json::from_slice(&body(&[one.clone(), two])).unwrap();
        let resource = &body["resourceSpans"][0];
        let service = &resource["resource"]["attributes"][0];
        assert_eq!(service["value"]["stringValue"], "aggregator-service");
        let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!(spans[0]["traceId"].as_str().map(str::len), Some(32));
        assert_eq!(spans[0]["spanId"].as_str().map(str::len), Some(16));
        assert_eq!(spans[0]["endTimeUnixNano"], one.ended_ns.to_string());
        assert_eq!(spans[0]["attributes"][0]["value"]["intValue"], "3");
        assert_eq!(spans[0]["attributes"][1]["value"]["stringValue"], "vwap");
        assert_eq!(spans[1]["parentSpanId"], spans[0]["spanId"]);
        assert_eq!(spans[1]["status"]["message"], "trap");
        assert_eq!(spans[0].get("status"), None);
    }
}
