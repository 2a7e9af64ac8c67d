//! Listening to a running service: live trades into a recording that tests a plugin, and results as they are written.
//!
//! The invariant: what is recorded is what the service has decoded.

use std::collections::BTreeSet;
use std::fs;

use aggregator_tests::host::READY_LIMIT;
use aggregator_tests::plugins_dir::PluginsDir;
use aggregator_tests::{http, paths};
use serde_json::Value;

use crate::desk::Desk;
use crate::journey::demo;

#[test]
fn live_trades_are_recorded_and_the_recording_tests_a_plugin() {
    let desk = Desk::new();
    let plugins = PluginsDir::new().unwrap();
    let (mut demo, port) = demo(plugins.path());
    demo.wait_line("Reading", READY_LIMIT).unwrap();
    let url = format!("http://127.0.0.1:{port}");

    let said = desk.tap(&["--host", &url, "--record", "live.jsonl", "--count", "200", "--rate", "10000"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("200 lines in live.jsonl"), "{}", said.err);
    let vwap = paths::component("vwap").unwrap().display().to_string();
    let tested = desk.run("", &["test", &vwap, "--seeds", "1", "--trades", "live.jsonl"]).fine();
    assert!(tested.contains("200 trades of "), "{tested}");

    let recorded = fs::read_to_string(desk.path().join("live.jsonl")).unwrap();
    let trade: Value = serde_json::from_str(recorded.lines().next().unwrap()).unwrap();
    let token = trade["Token"].as_str().unwrap();
    let one = desk.tap(&["--host", &url, "--token", token, "--count", "3", "--results", "--rate", "10"]);
    assert_eq!(one.code, 0, "{one:?}");
    let lines: Vec<Value> = one.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tokens: BTreeSet<&str> = lines
        .iter()
        .map(|line| if line["result"].is_null() { &line["trade"]["Token"] } else { &line["token"] })
        .map(|token| token.as_str().unwrap())
        .collect();
    assert_eq!(tokens, BTreeSet::from([token]), "{}", one.out);

    let results = desk.tap(&["--host", &url, "--results", "--count", "500", "--rate", "100000"]);
    let result = results.out.lines().find(|line| line.contains("\"result\"")).expect("a result");
    let result: Value = serde_json::from_str(result).unwrap();
    assert_eq!(result["plugin"], "sliding-window");
    assert!(result["result"]["1min"]["buy_count"].is_u64(), "{result}");

    for wrong in ["/tap?of=secrets", "/tap?rate=0", "/tap?rate=many"] {
        let answer = http::get(port, wrong).unwrap();
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.body);
    }
    demo.stop(READY_LIMIT).unwrap();
}
