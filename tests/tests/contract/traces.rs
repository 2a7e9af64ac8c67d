//! Traces as a collector gets them: spans of every kind, in the protocol's form, and no harm where it is away.
//!
//! The invariant: the collector here is a few lines that know the protocol and nothing of the service.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use aggregator_tests::host::Host;
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use aggregator_tests::{http, paths, ports, wait};
use serde_json::Value;

use crate::rig::{LIMIT, Rig, wait_drained};
use crate::yaml::list;

/// A collector that keeps the spans it is sent.
struct Collector {
    port: u16,
    spans: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let spans = Arc::<Mutex<Vec<Value>>>::default();
        let kept = Arc::clone(&spans);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend(take(stream));
            }
        });
        Self { port, spans }
    }

    fn spans(&self) -> Vec<Value> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn named(&self, name: &str) -> Vec<Value> {
        self.spans().into_iter().filter(|span| span["name"] == name).collect()
    }
}

/// Reads one request to its announced end, answers, and gives its spans.
fn take(mut stream: TcpStream) -> Vec<Value> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16_384];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if length.and_then(|length| length.parse::<usize>().ok()) != Some(body.len()) {
            continue;
        }
        assert!(head.starts_with("POST /v1/traces "), "{head}");
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{}").ok();
        let body: Value = serde_json::from_str(body).expect("JSON");
        let resources = list(&body["resourceSpans"]);
        let scopes = resources.iter().flat_map(|resource| list(&resource["scopeSpans"]));
        return scopes.flat_map(|scope| list(&scope["spans"])).collect();
    }
    Vec::new()
}

fn number(span: &Value, name: &str) -> i64 {
    let attributes = list(&span["attributes"]);
    let found = attributes.iter().find(|attribute| attribute["key"] == name);
    let value = found.and_then(|attribute| attribute["value"]["intValue"].as_str()?.parse().ok());
    value.unwrap_or_else(|| panic!("no number {name} in {span}"))
}

#[test]
fn a_collector_gets_spans_of_every_kind_and_a_batch_is_one_trace() {
    let collector = Collector::start();
    let messages: Vec<Message> = Stream::new(&Options::new(95, Shape::Arrays, 3_000)).collect();
    let rig = Rig::new("traces", 4);
    rig.send(&messages);
    let plugins = tempfile::tempdir().unwrap();
    let settings = rig
        .event()
        .with("CHECKPOINT_INTERVAL", "200ms")
        .with("PLUGIN_PROBATION", "0s")
        .with("PLUGINS_DIR", &plugins.path().display().to_string())
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://127.0.0.1:{}", collector.port));
    let mut host = Host::start(&settings).unwrap();
    wait_drained(&host, 3_000);
    let wasm = fs::read(paths::component("vwap").unwrap()).unwrap();
    let answer = http::send("PUT", host.port(), "/plugins/vwap", "", &wasm).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    for name in ["fetch", "process", "flush", "checkpoint", "swap", "load"] {
        let what = format!("a span {name}");
        wait::until_true(&what, LIMIT, || !collector.named(name).is_empty()).unwrap();
    }
    let ended = host.stop(LIMIT).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);

    let processed = collector.named("process");
    let fetched: BTreeMap<String, Value> =
        collector.named("fetch").into_iter().map(|span| (span["traceId"].to_string(), span)).collect();
    for span in processed.iter().filter(|span| number(span, "messages") > 0) {
        let parent = &fetched[&span["traceId"].to_string()];
        assert_eq!(span["parentSpanId"], parent["spanId"]);
        for name in ["partition", "first", "messages"] {
            assert_eq!(number(span, name), number(parent, name), "{name}");
        }
    }
    let counted: i64 = processed.iter().map(|span| number(span, "messages")).sum();
    assert_eq!(counted, messages.len() as i64, "messages in spans");
    let swap = &collector.named("swap")[0];
    assert_eq!(collector.named("load")[0]["parentSpanId"], swap["spanId"]);
    for span in collector.spans() {
        let time = |name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"), "{span}");
        assert_eq!(span["traceId"].as_str().map(str::len), Some(32), "{span}");
    }
}

#[test]
fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let messages: Vec<Message> = Stream::new(&Options::new(96, Shape::Arrays, 3_000)).collect();
    let rig = Rig::new("untraced", 4);
    rig.send(&messages);
    let nobody = format!("http://127.0.0.1:{}", ports::free());
    let host = Host::start(&rig.event().with("OTEL_EXPORTER_OTLP_ENDPOINT", &nobody)).unwrap();
    wait_drained(&host, 3_000);
    host.wait_metric("aggregator_spans_lost_total", LIMIT, |lost| lost > 0.0).unwrap();
    host.wait_line("Traces not sent", LIMIT).unwrap();
    host.wait_ready(LIMIT).unwrap();
}
