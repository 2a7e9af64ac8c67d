//! Rows 8 and 9: a Redis that dies, forgets, or goes back to an older state.
//!
//! The invariant: every loss is counted once, and what was forgotten is written again without a restart of the host.

use std::thread;
use std::time::Duration;

use aggregator_tests::host::Host;
use aggregator_tests::redis_server::Memory;
use aggregator_tests::stream::{Message, Shape};
use nix::sys::signal::Signal;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Run, runs, seed, wait_serving};

fn send(run: &Run<'_>, messages: &[Message]) {
    let pace = Pace::default();
    thread::scope(|scope| Load::of(scope, run, &pace, messages, Duration::from_secs(2)).wait());
}

const LOSSES: &str = "aggregator_sink_regressions_total";

/// Lets something happen to Redis in the middle of the load and compares the end; the host is then killed and
/// started again, so that its checkpoint is compared, too.
fn redis_suffers(
    name: &str,
    of_test: u64,
    memory: Memory,
    losses: Option<f64>,
    fault: impl Fn(&mut Run<'_>),
) {
    redis_suffers_after(name, of_test, memory, losses, |_| {}, fault);
}

/// The same with something that happens a while before.
fn redis_suffers_after(
    name: &str,
    of_test: u64,
    memory: Memory,
    losses: Option<f64>,
    before: impl Fn(&Run<'_>),
    fault: impl Fn(&mut Run<'_>),
) {
    for number in 0..runs(1, 5) {
        let mut run = Run::new(name, seed(of_test, number), Shape::Arrays, memory);
        let settings = run.settings();
        let mut host = Host::start(&settings).unwrap();
        let first_half = run.halves().0;
        let (first, second) = first_half.split_at(first_half.len() / 2);
        send(&run, first);
        wait_serving(&host);
        before(&run);
        send(&run, second);
        fault(&mut run);
        send(&run, run.halves().1);
        host.wait_ready(LIMIT).unwrap();
        run.assert_exact(&[&host]);
        if let Some(losses) = losses {
            assert_eq!(host.metric(LOSSES), Some(losses));
        }
        host.signal(Signal::SIGKILL);
        host.wait_end(LIMIT).unwrap();
        let next = Host::start_ready(&settings).unwrap();
        run.assert_exact(&[&next]);
    }
}

#[test]
fn a_redis_that_dies_and_comes_back_empty_gets_everything_again() {
    redis_suffers("08 redis killed, back empty", 21, Memory::Volatile, Some(1.0), |run| {
        run.redis.kill();
        thread::sleep(Duration::from_secs(1));
        run.redis.restart().unwrap();
    });
}

#[test]
fn a_redis_that_dies_and_loses_its_last_second_gets_it_again() {
    redis_suffers("08 redis killed, last second lost", 22, Memory::EverySecond, None, |run| {
        run.redis.kill();
        run.redis.restart().unwrap();
    });
}

#[test]
fn a_redis_that_is_flushed_gets_everything_again() {
    redis_suffers("09 redis flushed", 23, Memory::Volatile, Some(1.0), |run| {
        redis::cmd("FLUSHALL").exec(&mut run.redis.connect().unwrap()).unwrap();
    });
}

#[test]
fn a_redis_that_goes_back_to_an_older_state_gets_everything_again() {
    let save = |run: &Run<'_>| run.redis.save().unwrap();
    redis_suffers_after("09 redis back to an older state", 25, Memory::Volatile, Some(1.0), save, |run| {
        run.redis.kill();
        run.redis.restart().unwrap();
    });
}
