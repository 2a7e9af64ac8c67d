//! Rows 1 to 5 and 14 with `PARTITIONING=repartition`: hosts that share an unkeyed feed are killed, frozen and ended
//! while it flows, and its topic grows.
//!
//! The invariant: whichever hop was cut off in the middle, each trade counts once.

use std::thread;
use std::time::Duration;

use aggregator_tests::broker;
use aggregator_tests::host::Host;
use aggregator_tests::redis_server::{Memory, RedisServer};
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::Shape;
use aggregator_tests::wait;
use nix::sys::signal::Signal;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Plan, Run, runs, seed, trades, wait_serving};

fn settings(run: &Run<'_>) -> Settings {
    run.settings().with("PARTITIONING", "repartition")
}

/// Waits until a host counts trades of its own beyond what it had.
fn wait_counting(host: &Host) {
    let before = trades(host);
    wait::until_true("the host to count on", LIMIT, || trades(host) > before + 1_000.0).unwrap();
}

#[test]
fn two_hosts_are_killed_one_after_the_other_and_every_trade_counts_once() {
    for number in 0..runs(1, 5) {
        let run =
            &Run::new("02 two hosts killed, repartition", seed(51, number), Shape::Arrays, Memory::Volatile);
        let pace = &Pace::default();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(25));
            let mut first = Host::start(&settings(run)).unwrap();
            wait_serving(&first);
            let mut second = Host::start(&settings(run)).unwrap();
            wait_serving(&second);
            load.wait_for(0.4);
            first.signal(Signal::SIGKILL);
            first.wait_end(LIMIT).unwrap();
            wait_counting(&second);
            let third = Host::start(&settings(run)).unwrap();
            load.wait_for(0.8);
            second.signal(Signal::SIGKILL);
            second.wait_end(LIMIT).unwrap();
            load.finish();
            third.wait_ready(LIMIT).unwrap();
            run.assert_exact(&[&third]);
        });
    }
}

#[test]
fn a_named_host_that_is_killed_again_and_again_goes_on_where_its_transaction_ended() {
    for number in 0..runs(1, 5) {
        let run = &Run::new(
            "01 host killed 3 times, repartition",
            seed(52, number),
            Shape::Arrays,
            Memory::Volatile,
        );
        let pace = &Pace::default();
        let settings = settings(run).with("KAFKA_GROUP_INSTANCE_ID", "one");
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(20));
            for share in [0.2, 0.4, 0.6] {
                let mut host = Host::start(&settings).unwrap();
                host.wait_metric("aggregator_messages_total", LIMIT, |messages| messages > 0.0).unwrap();
                load.wait_for(share);
                host.signal(Signal::SIGKILL);
                host.wait_end(LIMIT).unwrap();
            }
            let host = Host::start(&settings).unwrap();
            load.finish();
            run.assert_exact(&[&host]);
        });
    }
}

#[test]
fn a_host_that_ends_in_order_hands_both_hops_over() {
    for number in 0..runs(1, 5) {
        let run = &Run::new(
            "03 host ended in order, repartition",
            seed(53, number),
            Shape::Arrays,
            Memory::Volatile,
        );
        let pace = &Pace::default();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(20));
            let mut first = Host::start(&settings(run)).unwrap();
            wait_serving(&first);
            let second = Host::start(&settings(run)).unwrap();
            wait_serving(&second);
            load.wait_for(0.5);
            let ended = first.stop(LIMIT).unwrap();
            assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
            assert!(ended.took < Duration::from_secs(5), "the end took {:?}", ended.took);
            wait_counting(&second);
            load.finish();
            run.assert_exact(&[&second]);
        });
    }
}

#[test]
fn a_frozen_host_that_wakes_up_commits_nothing_stale_in_either_hop() {
    for number in 0..runs(1, 5) {
        let run = &Run::new(
            "04 host frozen and woken, repartition",
            seed(54, number),
            Shape::Arrays,
            Memory::Volatile,
        );
        let pace = &Pace::default();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(45));
            let first = Host::start(&settings(run)).unwrap();
            wait_serving(&first);
            let second = Host::start(&settings(run)).unwrap();
            wait_serving(&second);
            load.wait_for(0.2);
            first.signal(Signal::SIGSTOP);
            let before = trades(&second);
            wait::until_true("the second host to take over", LIMIT, || trades(&second) > before + 8_000.0)
                .unwrap();
            first.signal(Signal::SIGCONT);
            wait_counting(&first);
            load.finish();
            run.assert_exact(&[&first, &second]);
            first.wait_ready(LIMIT).unwrap();
            second.wait_ready(LIMIT).unwrap();
        });
    }
}

#[test]
fn a_host_joins_and_leaves_again_and_again_under_load() {
    for number in 0..runs(1, 5) {
        let run =
            &Run::new("05 rebalance storm, repartition", seed(55, number), Shape::Arrays, Memory::Volatile);
        let pace = &Pace::default();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(30));
            let first = Host::start(&settings(run)).unwrap();
            wait_serving(&first);
            for share in [0.3, 0.5, 0.7] {
                let mut guest = Host::start(&settings(run)).unwrap();
                load.wait_for(share);
                let ended = guest.stop(LIMIT).unwrap();
                assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
            }
            load.finish();
            run.assert_exact(&[&first]);
        });
    }
}

#[test]
fn partitions_that_are_added_to_a_repartitioned_source_are_read_from_their_first_record_on() {
    for number in 0..runs(1, 5) {
        let plan = Plan {
            partitions: 8,
            ..Plan::new("14 topic grown, repartition", seed(56, number), Shape::Arrays)
        };
        let run = &Run::on(broker::shared(), RedisServer::start().unwrap(), &plan);
        let pace = &Pace::default();
        let hosts = [Host::start(&settings(run)).unwrap(), Host::start(&settings(run)).unwrap()];
        run.broker.grow(&run.topic, 8).unwrap();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(15));
            wait_serving(&hosts[0]);
            load.finish();
        });
        run.assert_exact(&[&hosts[0], &hosts[1]]);
    }
}
