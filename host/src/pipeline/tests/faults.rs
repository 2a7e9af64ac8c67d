//! A plugin that fails is put back, catches up, and goes on without the trade that killed it; nobody else
//! notices.

use std::sync::Arc;
use std::thread;

use super::counter::{Manner, counter, version};
use super::feed::{Feeder, Script, catch_up, counted, feed};
use super::stand::{LEADING, Setup, Stand};
use super::{BEGIN_MS, Counts, wait_until};
use crate::health::Part;
use crate::pipeline::trial::{Goal, Origin, Stage, Trial};
use crate::plugin::catalog::Running;

/// Messages of each of two partitions, and how many of them travel in a batch.
const MESSAGES: i64 = 120;
const BATCH: i64 = 10;
const ENDS: [(i32, i64); 2] = [(0, MESSAGES), (1, MESSAGES)];
/// The offset of partition 0 with the token that kills, in the middle of a batch.
const KILLER: i64 = 55;
/// Its token, and the result key of the plugin that it kills.
const POISON: &str = "poison";
const FRAGILE: &str = "fragile";

fn sound() -> Running {
    counter("counter", LEADING, Manner::Sound)
}

/// A stream with one trade that kills. Every message brings a token that nobody has met, so that the batch
/// that kills has new ones too.
fn script(partition: i32, offset: i64) -> Vec<(String, i64)> {
    let killer = partition == 0 && offset == KILLER;
    let own = if killer { POISON.to_owned() } else { format!("once-{partition}-{offset}") };
    vec![(format!("often-{}", offset % 7), BEGIN_MS), (own, BEGIN_MS)]
}

/// Feeds the stream to plugins of which one is fragile, and acts while the second reader still runs.
fn fed(plugins: Vec<Running>, act: impl FnOnce(&Stand)) -> Stand {
    let mut stand = Stand::start(Setup { plugins, ..Setup::default() });
    let script: Script<'_> = &script;
    thread::scope(|scope| {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let intake = stand.intake.clone();
        scope.spawn(move || catch_up(&intake, script, MESSAGES, &stopped));
        let mut feeders = [0, 1].map(|partition| Feeder::open(&stand.intake, partition, script));
        feed(&mut feeders, MESSAGES, BATCH);
        act(&stand);
        drop(stop);
    });
    stand.stop();
    stand
}

/// All trades of the stream.
fn all() -> Counts {
    counted(&script, &ENDS)
}

fn survive(plugins: Vec<Running>) {
    let expected = all();
    let mut without = expected.clone();
    without.remove(POISON);
    let stand = fed(plugins, |stand| {
        wait_until("the fragile plugin has all but the trade that kills", || {
            stand.stored_counts(FRAGILE, &expected) == without
        });
        wait_until("nobody lags any more", || stand.shared.demands.wanted().is_empty());
        wait_until("the positions are at the end", || stand.shared.board.committable() == ENDS);
    });
    stand.assert_stored(&expected);
    assert_eq!(stand.stored_counts(FRAGILE, &expected), without);
    assert!(stand.shared.health.checks()[&Part::Plugins].ok);
    let last = stand.shared.quarantine.last();
    let places: Vec<_> = last.iter().map(|one| (one.partition, one.offset, one.index)).collect();
    assert_eq!(places, [(0, KILLER, 1)]);
    assert!(last[0].reason.contains(POISON) && last[0].record.contains(POISON), "{:?}", last[0]);
    assert_eq!(stand.shared.metrics.trades.get(), 4 * MESSAGES as u64, "each trade counts once");
}

#[test]
fn a_plugin_that_names_no_trade_is_given_its_batch_one_by_one() {
    survive(vec![sound(), counter(FRAGILE, FRAGILE, Manner::FailsAt(POISON))]);
}

#[test]
fn a_plugin_before_the_others_fails_without_hurting_them() {
    survive(vec![counter(FRAGILE, FRAGILE, Manner::FailsAt(POISON)), sound()]);
}

#[test]
fn a_plugin_that_names_the_trade_goes_on_without_it() {
    survive(vec![sound(), counter(FRAGILE, FRAGILE, Manner::NamesRowAt(POISON))]);
}

#[test]
fn a_plugin_that_cannot_be_made_when_a_shard_opens_is_made_later_and_lacks_nothing() {
    let expected = all();
    let late = counter(FRAGILE, FRAGILE, Manner::SecondNotMade(Arc::default()));
    let stand = fed(vec![late, sound()], |stand| {
        wait_until("the plugin that came late has all trades", || {
            stand.stored_counts(FRAGILE, &expected) == expected
        });
    });
    stand.assert_stored(&expected);
}

fn never_flushes() -> Vec<Running> {
    vec![sound(), counter(FRAGILE, FRAGILE, Manner::NeverFlushes)]
}

#[test]
fn a_plugin_that_fails_whatever_it_gets_is_suspended_and_holds_nobody_up() {
    let stand = fed(never_flushes(), |stand| {
        wait_until("the report says who failed and why", || {
            let check = &stand.shared.health.checks()[&Part::Plugins];
            !check.ok && check.reason.contains(FRAGILE) && check.reason.contains("cannot flush")
        });
        wait_until("the positions are at the end", || stand.shared.board.committable() == ENDS);
    });
    stand.assert_stored(&all());
}

#[test]
fn a_plugin_that_was_suspended_is_replaced_by_one_that_reads_the_trades_again() {
    let expected = all();
    let stand = fed(never_flushes(), |stand| {
        let mended = version(FRAGILE, FRAGILE, Manner::Sound, "mended");
        let trial = Arc::new(Trial::new(mended, Origin::Carried, false, Vec::new()));
        stand.intake.begin_trial(&trial);
        for (goal, stage) in [(Goal::Show, Stage::Shown), (Goal::Accept, Stage::Accepted)] {
            stand.intake.pursue(&trial, goal);
            stand.wait_for_stage(&trial, stage);
        }
        stand.intake.end_trial(&trial, true);
        wait_until("the mended plugin has all trades", || {
            stand.stored_counts(FRAGILE, &expected) == expected
        });
    });
    stand.assert_stored(&expected);
}
