//! Rows 1 and 3: a host that is killed, and one that is asked to end, under load.
//!
//! The invariant: what the next host says of replayed trades tells a kill from an end in order.

use std::thread;
use std::time::Duration;

use aggregator_tests::host::Host;
use aggregator_tests::redis_server::Memory;
use aggregator_tests::stream::Shape;
use nix::sys::signal::Signal;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Run, runs, scaled, seed, wait_serving};

/// Kills a host again and again at random moments while the load flows.
fn killed_under_load(shape: Shape, of_test: u64) {
    for number in 0..runs(1, 5) {
        let mut run = Run::new("01 host killed 4 times", seed(of_test, number), shape, Memory::Volatile);
        let moments: Vec<u64> = (0..4).map(|_| 200 + run.random.below(1_500)).collect();
        let (run, pace) = (&run, &Pace::default());
        // A name that is kept lets the next host begin without waiting for the session of the last.
        let settings = run.settings().with("KAFKA_GROUP_INSTANCE_ID", "host-1");
        let mut slowest = Duration::ZERO;
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(12));
            for moment_ms in moments {
                let mut host = Host::start(&settings).unwrap();
                wait_serving(&host);
                slowest = slowest.max(host.started().elapsed());
                thread::sleep(Duration::from_millis(moment_ms));
                host.signal(Signal::SIGKILL);
                host.wait_end(LIMIT).unwrap();
            }
            load.finish();
        });
        // Ready within 3 s, and something stored 2 s later.
        assert!(slowest < scaled(Duration::from_secs(5)), "the next host served after {slowest:?}");
        run.figures().recovery(slowest);
        let host = Host::start_ready(&settings).unwrap();
        run.assert_exact(&[&host]);
    }
}

#[test]
fn a_host_killed_under_load_loses_and_doubles_nothing_in_shuffle() {
    killed_under_load(Shape::Arrays, 1);
}

#[test]
fn a_host_killed_under_load_loses_and_doubles_nothing_by_token() {
    killed_under_load(Shape::Singles, 2);
}

#[test]
fn a_host_that_ends_in_order_leaves_nothing_to_be_read_again() {
    for number in 0..runs(1, 5) {
        for shape in [Shape::Arrays, Shape::Singles] {
            let run = &Run::new("03 host ended in order", seed(3, number), shape, Memory::Volatile);
            let pace = &Pace::default();
            thread::scope(|scope| {
                let load = Load::start(scope, run, pace, Duration::from_secs(4));
                let mut first = Host::start(&run.settings()).unwrap();
                wait_serving(&first);
                load.wait_for(0.5);
                let ended = first.stop(LIMIT).unwrap();
                assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
                assert!(ended.took < Duration::from_secs(5), "it took {:?}", ended.took);
                load.finish();
            });
            let second = Host::start_ready(&run.settings()).unwrap();
            run.assert_exact(&[&second]);
            assert_eq!(second.metric("aggregator_replayed_total"), Some(0.0), "{shape:?}");
        }
    }
}

#[test]
fn a_second_signal_ends_a_host_at_once_and_nothing_is_lost() {
    for number in 0..runs(1, 20) {
        let run = &Run::new("03 second signal", seed(4, number), Shape::Arrays, Memory::Volatile);
        let pace = &Pace::default();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(4));
            let mut first = Host::start(&run.settings()).unwrap();
            wait_serving(&first);
            load.wait_for(0.5);
            // Without the store a drain takes as long as it may.
            run.redis.signal(Signal::SIGSTOP);
            first.signal(Signal::SIGTERM);
            first.wait_line("Draining", LIMIT).unwrap();
            let ended = first.stop(LIMIT).unwrap();
            run.redis.signal(Signal::SIGCONT);
            assert_eq!(ended.status.code(), Some(75), "{}", ended.output);
            assert!(ended.took < scaled(Duration::from_millis(200)), "it took {:?}", ended.took);
            assert!(ended.output.contains("Second signal"), "{}", ended.output);
            load.finish();
        });
        let second = Host::start(&run.settings()).unwrap();
        run.assert_exact(&[&second]);
    }
}
