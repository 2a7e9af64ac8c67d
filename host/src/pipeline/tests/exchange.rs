//! Workers that hand each other everything: no two of them may wait for each other.

use std::thread;

use super::feed::{Feeder, counted, feed};
use super::stand::{Setup, Stand, tokens_of};
use super::{BEGIN_MS, PATIENCE};
use crate::pipeline::status::Sort;

/// Partitions, half of them decoded by either worker.
const PARTITIONS: i32 = 4;
/// Messages of a partition, and how many of them travel in a batch.
const MESSAGES: i64 = 2_000;
const BATCH: i64 = 2;

#[test]
fn two_workers_with_full_inboxes_whose_trades_all_cross_never_wait_for_each_other() {
    let mut stand = Stand::start(Setup::default());
    let layout = stand.shared.layout;
    let tokens = [0, 1].map(|worker| tokens_of(layout, worker, 20));
    // Whoever decodes a partition finds in it only what belongs to the other.
    let script = |partition: i32, offset: i64| {
        let others = &tokens[1 - layout.decoder(partition)];
        let token = |trade: i64| others[(offset * 3 + trade) as usize % others.len()].clone();
        (0..3).map(|trade| (token(trade), BEGIN_MS)).collect()
    };
    let open = |partition| Feeder::open(&stand.intake, partition, &script);
    let mut feeders: Vec<_> = (0..PARTITIONS).map(open).collect();
    feed(&mut feeders, MESSAGES, BATCH);
    stand.wait_for_trades(i64::from(PARTITIONS) * MESSAGES * 3);
    stand.stop();
    let ends: Vec<_> = (0..PARTITIONS).map(|partition| (partition, MESSAGES)).collect();
    stand.assert_stored(&counted(&script, &ends));
    assert_eq!(stand.shared.board.committable(), ends);
}

#[test]
fn workers_answer_while_their_inboxes_are_full() {
    let mut stand = Stand::start(Setup::default());
    let tokens = [0, 1].map(|worker| tokens_of(stand.shared.layout, worker, 20));
    let script = |partition: i32, offset: i64| {
        vec![(tokens[1 - partition as usize][offset as usize % 20].clone(), BEGIN_MS)]
    };
    let feeders = [0, 1].map(|partition| Feeder::open(&stand.intake, partition, &script));
    thread::scope(|scope| {
        for mut feeder in feeders {
            scope.spawn(move || feeder.give_all(MESSAGES, 1));
        }
        let (answer, answers) = crossbeam_channel::bounded(1);
        let intake = stand.intake.clone();
        thread::spawn(move || while answer.send(intake.tokens(100, Sort::Trades)).is_ok() {});
        for _ in 0..20 {
            let listed = answers.recv_timeout(PATIENCE).expect("no answer from workers that are busy");
            assert!(listed.len() <= 40);
        }
    });
    stand.wait_for_trades(2 * MESSAGES);
    stand.stop();
    stand.assert_stored(&counted(&script, &[(0, MESSAGES), (1, MESSAGES)]));
}
