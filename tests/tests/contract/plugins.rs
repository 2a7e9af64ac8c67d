//! Plugins side by side: the example beside the default one, each under its own result key.
//!
//! The invariant: a second plugin changes nothing in the first one's results.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aggregator_tests::compare::close;
use aggregator_tests::host::Host;
use aggregator_tests::oracle::Oracle;
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use aggregator_tests::trade::Trade;
use aggregator_tests::{paths, wait};
use hostile::manifest::Manifest;

use crate::rig::{DEFAULT_WINDOWS, LIMIT, Rig, oracle, wait_drained, wait_final};

/// Where the results of the example differ from the oracle.
fn differences(oracle: &Oracle, connection: &mut redis::Connection) -> Vec<String> {
    let clock_ms = oracle.newest_ms();
    let mut differences = Vec::new();
    for token in oracle.tokens().into_iter().filter(|token| oracle.is_live(token, clock_ms)) {
        let row = results::read(connection, token, "vwap", Encoding::Json).expect("redis answers");
        for (window, values) in oracle.windows().iter().zip(oracle.values(token, clock_ms)) {
            for (field, wanted) in [("vwap", values.vwap), ("volume_usd", values.volume_usd)] {
                let cell = row.as_ref().and_then(|row| row.cell(&window.name, field));
                if !cell.and_then(|cell| cell.number()).is_some_and(|found| close(found, wanted)) {
                    differences.push(format!("{token} {} {field} is {cell:?}, not {wanted}", window.name));
                }
            }
        }
    }
    differences
}

#[test]
fn the_example_plugin_runs_beside_the_default_one_and_both_are_right() {
    let options = Options { tokens: 100, ..Options::new(51, Shape::Arrays, 10_000) }.disturbed();
    let messages: Vec<Message> = Stream::new(&options).collect();
    let oracle = oracle(DEFAULT_WINDOWS, &messages);
    let directory = tempfile::tempdir().unwrap();
    fs::copy(paths::component("vwap").unwrap(), directory.path().join("vwap.wasm")).unwrap();
    let rig = Rig::new("plugins", 4);
    rig.send(&messages);
    let settings = rig.event().with("PLUGINS_DIR", &directory.path().display().to_string());
    let host = Host::start(&settings).unwrap();
    wait_drained(&host, 10_000);
    let mut connection = rig.connect();
    wait_final(&oracle, &mut connection, Encoding::Json, |_| oracle.newest_ms());
    let mut wrong = Vec::new();
    let right = wait::until_true("the example's results", LIMIT, || {
        wrong = differences(&oracle, &mut connection);
        wrong.is_empty()
    });
    assert!(right.is_ok(), "{} differences, first: {:?}", wrong.len(), wrong.first());
}

/// Wallets that bought, sold and did either in a window, and what the largest trade came to, by looking at each trade.
fn traders(messages: &[Message], token: &str, tail_second: i64) -> [f64; 4] {
    let trades = messages.iter().flat_map(|message| &message.trades);
    let held: Vec<&Trade> = trades
        .filter(|trade| trade.token == token && trade.time_ms.div_euclid(1_000) > tail_second)
        .collect();
    let wallets = |wanted: &dyn Fn(&Trade) -> bool| {
        let wallets = held.iter().filter(|trade| wanted(trade)).map(|trade| &trade.wallet);
        wallets.collect::<BTreeSet<_>>().len() as f64
    };
    let usd = |trade: &&Trade| trade.price.parse::<f64>().unwrap() * trade.amount.parse::<f64>().unwrap();
    let largest = held.iter().map(usd).fold(0.0, f64::max);
    [wallets(&|trade| trade.buy), wallets(&|trade| !trade.buy), wallets(&|_| true), largest]
}

