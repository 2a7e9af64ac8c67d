//! Every path of the table, asked over a real connection.

mod admin;
mod numbers;
mod page;

use std::collections::BTreeMap;
use std::future::pending;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::page::Page;
use super::plugins::Plugins;
use super::state::ResultShape;
use super::{Server, State};
use crate::clock::WallClock;
use crate::config;
use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::pipeline::board::Board;
use crate::pipeline::rejections::{Rejections, Undelivered};
use crate::pipeline::status::TokenStatus;
use crate::pipeline::tap::Tap;
use crate::pipeline::{Layout, Tuning};
use crate::store::{Chunk, Row, Store};

/// A service as handlers see it, with one token in the store.
fn state() -> State {
    let metrics = Arc::new(Metrics::new().unwrap());
    let clock = Arc::new(WallClock::start());
    let board = Board::default();
    board.assign(3, 10, 10, std::iter::once(0));
    board.partition(3, |status| {
        status.end = Some(50);
        status.newest_ms = Some(0);
    });
    board.accept(0, &[(3, 40)]);
    board.open_shard(0);
    board.shard(0, |status| {
        status.clock_ms = Some(clock.now_ms() - 2_000);
        status.tokens = 7;
    });
    let health = Health::new(1, Duration::from_secs(1));
    for part in [Part::Kafka, Part::Redis, Part::Plugins] {
        health.ok(part, "");
    }
    // Nothing is to be heard, so that an answer has an end.
    let tap = Tap::new(Arc::clone(&clock));
    tap.end();
    State {
        tap: Arc::new(tap),
        plugin_lines: Arc::default(),
        rejections: Arc::new(Rejections::new(Arc::clone(&metrics), None, Undelivered::default())),
        metrics,
        health: Arc::new(health),
        sources: Arc::default(),
        board: Arc::new(board),
        store: Arc::new(Store::memory()),
        clock,
        shapes: Arc::new(|| {
            let words = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            vec![ResultShape {
                plugin: "sliding-window".to_owned(),
                key: "aggregates".into(),
                groups: words(&["5min", "1hour"]),
                fields: words(&["sell_count", "buy_count"]),
            }]
        }),
        evictions: Arc::default(),
        giving_back: None,
        memory_limit: None,
        layout: Layout { partitioning: config::Partitioning::Shuffle, shards: 16, workers: 2 },
        tuning: Arc::new(Tuning::new(Duration::from_millis(100))),
        plugins: Plugins::fixed(Vec::new),
        members: Arc::default(),
        started: Arc::new(AtomicBool::new(true)),
        begun: Instant::now(),
        scrape: Mutex::new(()),
        live_listing: Arc::new(|limit, sort| {
            assert_ne!(limit, 13, "the limit that panics");
            let token = |index: usize| TokenStatus {
                token: format!("<i>{sort:?}{index}"),
                last_trade_ms: if index == 0 { i64::MIN } else { 0 },
                trades: 9,
                shard: 0,
            };
            (0..limit.min(3)).map(token).collect()
        }),
        listing_turn: Arc::new(tokio::sync::Mutex::new(Instant::now())),
        page: Page::default(),
        streams: Arc::default(),
    }
}

/// Writes a token's value, as the pipeline would.
async fn write(store: &Store, token: &str, value: &[u8]) {
    let mut chunk = Chunk::new(0, "aggregates".into(), true, 1_000, None);
    chunk.owner = store.claim(0, 1).await.unwrap();
    chunk.rows.push(Row { token: token.into(), last_trade_ms: 1_000, end: value.len() });
    chunk.values.extend_from_slice(value);
    store.write(&chunk).await.unwrap();
}

/// A running server.
struct Running {
    address: SocketAddr,
    /// Ends the server with itself.
    runtime: Runtime,
}

fn serve_with(state: State, metrics_enabled: bool) -> Running {
    serve_by(&http(0, metrics_enabled), state)
}

fn serve_by(config: &config::Http, state: State) -> Running {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::bind(config, state)).unwrap();
    let address = server.address();
    runtime.spawn(server.serve(pending()));
    Running { address, runtime }
}

fn serve(state: State) -> Running {
    serve_with(state, true)
}

fn http(port: u16, metrics_enabled: bool) -> config::Http {
    config::Http { bind: Ipv4Addr::LOCALHOST.into(), port, metrics_enabled, admin_token: None }
}

/// An answer as text.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap()
    }

    /// Checks that it is an error of the contract's form.
    fn refuses(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.body);
        let json = self.json();
        assert!(json["error"].is_string() && json["hint"].is_string());
    }
}

