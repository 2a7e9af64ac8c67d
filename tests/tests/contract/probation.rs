//! What a restart runs while a version is on probation, and after that version was taken back.
//!
//! The invariant: a version that was not accepted comes again as a swap or not at all, whatever the directory has.

use std::fs;

use aggregator::digest;
use aggregator_tests::host::Host;
use aggregator_tests::plugins_dir::{PluginsDir, variant};
use aggregator_tests::{http, paths, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::rig::{LIMIT, Rig};

/// Asks for a change that is to succeed; gives what came of it.
fn change(host: &Host, method: &str, path: &str, body: &[u8]) -> Value {
    let answer = http::send(method, host.port(), path, "", body).unwrap();
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
    answer.json().unwrap()["result"].clone()
}

/// Waits until the plugin is as it should be.
fn wait_plugin(host: &Host, what: &str, is_so: impl Fn(&Value) -> bool) {
    let mut last = Value::Null;
    let came = wait::until_true(what, LIMIT, || {
        last = host.json("/plugins/vwap").unwrap_or_default();
        is_so(&last)
    });
    assert!(came.is_ok(), "{what}: {last}");
}

#[test]
fn a_crash_on_probation_brings_the_version_before_and_what_was_taken_back_stays_away() {
    let rig = Rig::new("probation", 1);
    let plugins = PluginsDir::new().unwrap();
    let first = fs::read(paths::component("vwap").unwrap()).unwrap();
    let second = variant(&first, 2);
    let (before, after) = (digest::of(&first), digest::of(&second));
    plugins.put("vwap.wasm", &first).unwrap();
    let settings =
        rig.wall().with("PLUGINS_DIR", &plugins.path().display().to_string()).with("PLUGIN_PROBATION", "10m");
    let on_probation = |plugin: &Value| {
        plugin["trial"]["phase"] == "probation"
            && (&plugin["digest"], &plugin["previous"]) == (&json!(after), &json!(before))
    };

    // The first swap of this plugin: nothing was ever accepted.
    let mut host = Host::start_ready(&settings).unwrap();
    assert_eq!(change(&host, "PUT", "/plugins/vwap", &second), "swapped");
    wait_plugin(&host, "the first probation", on_probation);
    host.signal(Signal::SIGKILL);
    host.wait_end(LIMIT).unwrap();

    let mut host = Host::start_ready(&settings).unwrap();
    host.wait_line("Plugin runs by the store's record", LIMIT).unwrap();
    wait_plugin(&host, "the probation after the crash", on_probation);
    assert_eq!(change(&host, "POST", "/plugins/vwap/rollback", b""), "rolled_back");
    assert_eq!(host.stop(LIMIT).unwrap().status.code(), Some(0));

    // The directory has it still.
    assert_eq!(fs::read(plugins.path().join("vwap.wasm")).unwrap(), second);
    let mut host = Host::start_ready(&settings).unwrap();
    host.wait_line("File not used", LIMIT).unwrap();
    wait_plugin(&host, "the version before", |plugin| {
        plugin["trial"].is_null() && plugin["digest"] == json!(before)
    });
    assert_eq!(change(&host, "PUT", "/plugins/vwap", &second), "swapped");
    wait_plugin(&host, "the probation that was asked for", on_probation);
    host.signal(Signal::SIGKILL);
    host.wait_end(LIMIT).unwrap();

    // Somebody wants it again, and that is remembered as well.
    let host = Host::start_ready(&settings).unwrap();
    wait_plugin(&host, "the probation after it was forgiven", on_probation);
}
