//! Traces: where spans are sent.

use super::parse::Parsed;
use super::reader::Reader;
use super::setting::Setting;
use crate::request;

/// The settings of this concern.
pub(super) const SETTINGS: &[Setting] = &[Setting::new(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "",
    "The OpenTelemetry collector that spans are sent to (OTLP over HTTP), like http://localhost:4318. \
     Empty: no traces.",
)];

/// What a collector listens for behind its address.
const PATH: &str = "/v1/traces";

/// Where spans are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// The collector; none: there are no traces.
    pub endpoint: Option<Endpoint>,
}

/// A collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port.
    pub authority: String,
    /// The path that takes spans.
    pub path: String,
}

impl Traces {
    /// Reads this part.
    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self { endpoint: from.optional("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint) })
    }
}

fn endpoint(text: &str) -> Parsed<Endpoint> {
    let (authority, path) = request::address(text).ok_or_else(|| {
        "allowed is http://host:port; put a collector that speaks TLS behind one nearby".to_owned()
    })?;
    Ok(Endpoint { authority, path: path + PATH })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_plain_http_and_its_path_is_added() {
        let found = endpoint("http://localhost:4318").unwrap();
        assert_eq!((found.authority.as_str(), found.path.as_str()), ("localhost:4318", "/v1/traces"));
        assert_eq!(endpoint("http://a/otlp/").unwrap().path, "/otlp/v1/traces");
        assert!(endpoint("https://a").is_err());
        assert!(endpoint("localhost:4318").is_err());
    }
}