/// Reads an answer to its end, or one that has none up to its first event.
fn read(stream: &mut TcpStream) -> String {
    let (mut bytes, mut more) = (Vec::new(), [0; 4_096]);
    loop {
        let read = stream.read(&mut more).unwrap();
        bytes.extend_from_slice(&more[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let is_stream = text.contains("text/event-stream");
        let has_event = text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.contains("\n\n"));
        if read == 0 || (is_stream && has_event) {
            return text.into_owned();
        }
    }
}

impl Running {
    fn ask(&self, method: &str, path: &str) -> Answer {
        self.ask_with(method, path, "")
    }

    /// Asks with further lines in the head.
    fn ask_with(&self, method: &str, path: &str, head: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "{method} {path} HTTP/1.0\r\n{head}\r\n").unwrap();
        let text = read(&mut stream);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path)
    }
}

#[test]
fn health_is_200_with_the_summary_and_503_with_the_failing_check() {
    let state = state();
    let health = Arc::clone(&state.health);
    let running = serve(state);
    let good = running.get("/health");
    let json = good.json();
    assert_eq!((good.status, &json["status"]), (200, &Value::from("healthy")));
    assert_eq!(json["service"], "aggregator-service");
    assert_eq!(json["started"], true);
    assert!(json["uptime_seconds"].is_number());
    assert_eq!(json["timestamp"].as_str().unwrap().len(), 24);
    assert_eq!(json["metrics_summary"]["active_tokens"], 7);
    assert_eq!(json["metrics_summary"]["worker_count"], 2);
    assert_eq!(json["checks"]["kafka"]["state"], "ok");

    health.fail(Part::Redis, "", "no route");
    let bad = running.get("/health");
    let json = bad.json();
    assert_eq!((bad.status, &json["status"]), (503, &Value::from("unhealthy")));
    assert_eq!(json["checks"]["redis"]["state"], "failing");
    assert_eq!(json["checks"]["redis"]["reason"], "no route");
}

#[test]
fn a_wedged_worker_makes_it_not_live() {
    let state = state();
    let running = serve(state);
    let alive = running.get("/health/live");
    assert_eq!(alive.status, 200);
    assert_eq!(alive.json()["status"], "alive");

    let mut state = self::state();
    state.clock = Arc::new(WallClock::new(Box::new(Late)));
    let running = serve(state);
    let wedged = running.get("/health/live");
    assert_eq!(wedged.status, 503);
    assert_eq!(wedged.json()["status"], "wedged");
    assert_eq!(wedged.json()["wedged_workers"][0], 0);
    assert_eq!(running.get("/health").status, 503);
}

/// Clocks a minute after the worker's last beat.
struct Late;

impl crate::clock::Source for Late {
    fn system_ms(&self) -> i64 {
        60_000
    }

    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::from_mins(1)
    }

    fn sleep(&self, _: std::time::Duration) -> crate::clock::Sleep {
        Box::pin(std::future::pending())
    }
}

#[test]
fn it_is_ready_when_started_and_healthy_and_names_what_is_not() {
    let state = state();
    let (started, health) = (Arc::clone(&state.started), Arc::clone(&state.health));
    let running = serve(state);
    let ready = running.get("/health/ready");
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["status"], "ready");

    started.store(false, Ordering::Relaxed);
    health.fail(Part::Kafka, "", "no broker");
    let not_ready = running.get("/health/ready");
    let json = not_ready.json();
    assert_eq!(not_ready.status, 503);
    assert_eq!(json["status"], "not_ready");
    assert_eq!((&json["started"], &json["healthy"]), (&false.into(), &false.into()));
    assert_eq!(json["reasons"][0], "not started");
    assert_eq!(json["reasons"][1], "kafka: no broker");
}

#[test]
fn metrics_are_prometheus_text_unless_switched_off() {
    let on = serve(state()).get("/metrics");
    assert_eq!(on.status, 200);
    assert!(on.head.contains("content-type: text/plain; version=0.0.4"));
    assert!(on.body.contains("aggregator_lag_records{partition=\"3\"} 10\n"));
    assert!(on.body.contains("realtime_aggregation_active_tokens 7\n"));
    serve_with(state(), false).get("/metrics").refuses(404);
}

#[test]
fn tokens_are_listed_as_asked_for() {
    let running = serve(state());
    let json = running.get("/tokens?sort=last_trade&limit=2").json();
    assert_eq!(json["tokens"].as_array().unwrap().len(), 2);
    assert_eq!(json["tokens"][1]["token"], "<i>LastTrade1");
    assert_eq!(json["tokens"][0]["last_trade"], Value::Null);
    assert_eq!(json["tokens"][1]["last_trade"], "1970-01-01T00:00:00.000Z");
    assert_eq!(json["active_tokens"], 7);
    for bad in ["limit=0", "limit=10001", "limit=-1", "limit=x", "sort=size"] {
        running.get(&format!("/tokens?{bad}")).refuses(400);
    }
}

