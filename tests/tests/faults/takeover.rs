//! Rows 2 and 4: two hosts, of which one dies, or freezes and wakes up when the other has taken over.
//!
//! The invariant: at the end both agree with the oracle, whoever wrote last.

use std::thread;
use std::time::{Duration, Instant};

use aggregator_tests::host::Host;
use aggregator_tests::redis_server::Memory;
use aggregator_tests::stream::Shape;
use aggregator_tests::wait;
use aggregator_tests::watch::Watch;
use nix::sys::signal::Signal;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Run, SESSION, runs, scaled, seed, trades, wait_serving};

fn one_of_two_is_killed(shape: Shape, of_test: u64) {
    for number in 0..runs(1, 5) {
        let run = &Run::new("02 one of two hosts killed", seed(of_test, number), shape, Memory::Volatile);
        let pace = &Pace::default();
        let mut watch = Watch::new(&run.ends);
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(20));
            let mut first = Host::start(&run.settings()).unwrap();
            wait_serving(&first);
            let second = Host::start(&run.settings()).unwrap();
            load.wait_for(0.4);
            watch.follow(&first);
            watch.follow(&second);
            watch.wait_progress(LIMIT).unwrap();
            watch.begin();
            first.signal(Signal::SIGKILL);
            first.wait_end(LIMIT).unwrap();
            let killed = Instant::now();
            let before = trades(&second);
            wait::until_true("the second host to take over", LIMIT, || trades(&second) > before + 1_000.0)
                .unwrap();
            let takeover = killed.elapsed();
            assert!(takeover < scaled(SESSION + Duration::from_secs(3)), "taken over after {takeover:?}");
            run.figures().recovery(takeover);
            run.figures().stall(watch.stall());
            load.finish();
            second.wait_ready(LIMIT).unwrap();
            run.assert_exact(&[&second]);
        });
    }
}

#[test]
fn the_standby_takes_over_from_a_killed_host_in_shuffle() {
    one_of_two_is_killed(Shape::Arrays, 11);
}

#[test]
fn the_group_takes_over_from_a_killed_host_by_token() {
    one_of_two_is_killed(Shape::Singles, 12);
}

fn a_frozen_host_wakes_up(shape: Shape, of_test: u64) {
    for number in 0..runs(1, 5) {
        let run = &Run::new("04 host frozen and woken", seed(of_test, number), shape, Memory::Volatile);
        let pace = &Pace::default();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(30));
            let first = Host::start(&run.settings()).unwrap();
            wait_serving(&first);
            let mut second = Host::start(&run.settings()).unwrap();
            load.wait_for(0.2);
            first.signal(Signal::SIGSTOP);
            let before = trades(&second);
            wait::until_true("the second host to take over", LIMIT, || trades(&second) > before + 2_000.0)
                .unwrap();
            first.signal(Signal::SIGCONT);
            load.finish();
            run.assert_exact(&[&first, &second]);
            // It has not ended, and stands by or has its share again.
            assert_eq!(first.get("/health/live").unwrap().status, 200);
            assert_eq!(second.get("/health/live").unwrap().status, 200);
            // Nothing of what it lost keeps it from being well when all is its own again.
            second.stop(LIMIT).unwrap();
            first.wait_ready(LIMIT).unwrap();
        });
    }
}

#[test]
fn a_frozen_host_that_wakes_up_writes_nothing_stale_in_shuffle() {
    a_frozen_host_wakes_up(Shape::Arrays, 13);
}

#[test]
fn a_frozen_host_that_wakes_up_writes_nothing_stale_by_token() {
    a_frozen_host_wakes_up(Shape::Singles, 14);
}