#[test]
fn the_traders_of_each_window_are_counted_exactly_beside_the_default_plugin() {
    let options = Options { tokens: 60, ..Options::new(53, Shape::Arrays, 6_000) }.disturbed();
    let messages: Vec<Message> = Stream::new(&options).collect();
    let oracle = oracle(DEFAULT_WINDOWS, &messages);
    let directory = tempfile::tempdir().unwrap();
    for name in ["vwap", "traders"] {
        fs::copy(paths::component(name).unwrap(), directory.path().join(format!("{name}.wasm"))).unwrap();
    }
    let rig = Rig::new("traders", 4);
    rig.send(&messages);
    let settings = rig.event().with("PLUGINS_DIR", &directory.path().display().to_string());
    let host = Host::start(&settings).unwrap();
    wait_drained(&host, 6_000);
    let mut connection = rig.connect();
    wait_final(&oracle, &mut connection, Encoding::Json, |_| oracle.newest_ms());
    let clock_ms = oracle.newest_ms();
    let mut compared = 0;
    let mut wrong = Vec::new();
    let right = wait::until_true("the traders of all tokens", LIMIT, || {
        (compared, wrong) = (0, Vec::new());
        for token in oracle.tokens().into_iter().filter(|token| oracle.is_live(token, clock_ms)) {
            let row = results::read(&mut connection, token, "traders", Encoding::Json).unwrap();
            for window in oracle.windows() {
                let tail_second = clock_ms.div_euclid(1_000) - window.length_ms / 1_000;
                let wanted = traders(&messages, token, tail_second);
                for (field, wanted) in ["buyers", "sellers", "wallets", "largest_usd"].into_iter().zip(wanted)
                {
                    let cell = row.as_ref().and_then(|row| row.cell(&window.name, field));
                    compared += 1;
                    if !cell.and_then(|cell| cell.number()).is_some_and(|found| close(found, wanted)) {
                        wrong.push(format!("{token} {} {field} is {cell:?}, not {wanted}", window.name));
                    }
                }
            }
        }
        wrong.is_empty()
    });
    assert!(right.is_ok(), "{} differences, first: {:?}", wrong.len(), wrong.first());
    assert!(compared > 500, "only {compared} values were compared");
}

#[test]
fn the_exported_default_plugin_gives_the_same_results_as_the_embedded_one() {
    let options = Options { tokens: 50, ..Options::new(52, Shape::Arrays, 2_000) };
    let messages: Vec<Message> = Stream::new(&options).collect();
    let oracle = oracle(DEFAULT_WINDOWS, &messages);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sliding-window.wasm").display().to_string();
    let rig = Rig::new("exported", 4);
    let mut export = Host::start_program(
        &paths::aggregator().unwrap(),
        &["plugin", "export-default", &file],
        &rig.event(),
    )
    .unwrap();
    assert_eq!(export.wait_end(LIMIT).unwrap().status.code(), Some(0));
    rig.send(&messages);
    let settings = rig.event().with("PLUGINS_DIR", &directory.path().display().to_string());
    let host = Host::start(&settings).unwrap();
    wait_drained(&host, 2_000);
    wait_final(&oracle, &mut rig.connect(), Encoding::Json, |_| oracle.newest_ms());
}

/// The hostile component under another name, with one deed.
fn put_hostile(directory: &Path, name: &str, deed: &str) {
    let mut wasm = fs::read(paths::component("hostile").unwrap()).unwrap();
    let own = name.to_owned();
    Manifest { result_key: own.clone(), name: own, ..Manifest::default() }.write(&mut wasm).unwrap();
    fs::write(directory.join(format!("{name}.wasm")), wasm).unwrap();
    fs::write(directory.join(format!("{name}.json")), format!(r#"{{"does":[{deed}]}}"#)).unwrap();
}

#[test]
fn hostile_plugins_change_nothing_in_the_results_of_the_default_one() {
    let options = Options { tokens: 50, ..Options::new(53, Shape::Arrays, 5_000) };
    let messages: Vec<Message> = Stream::new(&options).collect();
    let oracle = oracle(DEFAULT_WINDOWS, &messages);
    let directory = tempfile::tempdir().unwrap();
    let hostile = [
        ("loops", r#"{"at":"process","do":"loop"}"#, "took longer than PLUGIN_DEADLINE"),
        ("lies", r#"{"at":"flush","do":"unknown"}"#, "was never given to it"),
        ("babbles", r#"{"at":"flush","do":"not-utf8"}"#, "not valid UTF-8"),
        ("asks", r#"{"at":"flush","do":"more"}"#, "says that there is more"),
        ("grows", r#"{"at":"flush","do":"grow"}"#, "PLUGIN_MEMORY_MB"),
    ];
    for (name, deed, _) in hostile {
        put_hostile(directory.path(), name, deed);
    }
    let rig = Rig::new("hostile", 4);
    rig.send(&messages);
    let settings = rig
        .event()
        .with("PLUGINS_DIR", &directory.path().display().to_string())
        .with("PLUGIN_DEADLINE", "100ms")
        .with("PLUGIN_MEMORY_MB", "16");
    let host = Host::start(&settings).unwrap();
    wait_drained(&host, 5_000);
    wait_final(&oracle, &mut rig.connect(), Encoding::Json, |_| oracle.newest_ms());
    let log = host.log();
    for (name, _, words) in hostile {
        let said = log.iter().any(|line| line["plugin"] == name && line.to_string().contains(words));
        assert!(said, "no line says why {name} failed");
    }
}