#[test]
fn a_token_shows_its_results_in_declared_order() {
    let state = state();
    let store = Arc::clone(&state.store);
    let running = serve(state);
    let value =
        br#"{"1hour":{"buy_count":2,"extra":0,"sell_count":1},"5min":{"buy_count":1,"sell_count":0}}"#;
    running.runtime.block_on(write(&store, "a b", value));
    let answer = running.get("/tokens/a%20b");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        "{\"token\":\"a b\",\"last_update\":\"1970-01-01T00:00:01.000Z\",\"results\":{\"aggregates\":\
         {\"5min\":{\"sell_count\":0,\"buy_count\":1},\
         \"1hour\":{\"sell_count\":1,\"buy_count\":2,\"extra\":0}}}}"
    );
}

#[test]
fn an_unknown_token_is_404_and_one_that_cannot_be_read_is_told_apart() {
    let state = state();
    let store = Arc::clone(&state.store);
    let running = serve(state);
    running.get("/tokens/unknown").refuses(404);
    running.get(&format!("/tokens/{}", "x".repeat(129))).refuses(404);
    running.get("/tokens/%ff").refuses(400);
    running.runtime.block_on(write(&store, "odd", b"\xc1"));
    running.get("/tokens/odd").refuses(500);
}

#[test]
fn with_the_store_away_a_token_is_503_and_the_page_says_why() {
    let map = BTreeMap::from([("REDIS_ADDR".to_owned(), "127.0.0.1:1".to_owned())]);
    let (config, _) = config::Config::from_map(&map).unwrap();
    let mut state = state();
    state.store = Arc::new(Store::redis(&config.redis).unwrap());
    let running = serve(state);
    running.get("/tokens/any").refuses(503);
    let page = running.get("/");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("127.0.0.1:1"), "{}", page.body);
}

#[test]
fn partitions_and_shards_show_where_they_stand() {
    let json = serve(state()).get("/partitions").json();
    let partition = &json["partitions"][0];
    assert_eq!(partition["partition"], 3);
    assert_eq!(partition["state"], "behind");
    assert_eq!((&partition["processed"], &partition["lag"]), (&40.into(), &10.into()));
    assert_eq!(partition["newest"], "1970-01-01T00:00:00.000Z");
    assert!((2.0..30.0).contains(&partition["clock_lag_seconds"].as_f64().unwrap()));
    assert!(partition["owner"].is_string() && json["elsewhere"].is_array());
    let shard = &json["shards"][0];
    assert_eq!(shard["tokens"], 7);
    assert!((2.0..30.0).contains(&shard["clock_lag_seconds"].as_f64().unwrap()));
    assert_eq!(shard["clock"].as_str().unwrap().len(), 24);
}

#[test]
fn rejections_are_a_list() {
    let json = serve(state()).get("/rejections").json();
    assert_eq!(json["rejections"], Value::Array(Vec::new()));
}

#[test]
fn unknown_paths_and_wrong_methods_are_json() {
    let running = serve(state());
    running.get("/nothing").refuses(404);
    running.get("/tokens/a/b").refuses(404);
    let wrong = running.ask("POST", "/health");
    wrong.refuses(405);
    assert!(wrong.head.contains("allow: get,head"), "{}", wrong.head);
}

#[test]
fn head_answers_like_get_without_a_body() {
    let running = serve(state());
    for path in ["/", "/health", "/metrics", "/tokens"] {
        let head = running.ask("HEAD", path);
        assert_eq!((head.status, head.body.as_str()), (200, ""));
    }
}

#[test]
fn a_panic_in_a_handler_ends_only_its_answer() {
    let running = serve(state());
    running.get("/tokens?limit=13").refuses(500);
    assert_eq!(running.get("/tokens").status, 200);
}

#[test]
fn a_taken_address_is_named() {
    let running = serve(state());
    let taken = http(running.address.port(), true);
    let bound = running.runtime.block_on(Server::bind(&taken, state()));
    let error = bound.err().unwrap().to_string();
    assert!(error.contains(&running.address.to_string()), "{error}");
}

#[test]
fn the_end_does_not_wait_for_idle_clients() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::bind(&http(0, true), state())).unwrap();
    let address = server.address();
    let (end, ended) = oneshot::channel::<()>();
    let serving = runtime.spawn(server.serve(async move { drop(ended.await) }));
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET /health HT").unwrap();
    let began = Instant::now();
    drop(end);
    runtime.block_on(serving).unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
}
