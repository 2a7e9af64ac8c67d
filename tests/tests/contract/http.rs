//! The pages of a running host: health, metrics, tokens, partitions, and what is not there.
//!
//! The invariant: every number on a page is compared with what the test itself did.

use std::time::Instant;

use aggregator_tests::host::Host;
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use aggregator_tests::trade::Trade;
use aggregator_tests::{http, metrics, wait};
use serde_json::Value;

use crate::rig::{DEFAULT_WINDOWS, LIMIT, Rig, oracle, wait_drained, wait_final};
use aggregator_tests::results::Encoding;

const START_MS: i64 = 1_772_366_400_000;

#[test]
fn health_names_the_service_its_age_and_each_check() {
    let rig = Rig::new("health", 2);
    let host = Host::start_ready(&rig.event()).unwrap();
    let health = host.get("/health").unwrap();
    assert_eq!(health.status, 200, "{}", health.body);
    let health = health.json().unwrap();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["service"], "aggregator-service");
    assert_eq!(health["started"], true);
    assert!(health["timestamp"].is_string(), "{health}");
    assert!(health["uptime_seconds"].is_number(), "{health}");
    assert_eq!(health["metrics_summary"]["active_tokens"], 0);
    assert_eq!(health["metrics_summary"]["worker_count"], 2);
    for part in ["kafka", "redis", "plugins"] {
        assert!(health["checks"][part].is_object(), "{part} in {health}");
    }
    let live = host.get("/health/live").unwrap();
    assert_eq!((live.status, live.json().unwrap()["status"].as_str()), (200, Some("alive")));
    let ready = host.json("/health/ready").unwrap();
    assert_eq!(ready["status"], "ready");
    assert_eq!(ready["started"], true);
    assert_eq!(ready["healthy"], true);
}

#[test]
fn metrics_hold_true_values_under_the_new_names_and_the_ancestors() {
    let messages: Vec<Message> = Stream::new(&Options::new(61, Shape::Arrays, 3_000)).collect();
    let oracle = oracle(DEFAULT_WINDOWS, &messages);
    let rig = Rig::new("metrics", 4);
    rig.send(&messages);
    let host = Host::start_ready(&rig.event()).unwrap();
    wait_drained(&host, 3_000);
    wait_final(&oracle, &mut rig.connect(), Encoding::Json, |_| oracle.newest_ms());
    let live =
        oracle.tokens().into_iter().filter(|token| oracle.is_live(token, oracle.newest_ms())).count() as f64;
    wait::until_true("the ancestor's numbers to agree", LIMIT, || {
        host.metric("realtime_aggregation_trades_processed_total") == Some(3_000.0)
            && host.metric("realtime_aggregation_active_tokens") == Some(live)
    })
    .unwrap();
    let page = host.get("/metrics").unwrap().body;
    let value =
        |series: &str| metrics::value(&page, series).unwrap_or_else(|| panic!("no {series} in\n{page}"));
    assert_eq!(value("aggregator_trades_total"), 3_000.0);
    for partition in 0..4 {
        assert_eq!(value(&format!("aggregator_lag_records{{partition=\"{partition}\"}}")), 0.0);
    }
    assert!(value("aggregator_rows_written_total") >= live);
    assert!(value("aggregator_flushes_total") >= 1.0);
    assert_eq!(value("realtime_aggregation_worker_count"), 2.0);
    assert_eq!(value("realtime_aggregation_redis_success_rate"), 100.0);
    assert!(value("realtime_aggregation_goroutine_count") >= 3.0);
    assert!(value("realtime_aggregation_memory_usage_bytes") > 1e6);
    assert!(value("realtime_aggregation_uptime_seconds") > 0.0);
    for name in
        ["trade_processing_rate", "trade_processing_time_avg_ms", "calculations_total", "calculation_rate"]
    {
        value(&format!("realtime_aggregation_{name}"));
    }
    for name in [
        "calculation_time_avg_ms",
        "redis_operations_total",
        "redis_latency_avg_ms",
        "memory_allocated_bytes",
    ] {
        value(&format!("realtime_aggregation_{name}"));
    }
}

