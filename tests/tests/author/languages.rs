//! Plugins that are not in Rust: their windows on the engine against an oracle, and the way of their authors.
//!
//! The components of `plugins/` were built by `tests/run`, with the tools that their folders name; templates here
//! borrow those. The invariant: an oracle looks at every trade, in the order of seconds, then of arrival.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aggregator::author::on_engine::{self, OnEngine};
use aggregator::config;
use aggregator::plugin::{Candidate, Loader, ResultKeys};
use aggregator_sdk::Side;
use aggregator_sdk::testing::{Sample, Value, in_a_market, rows_are_close};
use aggregator_tests::paths;

use crate::desk::{Desk, Said};

const CONFIGURATION: &str = r#"{"windows":["5s","1min","150s"]}"#;
const WINDOWS_S: [i64; 3] = [5, 60, 150];
/// A call may wait for a processor here, and compiling, too.
const PATIENCE: Duration = Duration::from_secs(170);

fn folder(name: &str) -> PathBuf {
    paths::workspace().join("plugins").join(name)
}

fn component(name: &str) -> PathBuf {
    let file = folder(name).join("build").join(format!("{name}.wasm"));
    assert!(file.exists(), "{} is missing; tests/run builds it", file.display());
    file
}

fn settings() -> config::Plugins {
    config::Plugins {
        dir: PathBuf::from("/nowhere"),
        cache_dir: Some(paths::kept("plugin-cache").unwrap()),
        deadline: PATIENCE,
        memory_bytes: 256 << 20,
        probation: Duration::ZERO,
        compile_timeout: PATIENCE,
        upload_max: 32 << 20,
        time_windows: "1min".to_owned(),
        resolution: "1s".to_owned(),
    }
}

/// The trades that a window holds, in the order in which panes take and merge them.
fn held<'a>(trades: &'a [Sample], token: &str, window_s: i64, clock_ms: i64) -> Vec<&'a Sample> {
    let second = |ms: i64| ms.div_euclid(1_000);
    let tail = second(clock_ms) - window_s;
    let mut held: Vec<&Sample> =
        trades.iter().filter(|trade| trade.token == token && second(trade.time_ms) > tail).collect();
    held.sort_by_key(|trade| second(trade.time_ms));
    held
}

/// Lets a market go on and compares every window of every token with what its trades come to.
fn windows_equal(name: &str, seeds: u64, oracle: fn(&[&Sample]) -> Vec<Value>) {
    let wasm = fs::read(component(name)).unwrap();
    let loader = Loader::new(&settings(), Some(paths::aggregator().unwrap())).unwrap();
    let candidate = Candidate::new(name, wasm, CONFIGURATION);
    let running = loader.load(&candidate, &ResultKeys::new()).unwrap().running;
    on_engine::with(&Arc::clone(&running.plugin), || {
        (0..seeds).for_each(|seed| one_market(seed, oracle));
    });
}

fn one_market(seed: u64, oracle: fn(&[&Sample]) -> Vec<Value>) {
    let mut compared = 0;
    in_a_market::<OnEngine>(CONFIGURATION, seed, |host, all, clock_ms, moment| {
        for (token, row) in &host.results {
            let wanted =
                WINDOWS_S.map(|window_s| oracle(&held(&all.trades, token, window_s, clock_ms))).to_vec();
            assert!(rows_are_close(row, &wanted), "{moment}, {token}:\n{row:?}\nthe oracle says\n{wanted:?}");
            compared += row.len();
        }
    });
    assert!(compared > 50, "seed {seed} compared nothing");
}

fn usd(trade: &Sample) -> f64 {
    trade.price * trade.amount
}

#[test]
fn whales_in_javascript_are_those_of_the_oracle() {
    windows_equal("whales", 10, |held| {
        let class = |from: f64, to: f64| {
            let count = held.iter().filter(|trade| usd(trade) >= from && usd(trade) < to).count();
            Value::Integer(count as i64)
        };
        let whales = held.iter().filter(|trade| usd(trade) >= 10_000.0);
        let whale_usd: f64 = whales.map(|trade| usd(trade)).sum();
        let all_usd: f64 = held.iter().map(|trade| usd(trade)).sum();
        let mut largest: Option<&Sample> = None;
        for trade in held {
            if usd(trade) > largest.map_or(0.0, usd) {
                largest = Some(trade);
            }
        }
        vec![
            class(0.0, 10.0),
            class(10.0, 100.0),
            class(100.0, 1_000.0),
            class(1_000.0, 10_000.0),
            class(10_000.0, f64::INFINITY),
            Value::Float(whale_usd),
            Value::Float(if all_usd > 0.0 { whale_usd / all_usd } else { 0.0 }),
            Value::Float(largest.map_or(0.0, usd)),
            Value::Text(largest.map_or_else(String::new, |trade| trade.wallet.clone())),
            Value::Text(match largest.map(|trade| trade.side) {
                Some(Side::Buy) => "buy".to_owned(),
                Some(Side::Sell) => "sell".to_owned(),
                None => String::new(),
            }),
        ]
    });
}

