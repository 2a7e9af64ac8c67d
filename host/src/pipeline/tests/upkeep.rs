//! Maintenance: what differs is mended, what nobody holds goes, instances are made anew while trades flow, and
//! where memory is short the oldest tokens go first.

use std::time::Duration;

use super::counter::TOKEN_BYTES;
use super::feed::{Feeder, Script, counted, feed};
use super::stand::{LEADING, Setup, Stand};
use super::{BEGIN_MS, PATIENCE, wait_until};
use crate::maintenance::{Maintenance, Parts};
use crate::pipeline::upkeep::{Growth, Upkeep};

const PARTS: [i64; 3] = [200, 400, 600];
const BATCH: i64 = 10;
const ENDS: [(i32, i64); 2] = [(0, PARTS[2]), (1, PARTS[2])];

/// Some tokens trade all the time, each further one only once.
fn script(partition: i32, offset: i64) -> Vec<(String, i64)> {
    let at_ms = BEGIN_MS + offset;
    vec![(format!("often-{}", offset % 7), at_ms), (format!("once-{partition}-{offset}"), at_ms)]
}

/// A stand with a fed part of the script.
fn fed<'a>(script: Script<'a>, checkpoint_interval: Option<Duration>) -> (Stand, [Feeder<'a>; 2]) {
    let stand = Stand::start(Setup { checkpoint_interval, ..Setup::default() });
    let mut feeders = [0, 1].map(|partition| Feeder::open(&stand.intake, partition, script));
    feed(&mut feeders, PARTS[0], BATCH);
    (stand, feeders)
}

fn maintenance(stand: &Stand, memory_limit: Option<u64>) -> Maintenance {
    Maintenance::start(Parts {
        intake: stand.intake.clone(),
        orders: None,
        interval: Duration::from_millis(10),
        stale_threshold: Duration::from_hours(1),
        memory_limit,
    })
    .unwrap()
}

/// Has every shard make its instances anew, one after the other; says how many were.
fn make_anew(stand: &Stand) -> usize {
    let renew = |shard: u32| {
        let (reply, answer) = crossbeam_channel::bounded(1);
        stand.intake.keep(shard, Upkeep::Renew { growth: Growth::Any, reply });
        answer.recv_timeout(PATIENCE).unwrap_or(0)
    };
    (0..stand.shared.layout.shards).map(renew).sum()
}

fn renewed_under_load(checkpoint_interval: Option<Duration>) {
    let script: Script<'_> = &script;
    let (mut stand, mut feeders) = fed(script, checkpoint_interval);
    std::thread::scope(|scope| {
        let feeding = scope.spawn(|| feed(&mut feeders, PARTS[1], BATCH));
        while !feeding.is_finished() {
            make_anew(&stand);
        }
    });
    assert_eq!(make_anew(&stand), stand.shared.layout.shards as usize);
    assert_eq!(make_anew(&stand), stand.shared.layout.shards as usize);
    feed(&mut feeders, PARTS[2], BATCH);
    stand.wait_for_trades(4 * PARTS[2]);
    stand.stop();
    stand.assert_stored(&counted(script, &ENDS));
}

#[test]
fn instances_that_are_made_anew_while_trades_flow_lose_nothing() {
    renewed_under_load(None);
}

#[test]
fn instances_that_are_made_anew_between_checkpoints_are_saved_as_before() {
    renewed_under_load(Some(Duration::from_millis(5)));
}

#[test]
fn a_result_that_differs_is_found_and_written_again_and_what_nobody_holds_goes() {
    let script: Script<'_> = &script;
    let (mut stand, mut feeders) = fed(script, None);
    feed(&mut feeders, PARTS[2], BATCH);
    stand.wait_for_trades(4 * PARTS[2]);
    let expected = counted(script, &ENDS);
    wait_until("everything is written", || stand.stored_counts(LEADING, &expected) == expected);
    stand.plant("often-3", LEADING, br#"{"all":{"trades":1}}"#);
    stand.plant("nobody", LEADING, br#"{"all":{"trades":1}}"#);
    let maintenance = maintenance(&stand, None);
    let numbers = || stand.shared.metrics.maintenance.counts();
    wait_until("the difference is found", || numbers().differences > 0);
    wait_until("the leftover is gone", || numbers().removed_tokens > 0);
    wait_until("the result is written again", || stand.stored_counts(LEADING, &expected) == expected);
    wait_until("everything is compared once more", || numbers().compared > 4 * expected.len() as u64);
    drop(maintenance);
    assert_eq!((numbers().differences, numbers().removed_tokens), (1, 1));
    stand.stop();
    stand.assert_stored(&expected);
}

#[test]
fn where_memory_is_short_the_oldest_tokens_go_and_those_that_trade_stay_exact() {
    let script: Script<'_> = &script;
    let (mut stand, mut feeders) = fed(script, Some(Duration::from_millis(5)));
    let tokens = || stand.shared.board.shards().values().map(|shard| shard.tokens).sum::<usize>();
    let all = counted(script, &[(0, PARTS[0]), (1, PARTS[0])]).len();
    wait_until("all tokens are there", || tokens() == all);
    let most = all / 2;
    let maintenance = maintenance(&stand, Some((most * TOKEN_BYTES) as u64));
    wait_until("half of the tokens are gone", || tokens() <= most);
    let evicted = || stand.shared.metrics.maintenance.counts().evicted as usize;
    wait_until("what was evicted is counted", || evicted() == all - tokens());
    drop(maintenance);
    assert!(tokens() > most * 8 / 10, "more went than had to: {} of {all} are left", tokens());

    let left = tokens();
    let oldest = "once-0-0";
    assert!(stand.shared.evictions.incomplete_until(oldest).is_some());
    assert!(stand.shared.evictions.incomplete_until("often-0").is_none());
    feed(&mut feeders, PARTS[2], BATCH);
    stand.wait_for_trades(4 * PARTS[2]);
    stand.stop();
    let expected = counted(script, &ENDS);
    let stored = stand.stored_counts(LEADING, &expected);
    let often: Vec<_> = expected.iter().filter(|(token, _)| token.starts_with("often")).collect();
    assert!(often.iter().all(|(token, count)| stored.get(*token) == Some(count)));
    assert!(!stored.contains_key(oldest), "the results of an evicted token are removed");
    let since = expected.len() - all;
    assert_eq!(stored.len(), left + since);
}