#[test]
fn tokens_are_listed_and_each_shows_its_results_as_redis_has_them() {
    let rig = Rig::new("tokens", 1);
    rig.send(&[
        Trade::simple("BUSY", START_MS).message(0),
        Trade::simple("BUSY", START_MS + 1000).message(0),
        Trade::simple("CALM", START_MS + 2000).message(0),
    ]);
    let host = Host::start_ready(&rig.event()).unwrap();
    wait_drained(&host, 3);
    let listed = |path: &str| -> Vec<String> {
        let answer = host.json(path).expect("an answer");
        let tokens = answer["tokens"].as_array().expect("a list").clone();
        tokens.iter().map(|token| token["token"].as_str().expect("an address").to_owned()).collect()
    };
    wait::until_true("both tokens to be listed", LIMIT, || listed("/tokens").len() == 2).unwrap();
    assert_eq!(listed("/tokens"), ["BUSY", "CALM"], "the busiest stand first");
    assert_eq!(listed("/tokens?limit=1"), ["BUSY"]);
    let mut token = Value::Null;
    let shown = wait::until_true("the token's results", LIMIT, || {
        token = host.json("/tokens/BUSY").expect("an answer");
        token.to_string().contains("\"buy_count\":2")
    });
    assert!(shown.is_ok(), "{token}");
    let unknown = host.get("/tokens/NOBODY").unwrap();
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    assert!(unknown.json().unwrap()["error"].is_string(), "{}", unknown.body);
}

#[test]
fn partitions_tell_their_lag_and_clock() {
    let rig = Rig::new("partitions", 3);
    rig.send(&[Trade::simple("MINT", START_MS).message(2)]);
    let host = Host::start_ready(&rig.event()).unwrap();
    wait_drained(&host, 1);
    let mut answer = Value::Null;
    let told = wait::until_true("three partitions without lag", LIMIT, || {
        answer = host.json("/partitions").expect("an answer");
        let list = answer["partitions"].as_array().cloned().unwrap_or_default();
        list.len() == 3 && list.iter().all(|partition| partition["lag"] == 0)
    });
    assert!(told.is_ok(), "{answer}");
}

#[test]
fn an_unknown_path_is_404_and_a_wrong_method_405_both_as_json() {
    let rig = Rig::new("errors", 1);
    let host = Host::start_ready(&rig.event()).unwrap();
    for (method, path, status) in
        [("GET", "/nowhere", 404), ("POST", "/health", 405), ("DELETE", "/metrics", 405)]
    {
        let answer = http::request(method, host.port(), path, "Content-Length: 0\r\n").unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        let error = answer.json().unwrap();
        assert!(error["error"].is_string(), "{method} {path}: {error}");
        assert!(error["hint"].is_string(), "{method} {path}: {error}");
    }
}

#[test]
fn what_matters_most_changes_how_often_results_are_written() {
    let rig = Rig::new("tuning", 1);
    let host = Host::start_ready(&rig.wall()).unwrap();
    // How long 16 flushes take: each of the four shards four times.
    let pace = |mode: &str| {
        let answer =
            http::request("POST", host.port(), &format!("/performance/optimize/{mode}"), "").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(host.json("/performance").unwrap()["tuning"], answer.json().unwrap()["values"]);
        let flushes = |more: f64, than: f64| {
            host.wait_metric("aggregator_flushes_total", LIMIT, |flushes| flushes >= than + more).unwrap()
        };
        // The flush that was due before the change is not timed.
        let begun = flushes(8.0, host.metric("aggregator_flushes_total").unwrap());
        let began = Instant::now();
        flushes(16.0, begun);
        began.elapsed()
    };
    let (throughput, latency, balanced) = (pace("throughput"), pace("latency"), pace("balanced"));
    assert!(throughput > balanced && balanced > latency, "{throughput:?} {balanced:?} {latency:?}");
    assert!(throughput > 5 * latency, "{throughput:?} {latency:?}");
}
