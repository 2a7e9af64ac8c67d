//! Checks that pass and checks that do not: laws, recorded trades, the price of a trade, files that are no plugins.
//!
//! The invariant: each way to fail has its exit code, and words that name what is wrong.

use std::fs;

use aggregator_tests::paths;

use crate::desk::Desk;

#[test]
fn a_state_that_is_not_packed_breaks_the_law_of_carry_but_not_that_of_split() {
    let desk = Desk::new();
    desk.make("forgetful", "pane");
    desk.edit("forgetful", "    largest_usd: f64,", "    #[serde(skip)]\n    largest_usd: f64,");
    let said = desk.run("forgetful", &["test", "-o", "json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let checks = said.json()["checks"].clone();
    let passed = |name: &str| {
        let check = checks.as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
        (check["passed"].as_bool().unwrap(), check["words"].as_str().unwrap().to_owned())
    };
    for law in ["split", "determinism"] {
        assert!(passed(law).0, "{checks}");
    }
    let (carries, words) = passed("carry");
    assert!(!carries && words.contains("law of carry is broken, seed"), "{words}");
    assert!(said.err.contains("of 4 checks did not pass"), "{}", said.err);
}

#[test]
fn a_plugin_that_panics_says_where_in_the_words_of_the_check() {
    let desk = Desk::new();
    desk.make("fragile", "pane");
    desk.edit(
        "fragile",
        "self.trades += i64::from(usd",
        "assert!(usd < 1e6, \"too much\");\n        self.trades += i64::from(usd",
    );
    let said = desk.run("fragile", &["test"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("src/lib.rs:") && said.out.contains("too much"), "{}", said.out);
}

#[test]
fn shells_learn_the_command_line() {
    let output =
        std::process::Command::new(paths::aggregator().unwrap()).args(["completions", "bash"]).output();
    let script = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(script.contains("export-default") && script.contains("--max-ns"), "{script}");
}

#[test]
fn recorded_trades_are_compared_with_the_golden_file_and_a_changed_metric_is_noticed() {
    let desk = Desk::new();
    let folder = desk.make("recorded", "pane");
    let first = desk.run("recorded", &["test", "--trades", "trades.jsonl"]).fine();
    assert!(first.contains("48 trades of 3 tokens"), "{first}");
    assert!(first.contains("--bless writes it"), "{first}");
    desk.run("recorded", &["test", "--trades", "trades.jsonl", "--bless"]).fine();
    let golden = fs::read_to_string(folder.join("trades.golden.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_str(&golden).unwrap();
    assert_eq!(golden["results"].as_object().unwrap().len(), 3);
    desk.run("recorded", &["test", "--trades", "trades.jsonl"]).fine();

    desk.edit("recorded", "1_000.0", "100.0");
    let changed = desk.run("recorded", &["test", "--trades", "trades.jsonl"]);
    assert_eq!(changed.code, 1, "{changed:?}");
    assert!(changed.out.contains("golden       FAILED"), "{}", changed.out);
    assert!(changed.out.contains("wanted") && changed.out.contains("found"), "{}", changed.out);

    fs::write(folder.join("bad.jsonl"), "{\"Token\":\"a\"}\n").unwrap();
    let bad = desk.run("recorded", &["test", "--trades", "bad.jsonl"]);
    assert_eq!(bad.code, 64, "{bad:?}");
    assert!(bad.err.contains("bad.jsonl, line 1: missing_field Wallet"), "{}", bad.err);
}

#[test]
fn a_trade_that_costs_more_than_allowed_fails_the_bench() {
    let vwap = paths::component("vwap").unwrap().display().to_string();
    let desk = Desk::new();
    let allowed = desk.run("", &["bench", &vwap, "--max-ns", "1000000", "-o", "json"]);
    assert_eq!(allowed.code, 0, "{allowed:?}");
    let measured = allowed.json();
    assert!(measured["ns_per_trade"].as_f64().unwrap() > 0.0, "{measured}");
    assert!(measured["rows"].as_u64().unwrap() > 10_000, "{measured}");
    let dear = desk.run("", &["bench", &vwap, "--max-ns", "0.001"]);
    assert_eq!(dear.code, 1, "{dear:?}");
    assert!(dear.err.contains("more than the 0.001 ns that are allowed"), "{}", dear.err);
}

#[test]
fn a_component_says_everything_that_it_declares_and_obeys_the_laws_under_any_file_name() {
    let desk = Desk::new();
    let file = desk.path().join("anything.wasm");
    fs::copy(paths::component("traders").unwrap(), &file).unwrap();
    fs::write(desk.path().join("anything.json"), r#"{"windows":["10s","1min"]}"#).unwrap();
    let said = desk.run("", &["inspect", "anything.wasm", "-o", "json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = said.json();
    assert_eq!((&said["name"], &said["result_key"]), (&"traders".into(), &"traders".into()));
    assert_eq!(said["columns"][0], "wallet-hash");
    assert_eq!(said["groups"], serde_json::json!(["10s", "1min"]));
    assert_eq!(said["fields"][0], serde_json::json!({ "name": "buyers", "kind": "integer" }));
    assert_eq!(said["contract"], "0.1.0");
    assert_eq!(said["bytes"].as_u64().unwrap(), fs::metadata(&file).unwrap().len());
    assert_eq!(said["digest"].as_str().unwrap(), aggregator::digest::of(&fs::read(&file).unwrap()));
    let laws = desk.run("", &["test", "anything.wasm", "--seeds", "5"]).fine();
    assert_eq!(laws.matches(" ok ").count(), 4, "{laws}");
}

#[test]
fn what_is_no_plugin_is_refused_with_a_remedy() {
    let desk = Desk::new();
    fs::write(desk.path().join("text.wasm"), "hello").unwrap();
    for command in ["inspect", "test", "bench", "deploy"] {
        let said = desk.run("", &[command, "text.wasm"]);
        assert_eq!(said.code, 64, "{command}: {said:?}");
        assert!(said.err.contains("not WebAssembly; build it with"), "{command}: {}", said.err);
    }
    let missing = desk.run("", &["inspect", "nothing.wasm"]);
    assert_eq!(missing.code, 64, "{missing:?}");
    assert!(missing.err.contains("cannot read nothing.wasm"), "{}", missing.err);
    let empty = desk.run("", &["build"]);
    assert_eq!(empty.code, 64, "{empty:?}");
    assert!(empty.err.contains("no Cargo.toml"), "{}", empty.err);
}

#[test]
fn a_new_crate_takes_no_name_that_is_none_and_no_place_that_is_taken() {
    let desk = Desk::new();
    for name in ["../up", "Big", "std", "sliding-window"] {
        let said = desk.run("", &["new", name]);
        assert_eq!(said.code, 64, "{name}: {said:?}");
    }
    assert_eq!(fs::read_dir(desk.path()).unwrap().count(), 0);
    fs::create_dir(desk.path().join("taken")).unwrap();
    let said = desk.run("", &["new", "taken"]);
    assert_eq!(said.code, 64, "{said:?}");
    assert!(said.err.contains("taken exists"), "{}", said.err);
    assert_eq!(fs::read_dir(desk.path().join("taken")).unwrap().count(), 0);
    let elsewhere = desk.run("", &["new", "lost", "--sdk", "/"]);
    assert_eq!(elsewhere.code, 64, "{elsewhere:?}");
    assert!(!desk.path().join("lost").exists());
}

#[test]
fn the_doctor_finds_what_is_here_and_names_the_remedy_for_what_is_not() {
    let desk = Desk::new();
    let said = desk.run("", &["doctor", "-o", "json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let findings = said.json()["findings"].clone();
    let names: Vec<&str> =
        findings.as_array().unwrap().iter().map(|finding| finding["what"].as_str().unwrap()).collect();
    assert_eq!(names, ["cargo", "rustc", "target", "engine", "contract"]);

    let ill = desk.run_without_programs(&["doctor"]);
    assert_eq!(ill.code, 1, "{ill:?}");
    assert!(ill.out.contains("remedy: rustup target add wasm32-wasip2"), "{}", ill.out);
    assert!(ill.err.contains("3 of 5"), "{}", ill.err);
}