#[test]
fn the_imbalance_in_python_is_that_of_the_oracle() {
    windows_equal("imbalance", 4, |held| {
        let side = |side: Side| held.iter().filter(move |trade| trade.side == side);
        let sum = |wanted: Side| side(wanted).map(|trade| usd(trade)).sum::<f64>();
        let native = |wanted: Side| side(wanted).map(|trade| i128::from(trade.native)).sum::<i128>();
        let (bought, sold) = (sum(Side::Buy), sum(Side::Sell));
        let all = bought + sold;
        vec![
            Value::Integer(side(Side::Buy).count() as i64),
            Value::Integer(side(Side::Sell).count() as i64),
            Value::Decimal(native(Side::Buy) - native(Side::Sell)),
            Value::Float(bought - sold),
            Value::Float(if all > 0.0 { (bought - sold) / all } else { 0.0 }),
        ]
    });
}

#[test]
fn streaks_in_go_are_those_of_the_oracle() {
    windows_equal("streaks", 10, |held| {
        let (mut current, mut buys, mut sells) = (0_i64, 0, 0);
        for trade in held {
            current = match trade.side {
                Side::Buy => current.max(0) + 1,
                Side::Sell => current.min(0) - 1,
            };
            buys = buys.max(current);
            sells = sells.max(-current);
        }
        [held.len() as i64, buys, sells, current].map(Value::Integer).to_vec()
    });
}

/// Runs the laws and recorded trades on a component of `plugins/`.
fn obeys_the_laws(name: &str, seeds: &str) {
    let desk = Desk::new();
    let trades = paths::workspace().join("host/src/author/templates/shared/trades.jsonl");
    let (file, trades) = (component(name).display().to_string(), trades.display().to_string());
    let said = desk.run("", &["test", &file, "--seeds", seeds, "--trades", &trades]).fine();
    assert_eq!(said.matches(" ok ").count(), 6, "{said}");
}

#[test]
fn the_plugin_in_javascript_obeys_the_laws() {
    obeys_the_laws("whales", "10");
}

#[test]
fn the_plugin_in_python_obeys_the_laws() {
    obeys_the_laws("imbalance", "3");
}

#[test]
fn the_plugin_in_go_obeys_the_laws() {
    obeys_the_laws("streaks", "10");
}

/// Makes a plugin in a language, with the tools of one that was built; has it fail where `line` stands.
fn failing(
    desk: &Desk,
    language: &str,
    tools: (&str, &str),
    metric: &str,
    (line, failing): (&str, &str),
) -> Said {
    let name = format!("failing-{language}");
    let made = desk.run("", &["new", &name, "--language", language]).fine();
    assert!(made.contains(&format!("write the metric in {metric}")), "{made}");
    let folder = desk.path().join(&name);
    let (of, tool) = tools;
    symlink(self::folder(of).canonicalize().unwrap().join(tool), folder.join(tool)).unwrap();
    let file = folder.join(metric);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(line), "no {line:?} in {text}");
    fs::write(&file, text.replacen(line, failing, 1)).unwrap();
    desk.run(&name, &["test", "--seeds", "1"])
}

#[test]
fn what_a_metric_in_javascript_throws_is_heard_with_its_stack() {
    let desk = Desk::new();
    let line = (
        "        pane.trades +=",
        "        if (usd > 1e6) throw new Error(`too much: ${usd}`);\n        pane.trades +=",
    );
    let said = failing(&desk, "js", ("whales", "node_modules"), "metric.js", line);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("process: Error: too much: "), "{}", said.out);
    assert!(said.out.contains("at add (") && said.out.contains("metric.js:"), "{}", said.out);
}

#[test]
fn what_a_metric_in_python_raises_is_heard_with_its_traceback() {
    let desk = Desk::new();
    let line = (
        "        self.trades += usd",
        "        if usd > 1e6:\n            raise ValueError(f\"too much: {usd}\")\n        self.trades += usd",
    );
    let said = failing(&desk, "python", ("imbalance", ".venv"), "metric.py", line);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("process: Traceback") && said.out.contains("too much: "), "{}", said.out);
    assert!(said.out.contains("metric.py") && said.out.contains("in add"), "{}", said.out);
}

#[test]
fn what_a_metric_in_go_panics_with_is_heard_with_its_stack() {
    let desk = Desk::new();
    let line = ("\tif usd >= 1_000", "\tif usd > 1e6 {\n\t\tpanic(\"too much\")\n\t}\n\tif usd >= 1_000");
    let said = failing(&desk, "go", ("streaks", ".tools"), "metric.go", line);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("process: too much"), "{}", said.out);
    assert!(said.out.contains("metric.go:"), "{}", said.out);
}

#[test]
fn the_doctor_looks_for_the_programs_that_a_manifest_names() {
    let desk = Desk::new();
    desk.run("", &["new", "ill", "--language", "js"]).fine();
    let said = desk.run("ill", &["doctor"]).fine();
    assert!(said.contains("npm: ") && !said.contains("rustc"), "{said}");
    let raw = desk.run("", &["new", "other", "--language", "go", "--template", "raw"]);
    assert_eq!(raw.code, 64, "{raw:?}");
}
