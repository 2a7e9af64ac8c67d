//! From nothing to a metric on a running service, and from there to its next version, without a restart.
//!
//! The invariant: the demo that runs it is the service itself.

use std::fs;
use std::path::Path;
use std::thread;

use aggregator_tests::host::{Host, READY_LIMIT};
use aggregator_tests::plugins_dir::PluginsDir;
use aggregator_tests::settings::Settings;
use aggregator_tests::{http, metrics, paths, wait};
use serde_json::Value;

use crate::desk::Desk;

/// Starts the demo; gives it and its port.
pub(crate) fn demo(plugins: &Path) -> (Host, u16) {
    let settings = Settings::none().with("PLUGINS_DIR", &plugins.display().to_string());
    let demo = Host::start_program(&paths::aggregator().unwrap(), &["demo"], &settings).unwrap();
    let line = demo.wait_line("http://127.0.0.1:", READY_LIMIT).unwrap();
    let after = line.split_once("http://127.0.0.1:").map(|(_, after)| after).unwrap();
    (demo, after.split_once('/').and_then(|(port, _)| port.parse().ok()).unwrap())
}

/// The results of a plugin for the busiest token, if there are some.
fn results(port: u16, key: &str) -> Option<Value> {
    let tokens = http::get(port, "/tokens").ok()?.json().ok()?;
    let token = tokens["tokens"][0]["token"].as_str()?.to_owned();
    let row = http::get(port, &format!("/tokens/{token}")).ok()?.json().ok()?["results"][key].clone();
    row.is_object().then_some(row)
}

/// How many versions of a plugin have been swapped in.
fn swaps(port: u16, name: &str) -> f64 {
    let series = format!("aggregator_plugin_swaps_total{{plugin=\"{name}\",result=\"swapped\"}}");
    let page = http::get(port, "/metrics").map(|answer| answer.body).unwrap_or_default();
    metrics::value(&page, &series).unwrap_or(0.0)
}

/// Waits until the metric's results have a field.
fn wait_field(port: u16, field: &str) {
    wait::until_true(&format!("results with {field}"), READY_LIMIT, || {
        results(port, "my-metric").is_some_and(|row| row["1hour"][field].is_u64())
    })
    .unwrap();
}

#[test]
fn a_new_metric_is_made_tested_built_and_swapped_into_a_running_service() {
    let desk = Desk::new();
    let folder = desk.make("my-metric", "pane");
    let tested = desk.run("my-metric", &["test", "--trades", "trades.jsonl", "--bless"]).fine();
    assert_eq!(tested.matches(" ok ").count(), 6, "{tested}");
    let built = desk.run("my-metric", &["build", "-o", "json"]).json();
    let component = Path::new(built["file"].as_str().unwrap()).to_owned();
    let bytes = built["bytes"].as_u64().unwrap();
    assert!((50_000..500_000).contains(&bytes), "{bytes} bytes");
    assert_eq!(built["imports"][0], "aggregator:plugin/host@0.1.0");
    let seen = desk.run("", &["inspect", &component.display().to_string(), "-o", "json"]).json();
    assert_eq!((&seen["name"], &seen["digest"]), (&"my-metric".into(), &built["digest"]));

    let plugins = PluginsDir::new().unwrap();
    let (mut demo, port) = demo(plugins.path());
    plugins.put("my-metric.wasm", &fs::read(&component).unwrap()).unwrap();
    let row = wait::until("the metric's first results", READY_LIMIT, || results(port, "my-metric")).unwrap();
    assert!(row["1hour"]["trades"].is_u64() && row["1hour"]["largest_usd"].as_f64() > Some(0.0), "{row}");

    // Each next version has another field; the state is carried over, and the results have it at once.
    desk.edit("my-metric", "integer(\"trades\")", "integer(\"large_trades\")");
    let into = plugins.path().display().to_string();
    thread::scope(|scope| {
        let watching =
            scope.spawn(|| desk.run("my-metric", &["watch", "--into", &into, "--builds", "2"]).fine());
        wait_field(port, "large_trades");
        desk.edit("my-metric", "integer(\"large_trades\")", "integer(\"number\")");
        wait_field(port, "number");
        let watched = watching.join().unwrap();
        assert_eq!(watched.matches("my-metric.wasm: ").count(), 2, "{watched}");
    });
    wait::until_true("all swaps to be counted", READY_LIMIT, || swaps(port, "my-metric") == 3.0).unwrap();
    assert!(folder.join("trades.golden.json").exists());
    demo.stop(READY_LIMIT).unwrap();
}

#[test]
fn the_raw_template_obeys_the_laws_on_the_engine_and_natively() {
    let desk = Desk::new();
    desk.make("raw-metric", "raw");
    let tested = desk.run("raw-metric", &["test", "--trades", "trades.jsonl"]).fine();
    assert_eq!(tested.matches(" ok ").count(), 6, "{tested}");
    let natively = desk.cargo_test("raw-metric");
    assert_eq!(natively.code, 0, "{}\n{}", natively.out, natively.err);
    assert!(natively.out.contains("the_laws_hold ... ok"), "{}", natively.out);
}

#[test]
fn the_pane_templates_own_tests_pass() {
    let desk = Desk::new();
    desk.make("pane-metric", "pane");
    let natively = desk.cargo_test("pane-metric");
    assert_eq!(natively.code, 0, "{}\n{}", natively.out, natively.err);
    assert!(natively.out.contains("windows_are_right ... ok"), "{}", natively.out);
}
