//! The life of a plugin over HTTP: put, configured, rolled back, tried in a shadow, and removed.
//!
//! The invariant: what the service says of a plugin, what the directory has, and what is written to Redis agree.

use std::fs;
use std::path::Path;

use aggregator::digest;
use aggregator_tests::host::Host;
use aggregator_tests::http::{self, Answer};
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::Message;
use aggregator_tests::trade::Trade;
use aggregator_tests::{paths, time, wait};
use serde_json::{Value, json};

use crate::rig::{LIMIT, Rig};

/// A host on the wall clock with an empty directory for plugins.
fn settings(rig: &Rig, directory: &Path) -> Settings {
    rig.wall().with("PLUGINS_DIR", &directory.display().to_string()).with("PLUGIN_PROBATION", "1s")
}

fn vwap() -> Vec<u8> {
    fs::read(paths::component("vwap").unwrap()).unwrap()
}

/// Asks for a change that is to succeed; gives what came of it.
fn change(host: &Host, method: &str, path: &str, body: &[u8]) -> Value {
    let answer = http::send(method, host.port(), path, "", body).unwrap();
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
    answer.json().unwrap()
}

/// Asks for a change that is to be refused.
fn refused(host: &Host, method: &str, path: &str, body: &[u8]) -> Answer {
    let answer = http::send(method, host.port(), path, "", body).unwrap();
    assert!((400..500).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
    let problem = answer.json().unwrap();
    assert!(problem["error"].is_string() && problem["hint"].is_string(), "{problem}");
    answer
}

fn files(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

/// Waits until Redis has a row of `vwap` with just these groups.
fn wait_groups(rig: &Rig, token: &str, groups: &[&str]) {
    let mut connection = rig.connect();
    let mut last = None;
    let written = wait::until_true("results of the plugin", LIMIT, || {
        last = results::read(&mut connection, token, "vwap", Encoding::Json).expect("redis answers");
        let row = last.as_ref();
        row.is_some_and(|row| {
            let has = |group: &str| row.cell(group, "vwap").is_some();
            ["2s", "5s", "4s", "1min"].into_iter().all(|group| has(group) == groups.contains(&group))
        })
    });
    assert!(written.is_ok(), "{last:?}");
}

#[test]
fn a_plugin_is_put_configured_rolled_back_and_removed_while_trades_flow() {
    let rig = Rig::new("lifeline", 2);
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start_ready(&settings(&rig, directory.path())).unwrap();
    let trade = || rig.send(&[Trade::simple("MINT", time::now_ms()).message(0)]);
    assert_eq!(host.get("/plugins/vwap").unwrap().status, 404);

    let put = change(&host, "PUT", "/plugins/vwap", &vwap());
    assert_eq!((&put["result"], &put["digest"]), (&json!("swapped"), &json!(digest::of(&vwap()))), "{put}");
    assert!(
        put["change"]["phases_ms"]["load"].is_u64() && put["change"]["phases_ms"]["prepare"].is_u64(),
        "{put}"
    );
    assert_eq!(files(directory.path()), ["vwap.wasm"]);
    trade();
    wait_groups(&rig, "MINT", &["1min"]);
    let shown = host.json("/plugins/vwap").unwrap();
    let cells = shown["cells"].as_array().unwrap();
    assert!(cells.len() >= 4 && cells.iter().any(|cell| cell["state"] == "shown"), "{shown}");
    assert!(shown["memory_bytes"].as_u64().unwrap() > 0, "{shown}");
    assert_eq!(shown["counts"]["swapped"], 1, "{shown}");
    assert_eq!(host.json("/plugins").unwrap()["plugins"].as_array().unwrap().len(), 2);

    let again = change(&host, "PUT", "/plugins/vwap", &vwap());
    assert!(["unchanged", "swapped"].contains(&again["result"].as_str().unwrap()), "{again}");
    refused(&host, "PUT", "/plugins/vwap/config", b"[1]");
    refused(&host, "PUT", "/plugins/vwap/config", br#"{"windows":["nonsense"]}"#);
    assert_eq!(files(directory.path()), ["vwap.wasm"]);
    let configured = change(&host, "PUT", "/plugins/vwap/config", br#"{"windows":["4s"]}"#);
    assert_eq!(configured["result"], "swapped", "{configured}");
    assert_eq!(files(directory.path()), ["vwap.json", "vwap.wasm"]);
    assert_eq!(host.json("/plugins/vwap/config").unwrap(), json!({ "windows": ["4s"] }));
    trade();
    wait_groups(&rig, "MINT", &["4s"]);

    let back = change(&host, "POST", "/plugins/vwap/rollback", b"");
    assert!(["rolled_back", "swapped"].contains(&back["result"].as_str().unwrap()), "{back}");
    assert_eq!(host.json("/plugins/vwap/config").unwrap(), json!({}));
    trade();
    wait_groups(&rig, "MINT", &["1min"]);

    assert_eq!(change(&host, "DELETE", "/plugins/vwap", b"")["result"], "unloading");
    assert_eq!(files(directory.path()), Vec::<String>::new());
    assert_eq!(host.get("/plugins/vwap").unwrap().status, 404);
    assert_eq!(refused(&host, "DELETE", "/plugins/vwap", b"").status, 404);
    assert_eq!(refused(&host, "DELETE", "/plugins/sliding-window", b"").status, 409);
    wait::until_true("a line of the log for each change", LIMIT, || {
        host.log().into_iter().filter(|line| line["component"] == "audit").count() == 9
    })
    .unwrap();
}

#[test]
fn windows_are_whole_when_they_are_shown_however_they_were_configured_before() {
    let rig = Rig::new("longer", 1);
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&rig, directory.path()).with("TIME_WINDOWS", "1min");
    let host = Host::start_ready(&settings).unwrap();
    let configure = |configuration: &str| {
        change(&host, "PUT", "/plugins/vwap/config", configuration.as_bytes());
        wait::until_true("the configuration to be accepted", LIMIT, || {
            host.json("/plugins/vwap").is_ok_and(|plugin| plugin["trial"].is_null())
        })
        .unwrap();
        host.json("/plugins/vwap").unwrap()["history"][0]["state"].clone()
    };
    change(&host, "PUT", "/plugins/vwap", &vwap());
    assert_eq!(configure(r#"{"windows":["1min"]}"#), "carried");
    // Older than what anything that runs looks back to.
    for time_ms in [time::now_ms() - 1_200_000, time::now_ms()] {
        let message = Trade::simple("MINT", time_ms).message(0);
        rig.send(&[Message { timestamp_ms: Some(time_ms), ..message }]);
    }
    wait_groups(&rig, "MINT", &["1min"]);
    let mut connection = rig.connect();
    for (configuration, state) in [
        (r#"{"windows":["30min"]}"#, "backfill"),
        (r#"{"windows":["30min"],"resolution":"500ms"}"#, "backfill"),
        (r#"{"windows":["30min","25min"],"resolution":"500ms"}"#, "carried"),
    ] {
        assert_eq!(configure(configuration), state, "{configuration}");
        wait::until_true("both trades in the window", LIMIT, || {
            let row = results::read(&mut connection, "MINT", "vwap", Encoding::Json).expect("redis answers");
            let usd = row.as_ref().and_then(|row| row.cell("30min", "volume_usd")?.number());
            usd == Some(10.0)
        })
        .unwrap();
    }
}

#[test]
fn a_shadow_is_compared_and_promoted() {
    let rig = Rig::new("shadow", 1);
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start_ready(&settings(&rig, directory.path())).unwrap();
    assert_eq!(refused(&host, "PUT", "/plugins/vwap?probation=soon", &vwap()).status, 400);
    change(&host, "PUT", "/plugins/vwap?probation=0", &vwap());
    wait::until_true("the plugin to be accepted", LIMIT, || {
        host.json("/plugins/vwap").is_ok_and(|plugin| plugin["trial"].is_null())
    })
    .unwrap();
    assert_eq!(refused(&host, "POST", "/plugins/vwap/shadow/promote", b"").status, 404);
    assert_eq!(refused(&host, "POST", "/plugins/nobody/shadow", &vwap()).status, 404);

    let shadow = change(&host, "POST", "/plugins/vwap/shadow", &other(&vwap()));
    assert_eq!(shadow["result"], "shadowing", "{shadow}");
    let mut last = Value::Null;
    let compared = wait::until_true("rows to be compared", LIMIT, || {
        rig.send(&[Trade::simple("MINT", time::now_ms()).message(0)]);
        last = host.json("/plugins/vwap").expect("an answer");
        last["trial"]["comparison"]["equal_rows"].as_u64().is_some_and(|rows| rows > 0)
    });
    assert!(compared.is_ok(), "{last}");
    assert_eq!(last["trial"]["comparison"]["different_rows"], 0, "{last}");
    assert_eq!(change(&host, "DELETE", "/plugins/vwap/shadow", b"")["plugin"], "vwap");
    assert_eq!(fs::read(directory.path().join("vwap.wasm")).unwrap(), vwap());

    let last = &host.json("/plugins/vwap").unwrap()["history"];
    for pause in ["longest_pause_ms", "switch_pause_ms"] {
        assert!(last.as_array().unwrap().iter().any(|swap| swap[pause].is_u64()), "{last}");
    }
    change(&host, "POST", "/plugins/vwap/shadow", &other(&vwap()));
    let promoted = change(&host, "POST", "/plugins/vwap/shadow/promote", b"");
    assert_eq!(promoted["digest"], json!(digest::of(&other(&vwap()))), "{promoted}");
    assert_eq!(fs::read(directory.path().join("vwap.wasm")).unwrap(), other(&vwap()));
}

/// The same component under another digest: with one more custom section, which means nothing.
fn other(component: &[u8]) -> Vec<u8> {
    let section = [0, 6, 4, b'n', b'o', b't', b'e', b'.'];
    [component, &section].concat()
}
