//! Rows 13 and 14: a topic that gets more partitions while it is read, and one that is deleted and made anew.
//!
//! The invariant: nothing is told to the host; it finds out.

use std::thread;
use std::time::Duration;

use aggregator_tests::broker;
use aggregator_tests::host::Host;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::stream::{Message, Shape};
use aggregator_tests::wait;
use nix::sys::signal::Signal;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Plan, Run, pick, runs, scaled, seed, wait_serving};

/// How long a host may take to notice what it looks for every ten seconds, and to begin anew.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);

#[test]
fn partitions_that_are_added_under_load_are_read_from_their_first_record_on() {
    for number in 0..runs(1, 5) {
        let plan = Plan { partitions: 8, ..Plan::new("14 topic grown", seed(31, number), Shape::Arrays) };
        let run = &Run::on(broker::shared(), RedisServer::start().unwrap(), &plan);
        let pace = &Pace::default();
        let host = Host::start(&run.settings()).unwrap();
        run.broker.grow(&run.topic, 8).unwrap();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(15));
            wait_serving(&host);
            load.finish();
        });
        run.assert_exact(&[&host]);
    }
}

#[test]
fn that_keys_move_when_a_keyed_topic_grows_is_said_while_windows_lack_their_trades() {
    let run = &Run::on(
        broker::shared(),
        RedisServer::start().unwrap(),
        &Plan::new("14 keyed topic grown", seed(137, 0), Shape::Singles),
    );
    let warned = |host: &Host| {
        let ready = host.get("/health/ready").unwrap();
        (ready.status == 200 && ready.body.contains("keys of some tokens have moved")).then_some(())
    };
    let mut host = Host::start_ready(&run.settings()).unwrap();
    assert!(warned(&host).is_none());
    run.broker.grow(&run.topic, 8).unwrap();
    wait::until("the warning", scaled(NOTICED_WITHIN), || warned(&host)).unwrap();
    send(run, run.messages(), Duration::from_secs(1));
    run.assert_exact(&[&host]);
    // Another host knows of it, too.
    host.stop(LIMIT).unwrap();
    let host = Host::start_ready(&run.settings()).unwrap();
    wait::until("the warning", LIMIT, || warned(&host)).unwrap();
}

fn send(run: &Run<'_>, messages: &[Message], span: Duration) {
    let pace = Pace::default();
    thread::scope(|scope| Load::of(scope, run, &pace, messages, span).wait());
}

fn count(messages: &[Message]) -> f64 {
    messages.iter().map(|message| message.trades.len()).sum::<usize>() as f64
}

/// Waits until a host has counted these messages, of which each trade is stored.
fn wait_stored(host: &Host, messages: &[Message]) {
    let all = count(messages);
    host.wait_metric("aggregator_trades_total", LIMIT, |trades| trades >= all).unwrap();
    wait::until_true("all of it to be stored", LIMIT, || {
        let Ok(page) = host.json("/partitions") else { return false };
        let partitions = page["partitions"].as_array().cloned().unwrap_or_default();
        !partitions.is_empty() && partitions.iter().all(|one| one["processed"] == one["fetched"])
    })
    .unwrap();
}

/// How much of a load stands in the former topic: with little of it the new one soon has more records than the
/// former had, and its offsets look as if nothing had happened.
const SHARES: [f64; 2] = [0.15, 0.6];

/// Both shares in a full run; in a quick one each test has one, and a pair of tests has both.
fn shares(of_test: u64) -> Vec<f64> {
    pick(vec![SHARES[of_test as usize % 2]], SHARES.to_vec())
}

fn made_anew_while_off(of_test: u64, shape: Shape) {
    for number in 0..runs(1, 5) {
        for share in shares(of_test) {
            let run = &Run::on(
                broker::shared(),
                RedisServer::start().unwrap(),
                &Plan::new("13 topic made anew, host off", seed(of_test, number), shape),
            );
            let (first, rest) = run.messages().split_at((run.messages().len() as f64 * share) as usize);
            let mut host = Host::start(&run.settings()).unwrap();
            send(run, first, Duration::from_secs(1));
            wait_stored(&host, first);
            host.stop(LIMIT).unwrap();
            run.broker.make_topic_anew(&run.topic, 4).unwrap();
            send(run, rest, Duration::from_millis(500));
            let host = Host::start(&run.settings()).unwrap();
            host.wait_line("The topic was made anew", LIMIT).unwrap();
            run.assert_exact(&[&host]);
            let said = host.log().iter().filter(|line| told_anew(line)).count();
            assert_eq!(said, 1, "said once");
        }
    }
}

fn told_anew(line: &serde_json::Value) -> bool {
    line["message"].as_str().is_some_and(|message| message.contains("The topic was made anew"))
}

#[test]
fn a_topic_that_was_made_anew_while_nobody_read_it_is_read_from_its_first_record_on() {
    made_anew_while_off(132, Shape::Arrays);
}

#[test]
fn a_keyed_topic_that_was_made_anew_while_nobody_read_it_is_read_from_its_first_record_on() {
    made_anew_while_off(133, Shape::Singles);
}

fn made_anew_under(of_test: u64, partitioning: &str, shape: Shape) {
    let fault = &format!("13 topic made anew, {partitioning}");
    for number in 0..runs(1, 5) {
        for share in shares(of_test) {
            let run = &Run::on(
                broker::shared(),
                RedisServer::start().unwrap(),
                &Plan::new(fault, seed(of_test, number), shape),
            );
            let (first, rest) = run.messages().split_at((run.messages().len() as f64 * share) as usize);
            let host = Host::start(&run.settings().with("PARTITIONING", partitioning)).unwrap();
            send(run, first, Duration::from_secs(2));
            wait_stored(&host, first);
            if share < 0.5 {
                host.signal(Signal::SIGSTOP);
            }
            run.broker.make_topic_anew(&run.topic, 4).unwrap();
            let pace = &Pace::default();
            let before = count(first);
            thread::scope(|scope| {
                // Some of it before the host notices, and some while it begins anew. A host that is frozen meanwhile finds
                // a topic that is longer than the former one was.
                let frozen = share < 0.5;
                let load = Load::of(scope, run, pace, rest, Duration::from_secs(if frozen { 0 } else { 12 }));
                if frozen {
                    load.wait_for(0.9);
                    host.signal(Signal::SIGCONT);
                }
                host.wait_metric("aggregator_trades_total", scaled(NOTICED_WITHIN), |now| now > before)
                    .unwrap();
                load.finish();
            });
            run.assert_exact(&[&host]);
            host.wait_ready(LIMIT).unwrap();
        }
    }
}

#[test]
fn a_topic_that_is_made_anew_under_a_running_host_loses_and_doubles_nothing_in_shuffle() {
    made_anew_under(134, "shuffle", Shape::Arrays);
}

#[test]
fn a_topic_that_is_made_anew_under_a_running_host_loses_and_doubles_nothing_by_token() {
    made_anew_under(135, "by-token", Shape::Singles);
}

#[test]
fn a_source_that_is_made_anew_under_a_running_host_loses_and_doubles_nothing_when_it_is_repartitioned() {
    made_anew_under(136, "repartition", Shape::Arrays);
}
