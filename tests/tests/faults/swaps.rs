//! Rows 15, 19 and 20: plugins that are replaced under load, that are bad, or that some trade kills.
//!
//! The invariant: whatever is put into the directory, the windows of the running version stay exact.

use std::thread;
use std::time::Duration;

use aggregator::plugin::catalog::DEFAULT_COMPONENT;
use aggregator_tests::host::Host;
use aggregator_tests::plugins_dir::{PluginsDir, hostile, variant};
use aggregator_tests::redis_server::Memory;
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::Shape;
use aggregator_tests::wait;
use nix::sys::signal::Signal;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Run, runs, seed, wait_serving};

/// What the default plugin is replaced by.
pub(crate) const FILE: &str = "sliding-window.wasm";

/// The metric that counts how the changes of a plugin ended.
pub(crate) fn ended(plugin: &str, result: &str) -> String {
    format!("aggregator_plugin_swaps_total{{plugin=\"{plugin}\",result=\"{result}\"}}")
}

/// The settings of a host with a plugins directory.
pub(crate) fn settings(run: &Run<'_>, plugins: &PluginsDir, probation: &str) -> Settings {
    run.settings()
        .with("PLUGINS_DIR", &plugins.path().display().to_string())
        .with("PLUGIN_PROBATION", probation)
        .with("KAFKA_GROUP_INSTANCE_ID", "host-1")
}

/// Waits until so many changes of a plugin have ended like this.
pub(crate) fn wait_swaps(host: &Host, plugin: &str, result: &str, count: f64) {
    host.wait_metric(&ended(plugin, result), LIMIT, |ended| ended >= count).unwrap();
}

/// Swaps the default plugin again and again; the host is killed in the middle of one.
fn swapped_under_load(shape: Shape, of_test: u64) {
    for number in 0..runs(1, 5) {
        let run = &Run::new("19 plugin swapped 8 times", seed(of_test, number), shape, Memory::Volatile);
        let plugins = PluginsDir::new().unwrap();
        let settings = settings(run, &plugins, "300ms");
        let pace = &Pace::default();
        let put = |number: u32| plugins.put(FILE, &variant(DEFAULT_COMPONENT, number)).unwrap();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(15));
            let mut host = Host::start(&settings).unwrap();
            wait_serving(&host);
            for swap in 1..=6 {
                put(swap);
                wait_swaps(&host, "sliding-window", "swapped", f64::from(swap));
            }
            put(7);
            host.wait_line("Plugin loaded", LIMIT).unwrap();
            host.signal(Signal::SIGKILL);
            host.wait_end(LIMIT).unwrap();
            let host = Host::start(&settings).unwrap();
            wait_serving(&host);
            put(8);
            wait_swaps(&host, "sliding-window", "swapped", 1.0);
            load.finish();
            run.assert_exact(&[&host]);
            assert_eq!(host.metric(&ended("sliding-window", "refused")).unwrap_or(0.0), 0.0);
        });
    }
}

#[test]
fn a_plugin_that_is_swapped_under_load_loses_and_doubles_nothing_in_shuffle() {
    swapped_under_load(Shape::Arrays, 41);
}

#[test]
fn a_plugin_that_is_swapped_under_load_loses_and_doubles_nothing_by_token() {
    swapped_under_load(Shape::Singles, 42);
}

