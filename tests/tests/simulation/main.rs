//! The deterministic simulation: the pipeline of production, from the lanes to the store, with the default plugin
//! linked natively, on one thread; only the topic, the store and the clock are replaced.
//!
//! One seed draws a world: settings, trades, what is delivered twice, who serves, crashes before and after writes,
//! errors of the store and a store that forgets. In the end the store must hold what the oracle says. Every seed is
//! run twice and must have the same trace.
//!
//! `SIM_SEEDS` asks for that many seeds (200), from `SIM_FIRST` (0) on; `SIM_SEED` runs one, with its last events in
//! words. The invariant: a failing seed prints how to repeat it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod draws;
mod feed;
mod judge;
mod process;
mod time;
mod topic;
mod trace;
mod weather;
mod world;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use aggregator_tests::paths;
use world::World;

/// How many seeds are run where nobody asks for another number.
const SEEDS: u64 = 200;
/// How many failing seeds are shown.
const SHOWN: usize = 5;
/// How many differences of a seed are shown.
const DIFFERENCES: usize = 8;

fn number(variable: &str) -> Option<u64> {
    let text = paths::variable(variable)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Runs a seed twice; gives what is wrong in words.
fn run(seed: u64, readable: bool) -> Result<(), String> {
    let once = || World::new(seed, readable).run();
    let end =
        panic::catch_unwind(AssertUnwindSafe(once)).map_err(|_| "it panicked (see above)".to_owned())?;
    if !end.wrong.is_empty() {
        let shown = end.wrong.iter().take(DIFFERENCES).cloned().collect::<Vec<_>>().join("\n    ");
        return Err(format!("{} differences:\n    {shown}\n{}", end.wrong.len(), end.words));
    }
    let again = once();
    match again.trace == end.trace {
        true => Ok(()),
        false => Err("two runs have different traces".to_owned()),
    }
}

#[test]
fn every_seed_ends_with_what_the_oracle_says_and_runs_the_same_way_twice() {
    if let Some(seed) = number("SIM_SEED") {
        return run(seed, true).unwrap_or_else(|words| panic!("seed {seed}: {words}"));
    }
    let first = number("SIM_FIRST").unwrap_or(0);
    let end = first + number("SIM_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    if let Err(words) = run(seed, false) {
                        failed.lock().unwrap().push((seed, words));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    let words: Vec<String> =
        failed.iter().take(SHOWN).map(|(seed, words)| format!("seed {seed}: {words}")).collect();
    assert!(
        failed.is_empty(),
        "{} of {} seeds failed; repeat one with\n  SIM_SEED={} cargo test --release -p aggregator-tests --test simulation\n{}",
        failed.len(),
        end - first,
        failed[0].0,
        words.join("\n")
    );
}
