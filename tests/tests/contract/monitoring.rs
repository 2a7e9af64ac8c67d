//! The monitoring kit: what the dashboard and the alert rules ask for is what the service tells.
//!
//! The invariant: names are taken from the files themselves, and looked up in the answers of running hosts.

use std::collections::BTreeSet;
use std::process::Command;

use aggregator_tests::host::Host;
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use aggregator_tests::{paths, wait};
use serde_json::Value;

use crate::rig::{LIMIT, Rig, wait_drained};
use crate::yaml;

const DASHBOARD: &str = "host/monitoring/grafana/aggregator.json";
const RULES: &str = "host/monitoring/aggregator.rules.yml";
const RULE_TESTS: &str = "host/monitoring/aggregator.rules.test.yml";

/// The names of the ancestor, without their prefix.
const OF_THE_ANCESTOR: [&str; 15] = [
    "trades_processed_total",
    "trade_processing_rate",
    "trade_processing_time_avg_ms",
    "calculations_total",
    "calculation_rate",
    "calculation_time_avg_ms",
    "redis_operations_total",
    "redis_success_rate",
    "redis_latency_avg_ms",
    "active_tokens",
    "worker_count",
    "goroutine_count",
    "memory_usage_bytes",
    "memory_allocated_bytes",
    "uptime_seconds",
];

/// The names of metrics in an expression, by their beginnings.
fn names(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_ours = |word: &&str| word.starts_with("aggregator_") || word.starts_with("realtime_aggregation_");
    words.filter(is_ours).map(str::to_owned).collect()
}

/// Every text under this key, at any depth.
fn under(key: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                match inner.as_str() {
                    Some(text) if name == key => found.push(text.to_owned()),
                    _ => under(key, inner, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| under(key, inner, found)),
        _ => {}
    }
}

fn asked_for(value: &Value, keys: &[&str]) -> BTreeSet<String> {
    let mut expressions = Vec::new();
    keys.iter().for_each(|key| under(key, value, &mut expressions));
    assert!(!expressions.is_empty(), "no expressions under {keys:?}");
    expressions.iter().flat_map(|expression| names(expression)).collect()
}

/// The names of all samples on a page.
fn told(page: &str) -> BTreeSet<String> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

/// A host of a feed of its own that has counted all trades and stored a checkpoint.
fn busy_host(mode: &str, messages: &[Message]) -> (Rig, Host) {
    let rig = Rig::new(mode, 4);
    rig.send(messages);
    let settings = rig.event().with("PARTITIONING", mode).with("CHECKPOINT_INTERVAL", "200ms");
    let host = Host::start(&settings).unwrap();
    wait_drained(&host, 600);
    host.wait_metric("aggregator_checkpoints_total", LIMIT, |stored| stored > 0.0).unwrap();
    (rig, host)
}

#[test]
fn every_name_on_the_dashboard_and_in_the_rules_is_told_and_so_are_the_ancestors() {
    let dashboard: Value = serde_json::from_str(&yaml::text(DASHBOARD)).unwrap();
    let mut asked = asked_for(&dashboard, &["expr", "query"]);
    asked.extend(asked_for(&yaml::document(RULES), &["expr"]));
    asked.extend(asked_for(&yaml::document(RULE_TESTS), &["series"]));
    assert!(asked.len() > 35, "{asked:?}");
    asked.extend(OF_THE_ANCESTOR.map(|name| format!("realtime_aggregation_{name}")));
    let messages: Vec<Message> = Stream::new(&Options::new(81, Shape::Arrays, 600)).collect();
    // One host with all trades of a feed, one of a feed that is shared: each tells what the other cannot.
    let hosts = ["shuffle", "repartition"].map(|mode| busy_host(mode, &messages));
    // Some is only told once it was sampled, which happens once a second.
    let missing = || -> Vec<String> {
        let pages = hosts.iter().map(|(_, host)| host.get("/metrics").unwrap().body);
        let told: BTreeSet<String> = pages.flat_map(|page| told(&page)).collect();
        asked.difference(&told).cloned().collect()
    };
    let all_told = wait::until_true("every name to be told", LIMIT, || missing().is_empty());
    assert!(all_told.is_ok(), "nobody tells {:?}", missing());
}

