//! `PARTITIONING=repartition`: several hosts share a feed whose trades are in any partition.
//!
//! The invariant: what stands in Redis is what one host would have written.

use std::time::Duration;

use aggregator_tests::compare::AGGREGATES;
use aggregator_tests::host::Host;
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use aggregator_tests::trade::Trade;
use aggregator_tests::{time, wait};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::rig::{DEFAULT_WINDOWS, LIMIT, Rig, oracle, wait_final};

const TRADES: usize = 20_000;

fn stream(seed: u64) -> Vec<Message> {
    let options = Options {
        tokens: 200,
        whole_seconds: seed.is_multiple_of(2),
        ..Options::new(seed, Shape::Arrays, TRADES)
    };
    Stream::new(&options.disturbed()).collect()
}

fn shared(settings: Settings) -> Settings {
    settings.with("PARTITIONING", "repartition").with("KAFKA_SESSION_TIMEOUT", "6s")
}

/// The topic between the hops.
fn between(rig: &Rig) -> String {
    format!("{0}-{0}-repartition", rig.topic)
}

/// Waits until each host has a part of the source and a part of the shards.
fn wait_shared(hosts: [&Host; 2]) {
    let halves = |host: &&Host| {
        let Ok(answer) = host.json("/partitions") else { return false };
        let count = |list: &str| answer[list].as_array().map_or(0, Vec::len);
        count("partitions") == 2 && count("sources") == 2
    };
    wait::until_true("both hosts to have a part of both topics", LIMIT, || hosts.iter().all(halves)).unwrap();
}

fn trades(host: &Host) -> f64 {
    host.metric("aggregator_trades_total").unwrap_or(0.0)
}

#[test]
fn unkeyed_arrays_over_two_hosts_give_the_oracles_results_with_the_clock_of_the_whole_source() {
    for seed in [101, 102] {
        let messages = stream(seed);
        let rig = Rig::new("repartition", 4);
        let settings = shared(rig.event());
        let hosts = [Host::start_ready(&settings).unwrap(), Host::start_ready(&settings).unwrap()];
        wait_shared([&hosts[0], &hosts[1]]);
        rig.send(&messages);
        let oracle = oracle(DEFAULT_WINDOWS, &messages);
        wait_final(&oracle, &mut rig.connect(), Encoding::Json, |_| oracle.newest_ms());
        // A partition that is read to its end for a moment does not hold the clock, so that some come too late.
        let late = |host: &Host| host.metric("aggregator_rejected_total{reason=\"too_late\"}").unwrap_or(0.0);
        let counted: Vec<(f64, f64)> = hosts.iter().map(|host| (trades(host), late(host))).collect();
        assert!(counted.iter().all(|&(trades, _)| trades > 0.0), "both hosts count: {counted:?}");
        let taken: f64 = counted.iter().map(|(trades, late)| trades + late).sum();
        assert_eq!(taken, TRADES as f64, "{counted:?}");
    }
}

#[test]
fn one_host_reads_a_topic_that_was_there_before_it() {
    let messages = stream(103);
    let rig = Rig::new("alone", 4);
    rig.send(&messages);
    let oracle = oracle(DEFAULT_WINDOWS, &messages);
    let host = Host::start(&shared(rig.event())).unwrap();
    wait_final(&oracle, &mut rig.connect(), Encoding::Json, |_| oracle.newest_ms());
    assert_eq!(trades(&host), TRADES as f64);
    assert_eq!(host.metric("aggregator_replayed_total"), Some(0.0));
}

#[test]
fn trades_that_come_after_an_end_and_a_restart_move_the_results_on() {
    let messages = stream(104);
    let (first, second) = messages.split_at(messages.len() / 2);
    let rig = Rig::new("onward", 4);
    let settings = shared(rig.event()).with("CHECKPOINT_INTERVAL", "500ms");
    rig.send(first);
    let mut host = Host::start(&settings).unwrap();
    let half = oracle(DEFAULT_WINDOWS, first);
    wait_final(&half, &mut rig.connect(), Encoding::Json, |_| half.newest_ms());
    let ended = host.stop(LIMIT).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    rig.send(second);
    let next = Host::start(&settings).unwrap();
    let whole = oracle(DEFAULT_WINDOWS, &messages);
    wait_final(&whole, &mut rig.connect(), Encoding::Json, |_| whole.newest_ms());
    // What the first host had counted and saved is not counted again.
    assert_eq!(trades(&next), second.iter().map(|message| message.trades.len()).sum::<usize>() as f64);
}

/// A count of purchases in a window; none where there is no row.
fn buys(connection: &mut redis::Connection, token: &str, window: &str) -> Option<f64> {
    let row = results::read(connection, token, AGGREGATES, Encoding::Json).expect("redis answers")?;
    row.cell(window, "buy_count")?.number()
}

#[test]
fn a_trade_is_seen_and_leaves_by_time_alone_whichever_host_has_it() {
    let rig = Rig::new("decay", 4);
    let settings = shared(rig.wall());
    let hosts = [Host::start_ready(&settings).unwrap(), Host::start_ready(&settings).unwrap()];
    wait_shared([&hosts[0], &hosts[1]]);
    let mut connection = rig.connect();
    // More tokens than shards, so that both hosts have some; all from one partition.
    let tokens: Vec<String> = (0..16).map(|number| format!("MINT{number}")).collect();
    let made_ms = time::now_ms();
    let messages: Vec<Message> =
        tokens.iter().map(|token| Trade::simple(token, made_ms).message(1)).collect();
    rig.send(&messages);
    wait::until_true("the trades", Duration::from_secs(3), || {
        tokens.iter().all(|token| buys(&mut connection, token, "5s") == Some(1.0))
    })
    .unwrap();
    wait::until_true("the windows to be empty", LIMIT, || {
        tokens.iter().all(|token| buys(&mut connection, token, "5s").is_none_or(|count| count == 0.0))
    })
    .unwrap();
    let lived_ms = time::now_ms() - made_ms;
    assert!((4_000..9_000).contains(&lived_ms), "the trades left a window of 5 s after {lived_ms} ms");
    assert!(hosts.iter().all(|host| trades(host) > 0.0), "both hosts count");
}

fn admin(rig: &Rig) -> (AdminClient<DefaultClientContext>, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    (rig.broker.client().create().expect("a client"), runtime)
}

#[test]
fn a_topic_between_the_hops_that_does_not_suit_is_named_and_waited_for() {
    let rig = Rig::new("unsuited", 1);
    let (admin, runtime) = admin(&rig);
    let topic = between(&rig);
    let short = NewTopic::new(&topic, 4, TopicReplication::Fixed(1)).set("retention.ms", "60000");
    let made = runtime.block_on(admin.create_topics([&short], &AdminOptions::new())).unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let settings = shared(rig.wall());

    let other = Host::start(&settings.clone().with("SHARDS", "3")).unwrap();
    wait_reason(&other, "SHARDS=4");
    drop(other);
    let host = Host::start(&settings).unwrap();
    wait_reason(&host, "retention.ms is 60000");
    // The longest window of 5 s, MAX_FUTURE of 5 min, and an hour.
    let enough = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("retention.ms", "3905000");
    let altered = runtime.block_on(admin.alter_configs([&enough], &AdminOptions::new())).unwrap();
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    host.wait_ready(LIMIT).unwrap();
}

fn wait_reason(host: &Host, words: &str) {
    wait::until_true(words, LIMIT, || {
        host.get("/health/ready").is_ok_and(|answer| answer.status == 503 && answer.body.contains(words))
    })
    .unwrap();
}
