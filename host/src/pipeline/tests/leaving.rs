//! What ends leaves nothing behind: a stopped pipeline, a partition that goes to another host.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::counter::{Manner, counter};
use super::feed::{Feeder, Script, count, counted};
use super::stand::{LEADING, Setup, Stand, tokens_of};
use super::{BEGIN_MS, Counts, NEVER, PATIENCE, wait_until};
use crate::config::Partitioning;
use crate::pipeline::CellStart;
use crate::pipeline::batch::Progress;
use crate::pipeline::intake::LANE;

/// More messages of a partition than are taken before the stop.
const ENOUGH: i64 = 200_000;

#[test]
fn what_the_workers_took_before_a_stop_is_counted_and_written_and_nothing_else() {
    // Nothing is written before the stop, so that everything that is found was written by it.
    let mut stand = Stand::start(Setup { flush_interval: NEVER, ..Setup::default() });
    let script = |partition: i32, offset: i64| {
        vec![(format!("token-{}", (offset + i64::from(partition)) % 40), BEGIN_MS)]
    };
    let feeders = [0, 1, 2].map(|partition| Feeder::open(&stand.intake, partition, &script));
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        for mut feeder in feeders {
            let stopped = &stopped;
            scope.spawn(move || {
                // Bounded, so that a failure outside ends this thread too.
                while !stopped.load(Ordering::Relaxed) && feeder.next < ENOUGH {
                    feeder.give(2, Progress::Behind);
                }
            });
        }
        wait_until("every partition is being read", || {
            (0..3).all(|partition| stand.newest_ms(partition).is_some())
                && stand.shared.metrics.messages.get() > 500
        });
        stopped.store(true, Ordering::Relaxed);
    });
    stand.stop();
    assert_all_taken(&stand, &script);
}

/// Compares what was written with what was taken: every message that was decoded, of every partition.
fn assert_all_taken(stand: &Stand, script: Script<'_>) {
    let positions = stand.shared.board.committable();
    let written: i64 = positions.iter().map(|(_, next)| next).sum();
    assert_eq!(written, stand.shared.metrics.messages.get() as i64, "written and decoded messages");
    stand.assert_stored(&counted(script, &positions));
}

#[test]
fn a_batch_that_waits_for_a_busy_worker_is_counted_before_a_stop_ends() {
    // Who gets the room in the busy worker's inbox is a matter of luck: each round draws anew.
    for _ in 0..20 {
        stop_while_a_batch_waits();
    }
}

fn stop_while_a_batch_waits() {
    let (gate, closed) = crossbeam_channel::bounded(0);
    let mut setup = Setup { flush_interval: NEVER, ..Setup::default() };
    let tokens = [0, 1].map(|worker| tokens_of(setup.layout(), worker, 5));
    let busy = Manner::WaitsAt(tokens[1][0].clone(), closed);
    setup.plugins = vec![counter("counter", LEADING, busy)];
    let mut stand = Stand::start(setup);
    let script = |partition: i32, offset: i64| match partition {
        0 => vec![(tokens[0][offset as usize % 5].clone(), BEGIN_MS), (tokens[1][1].clone(), BEGIN_MS)],
        _ => vec![(tokens[1][0].clone(), BEGIN_MS)],
    };
    let mut feeders = [0, 1].map(|partition| Feeder::open(&stand.intake, partition, &script));
    feeders[1].give(1, Progress::Behind);
    wait_until("worker 1 is busy", || stand.newest_ms(1).is_some());
    // As many as the lane holds besides the one that is taken from it.
    for _ in 0..=LANE {
        feeders[0].give(1, Progress::Behind);
    }
    wait_until("worker 0 has a batch for worker 1", || stand.newest_ms(0).is_some());
    stand.stop_while(|| drop(gate));
    assert_all_taken(&stand, &script);
}

#[test]
fn a_revoked_partition_is_written_before_the_answer_and_the_others_go_on() {
    const HALF: i64 = 300;
    let setup = Setup { partitioning: Partitioning::ByToken, flush_interval: NEVER, ..Setup::default() };
    let mut stand = Stand::start(setup);
    let script = |partition: i32, offset: i64| {
        vec![(format!("token-{partition}-{}", offset % 300), BEGIN_MS + offset)]
    };
    // Partitions 0 and 2 share a worker.
    let mut feeders = [0, 1, 2].map(|partition| Feeder::open(&stand.intake, partition, &script));
    for feeder in &mut feeders {
        feeder.give(HALF, Progress::Behind);
    }
    stand.wait_for_trades(3 * HALF);
    let all = counted(&script, &[(0, HALF), (1, HALF), (2, HALF)]);
    assert_eq!(stand.stored_counts(LEADING, &all), Counts::new(), "written before anything was due");

    let answer = stand.intake.revoke(0).recv_timeout(PATIENCE);
    assert_eq!(answer, Ok(()), "a revoked partition was not answered");
    let revoked = counted(&script, &[(0, HALF)]);
    assert_eq!(stand.stored_counts(LEADING, &all), revoked);
    assert!(stand.shared.board.committable().contains(&(0, HALF)));

    for feeder in &mut feeders[1..] {
        feeder.give(HALF, Progress::End);
    }
    // What the source hands to a lane that was given up belongs to another host.
    feeders[0].give(HALF, Progress::Behind);
    stand.wait_for_trades(5 * HALF);
    stand.stop();
    let mut expected = revoked;
    count(&script, 1, 0..2 * HALF, &mut expected);
    count(&script, 2, 0..2 * HALF, &mut expected);
    stand.assert_stored(&expected);
}

#[test]
fn a_term_that_ends_in_order_counts_and_stores_what_waits_in_its_lanes() {
    let mut stand =
        Stand::start(Setup { flush_interval: NEVER, checkpoint_interval: Some(NEVER), ..Setup::default() });
    let script = |partition: i32, offset: i64| {
        vec![(format!("token-{}", (offset + i64::from(partition)) % 40), BEGIN_MS)]
    };
    let mut feeders = [0, 1, 2].map(|partition| Feeder::open(&stand.intake, partition, &script));
    feeders.iter_mut().for_each(|feeder| feeder.give_all(60, 20));
    let positions: Vec<(i32, i64)> = (0..3).zip(feeders.iter().map(|feeder| feeder.next)).collect();
    drop(feeders);
    for answer in stand.intake.begin_emptying() {
        answer.recv_timeout(PATIENCE).unwrap();
    }
    for answer in stand.intake.begin_retiring() {
        answer.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(stand.shared.metrics.trades.get(), 180);
    stand.assert_stored(&counted(&script, &positions));
    assert!(stand.shared.board.shards().is_empty());
    // The next term begins where this one ended.
    for answer in stand.intake.open(&[0, 1, 2]) {
        let resume = answer.recv_timeout(PATIENCE).unwrap();
        let ends = |cell: &CellStart| {
            cell.vector.as_ref().is_some_and(|vector| vector.values().all(|next| *next == 60))
        };
        assert!(!resume.cells.is_empty() && resume.cells.iter().all(ends), "{:?}", resume.cells);
    }
    stand.stop();
}