#[test]
fn the_dashboard_can_be_imported_and_has_a_panel_for_each_concern() {
    let dashboard: Value = serde_json::from_str(&yaml::text(DASHBOARD)).unwrap();
    assert_eq!((&dashboard["uid"], dashboard["id"].is_null()), (&Value::from("aggregator"), true));
    let panels = yaml::list(&dashboard["panels"]);
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let rows: Vec<&str> = panels
        .iter()
        .filter(|panel| panel["type"] == "row")
        .filter_map(|row| row["title"].as_str())
        .collect();
    assert_eq!(
        rows,
        [
            "Now",
            "Throughput",
            "Latency",
            "Lag and clock",
            "Windows and Redis",
            "Checkpoints",
            "Plugins",
            "Process"
        ]
    );
    let mut taken = BTreeSet::new();
    for panel in &panels {
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for (x, y) in (side("x")..side("x") + side("w")).flat_map(|x| {
            let rows = side("y")..side("y") + side("h");
            rows.map(move |y| (x, y))
        }) {
            assert!(x < 24 && taken.insert((x, y)), "{} covers another panel", panel["title"]);
        }
        let shows_something = panel["type"] == "row" || !yaml::list(&panel["targets"]).is_empty();
        assert!(shows_something, "{} asks for nothing", panel["title"]);
    }
}

#[test]
fn every_alert_says_what_is_wrong_and_where_to_look() {
    let rules = yaml::document(RULES);
    let groups = yaml::list(&rules["groups"]);
    let alerts: Vec<Value> = groups.iter().flat_map(|group| yaml::list(&group["rules"])).collect();
    let mut seen = BTreeSet::new();
    for alert in &alerts {
        let name = alert["alert"].as_str().unwrap();
        assert!(seen.insert(name), "{name} stands twice");
        assert!(["warning", "critical"].contains(&alert["labels"]["severity"].as_str().unwrap()), "{name}");
        for words in ["summary", "description"] {
            assert!(
                alert["annotations"][words].as_str().is_some_and(|text| text.len() > 20),
                "{name} {words}"
            );
        }
    }
    for wanted in [
        "AggregatorLagHigh",
        "AggregatorWindowsStale",
        "AggregatorNobodyServes",
        "AggregatorRejections",
        "AggregatorPluginFaults",
        "AggregatorCheckpointsOld",
        "AggregatorRedisErrors",
        "AggregatorMemoryHigh",
    ] {
        assert!(seen.contains(wanted), "{wanted} is missing");
    }
}

#[test]
fn promtool_takes_the_rules_and_they_fire_when_they_should() {
    let promtool = paths::promtool().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(&promtool)
            .args(arguments)
            .current_dir(paths::workspace().join("host/monitoring"))
            .output()
            .unwrap();
        let words = [output.stdout, output.stderr].concat();
        let words = String::from_utf8_lossy(&words).into_owned();
        assert!(output.status.success(), "promtool {arguments:?}: {words}");
        words
    };
    let checked = run(&["check", "rules", "aggregator.rules.yml"]);
    assert!(checked.contains("SUCCESS") && checked.contains("rules found"), "{checked}");
    run(&["test", "rules", "aggregator.rules.test.yml"]);
    run(&["check", "config", "--syntax-only", "prometheus.yml"]);
}

#[test]
fn an_alert_is_seen_the_first_time_since_its_counter_is_there_before() {
    let rig = Rig::new("zeros", 2);
    let host = Host::start_ready(&rig.wall()).unwrap();
    for series in [
        "aggregator_plugin_faults_total{plugin=\"sliding-window\",stage=\"process\"}",
        "aggregator_quarantined_total{plugin=\"sliding-window\"}",
        "aggregator_plugin_swaps_total{plugin=\"sliding-window\",result=\"rolled_back\"}",
        "aggregator_offset_gap_records_total{partition=\"1\"}",
    ] {
        assert_eq!(host.wait_metric(series, LIMIT, |_| true).unwrap(), 0.0, "{series}");
    }
    assert_eq!(host.metric("aggregator_part_ok{part=\"kafka\"}"), Some(1.0));
    wait::until_true("the gauge of readiness", LIMIT, || host.metric("aggregator_ready") == Some(1.0))
        .unwrap();
}

#[test]
fn readiness_is_a_gauge_that_follows_redis() {
    let mut rig = Rig::new("gauge", 1);
    let host = Host::start_ready(&rig.wall()).unwrap();
    assert_eq!(host.metric("aggregator_ready"), Some(1.0));
    rig.redis.kill();
    host.wait_metric("aggregator_ready", LIMIT, |ready| ready == 0.0).unwrap();
    assert_eq!(host.metric("aggregator_part_ok{part=\"redis\"}"), Some(0.0));
    assert_eq!(host.metric("aggregator_part_ok{part=\"plugins\"}"), Some(1.0));
    rig.redis.restart().unwrap();
    host.wait_metric("aggregator_ready", LIMIT, |ready| ready == 1.0).unwrap();
}