fn deeds(deeds: &str) -> String {
    format!(r#"{{"windows":["1min","5min","15min","30min","1hour"],"does":[{deeds}]}}"#)
}

/// Waits until so many bad versions have gone, and says how the last one did. Whether one is refused or rolled
/// back depends on whether it fails before or after it is shown.
fn wait_gone(host: &Host, count: f64) -> serde_json::Value {
    wait::until_true("a bad version to go", LIMIT, || {
        let count_of = |result| host.metric(&ended("hostile", result)).unwrap_or(0.0);
        count_of("refused") + count_of("rolled_back") >= count
    })
    .unwrap();
    let mut last = serde_json::Value::Null;
    wait::until_true("its reason", LIMIT, || {
        let Ok(status) = host.json("/plugins/hostile") else { return false };
        last = status["history"][0].clone();
        last["result"] != "swapped"
    })
    .unwrap();
    last
}

#[test]
fn bad_versions_leave_the_running_one_as_it_is() {
    for number in 0..runs(1, 5) {
        let run = &Run::new("20 bad plugins", seed(43, number), Shape::Arrays, Memory::Volatile);
        let plugins = PluginsDir::new().unwrap();
        let component = hostile(1).unwrap();
        plugins.put("hostile.json", deeds("").as_bytes()).unwrap();
        plugins.put("hostile.wasm", &component).unwrap();
        let settings = settings(run, &plugins, "2s").with("PLUGIN_DEADLINE", "300ms");
        let pace = &Pace::default();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(20));
            let host = Host::start(&settings).unwrap();
            wait_serving(&host);
            let mut gone = 0.0;
            let mut expect = |file: &str, bytes: &[u8], words: &str| {
                plugins.put(file, bytes).unwrap();
                gone += 1.0;
                let last = wait_gone(&host, gone);
                let reason = last["reason"].as_str().unwrap_or_default();
                assert!(!reason.is_empty() && reason.contains(words), "{last}");
            };
            expect("hostile.wasm", b"no component", "not WebAssembly");
            expect("hostile.wasm", &component[..component.len() / 2], "");
            plugins.put("hostile.wasm", &component).unwrap();
            for (at, does, words) in [
                // While the load lasts for sure: this one needs batches.
                (r#""process""#, r#""loop","after":5"#, "PLUGIN_DEADLINE"),
                (r#""import-state""#, r#""trap""#, ""),
                (r#""import-state""#, r#""refuse""#, "reads state up to version"),
                (r#""configure""#, r#""loop""#, "PLUGIN_DEADLINE"),
                (r#""flush""#, r#""not-utf8","after":40"#, "UTF-8"),
                (r#""flush""#, r#""again","after":40"#, "more"),
            ] {
                let deed = format!(r#"{{"at":{at},"do":{does}}}"#);
                expect("hostile.json", deeds(&deed).as_bytes(), words);
            }
            // A good one, with state of a later form.
            let swapped = host.metric(&ended("hostile", "swapped")).unwrap_or(0.0);
            plugins.put("hostile.json", deeds("").as_bytes()).unwrap();
            plugins.put("hostile.wasm", &hostile(2).unwrap()).unwrap();
            wait_swaps(&host, "hostile", "swapped", swapped + 1.0);
            load.finish();
            run.assert_exact(&[&host]);
            run.assert_counted(&[&host], &[]);
            assert_eq!(host.get("/health/live").unwrap().status, 200);
        });
    }
}

/// Puts a plugin into the directory that counts trades, and that those of one token kill.
pub(crate) fn put_killed_by(plugins: &PluginsDir, token: &str, does: &str) {
    plugins.put("hostile.wasm", &hostile(1).unwrap()).unwrap();
    let deed = format!(r#"{{"at":"process","do":"{does}","token":"{token}"}}"#);
    plugins.put("hostile.json", deeds(&deed).as_bytes()).unwrap();
}

/// Trades of one token kill a plugin; all others count.
fn poisoned(of_test: u64, does: &str) {
    for number in 0..runs(1, 5) {
        let run =
            &Run::new("15 trades that kill a plugin", seed(of_test, number), Shape::Arrays, Memory::Volatile);
        let (token, trades) = run.token_with(20..100);
        let plugins = PluginsDir::new().unwrap();
        put_killed_by(&plugins, &token, does);
        let pace = &Pace::default();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(12));
            let host = Host::start(&settings(run, &plugins, "0s")).unwrap();
            load.finish();
            run.assert_exact(&[&host]);
            run.assert_counted(&[&host], &[&token]);
            let quarantined = host.metric("aggregator_quarantined_total{plugin=\"hostile\"}");
            assert_eq!(quarantined, Some(trades as f64));
            let faults = host
                .metric("aggregator_plugin_faults_total{plugin=\"hostile\",stage=\"process\"}")
                .unwrap_or(0.0);
            // One that names the trade dies of it once, one that does not a second time.
            let most = if does == "panic" { trades } else { 2 * trades };
            assert!(faults <= most as f64, "{faults} failures for {trades} trades");
            host.wait_ready(LIMIT).unwrap();
        });
    }
}

#[test]
fn trades_that_kill_a_plugin_which_names_them_are_quarantined_and_all_others_count() {
    poisoned(44, "panic");
}

#[test]
fn trades_that_kill_a_plugin_without_a_word_are_found_and_all_others_count() {
    poisoned(45, "trap");
}
