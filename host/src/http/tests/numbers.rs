//! The numbers: OpenMetrics, the ancestor's JSON, performance and its knobs.

use super::*;
use crate::metrics::Process;

#[test]
fn open_metrics_are_for_who_likes_them_most() {
    let running = serve(state());
    let ask = |accept: &str| running.ask_with("GET", "/metrics", &format!("Accept: {accept}\r\n"));
    for accept in [
        "application/openmetrics-text; version=1.0.0",
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    ] {
        let open = ask(accept);
        assert!(
            open.head.contains("content-type: application/openmetrics-text; version=1.0.0"),
            "{}",
            open.head
        );
        assert!(open.body.ends_with("# EOF\n"));
        assert!(open.body.contains("# TYPE aggregator_trades counter\n"));
        assert!(open.body.contains("aggregator_trades_total 0.0\n"));
        assert!(open.body.contains("aggregator_lag_records{partition=\"3\"} 10.0\n"));
    }
    for accept in [
        "*/*",
        "text/plain",
        "text/plain, application/openmetrics-text;q=0.5",
        "application/openmetrics-text;q=0",
    ] {
        let text = ask(accept);
        assert!(text.head.contains("content-type: text/plain; version=0.0.4"), "{accept}");
        assert!(!text.body.contains("# EOF"));
    }
}

#[test]
fn the_ancestors_groups_have_true_values() {
    let state = state();
    let metrics = Arc::clone(&state.metrics);
    let running = serve(state);
    let before = running.get("/metrics/json").json();
    assert_eq!(before["trade_processing"]["last_processed_at"], Value::Null);
    metrics.trades.inc_by(30);
    metrics.batch(Duration::from_millis(4));
    metrics.store_call(Duration::from_millis(2), true);
    metrics.sample(0);
    metrics.trades.inc_by(10);
    metrics.flush(Duration::from_micros(500));
    metrics.rows_written.inc_by(5);
    metrics.batch(Duration::from_millis(6));
    metrics.store_call(Duration::from_millis(3), false);
    metrics.sample(0);
    let json = running.get("/metrics/json").json();
    let trades = &json["trade_processing"];
    assert_eq!((&trades["total_processed"], &trades["avg_processing_time"]), (&40.into(), &6_000_000.into()));
    assert!(trades["processing_rate_per_sec"].as_f64().unwrap() > 0.0);
    assert_eq!(trades["last_processed_at"].as_str().unwrap().len(), 24);
    let rows = &json["aggregation_calculation"];
    assert_eq!((&rows["total_calculations"], &rows["avg_latency"]), (&5.into(), &500_000.into()));
    assert_eq!(rows["latency_by_window"]["1hour"], 500_000);
    let redis = &json["redis_operations"];
    let counts = ["total_operations", "successful_operations", "failed_operations", "success_rate"];
    let counts = counts.map(|name| redis[name].as_f64().unwrap());
    assert_eq!(counts, [2.0, 1.0, 1.0, 0.0]);
    assert_eq!(redis["latency_by_operation"]["write_results"], 3_000_000);
    let system = &json["system_resources"];
    assert_eq!((&system["active_tokens"], &system["worker_count"]), (&7.into(), &2.into()));
    assert!(system["memory_usage_bytes"].as_u64().unwrap() > 1 << 20);
    assert_eq!(system["gc_pause_total_ns"], 0);
    assert!(json["uptime_seconds"].is_number());
}

#[test]
fn what_matters_most_can_be_chosen_and_is_shown() {
    let state = state();
    let tuning = Arc::clone(&state.tuning);
    let running = serve(state);
    let shown = running.get("/performance").json();
    assert!(shown["memory"]["heap_inuse_mb"].as_f64().unwrap() > 1.0);
    assert_eq!(shown["runtime"]["gomaxprocs"], 2);
    assert_eq!(shown["runtime"]["backpressure"], "OK");
    assert_eq!(
        (&shown["tuning"]["mode"], &shown["tuning"]["last_tune_time"]),
        (&"balanced".into(), &Value::Null)
    );
    assert_eq!(shown["tuning"]["flush_interval_ms"], 100.0);
    for (mode, flush_ms) in [("latency", 3), ("throughput", 500), ("balanced", 100)] {
        let answer = running.ask("POST", &format!("/performance/optimize/{mode}")).json();
        assert_eq!((&answer["status"], &answer["values"]["mode"]), (&"completed".into(), &mode.into()));
        assert_eq!(tuning.flush_interval(), Duration::from_millis(flush_ms));
        let shown = running.get("/performance").json();
        assert_eq!(shown["tuning"], answer["values"]);
        assert!(shown["tuning"]["last_tune_time"].is_string());
    }
    running.ask("POST", "/performance/optimize/nothing").refuses(404);
}

#[test]
fn memory_is_given_back_on_request_with_the_numbers_before_and_after() {
    let (requests, asked) = crate::maintenance::Requests::pair();
    let running = serve(state().kept_by(requests, Some(64 << 20)));
    let given = crate::maintenance::GivenBack {
        before: Process { anonymous_bytes: 8 << 20, ..Process::default() },
        after: Process { anonymous_bytes: 3 << 20, ..Process::default() },
        plugins_before_bytes: 4 << 20,
        plugins_after_bytes: 1 << 20,
        recreated: 2,
        trimmed: true,
        took: std::time::Duration::from_millis(7),
    };
    let answering = std::thread::spawn(move || asked.recv().unwrap().send(given).unwrap());
    let answer = running.ask("POST", "/performance/gc");
    answering.join().unwrap();
    let json = answer.json();
    assert_eq!((answer.status, json["status"].as_str()), (200, Some("completed")));
    let stats = &json["stats"];
    assert_eq!((stats["heap_before_mb"].as_f64(), stats["heap_after_mb"].as_f64()), (Some(8.0), Some(3.0)));
    assert_eq!((stats["memory_freed_mb"].as_f64(), stats["gc_duration_ms"].as_f64()), (Some(5.0), Some(7.0)));
    assert_eq!(stats["instances_recreated"], 2);
    let json = running.get("/performance").json();
    assert_eq!(json["memory"]["plugin_memory_limit_mb"], 64.0);
    assert_eq!(json["maintenance"]["differences"], 0);
}
