//! A plugin that fails is suspended where it failed, and nobody else notices.

use xxhash_rust::xxh3::xxh3_64;

use super::counter::{Manner, counter};
use super::feed::{Feeder, counted, feed};
use super::stand::{LEADING, Setup, Stand};
use super::{BEGIN_MS, Counts, wait_until};
use crate::health::Part;
use crate::plugin::catalog::Running;

/// Messages of each of two partitions, and how many of them travel in a batch.
const MESSAGES: i64 = 120;
const BATCH: i64 = 10;
/// The offset of partition 0 with the token that kills, in the middle of a batch.
const KILLER: i64 = 55;
/// Its token, and the result key of the plugin that it kills.
const POISON: &str = "poison";
const FRAGILE: &str = "fragile";

fn sound() -> Running {
    counter("counter", LEADING, Manner::Sound)
}

fn fragile() -> Running {
    counter(FRAGILE, FRAGILE, Manner::FailsAt(POISON))
}

/// Feeds a stream with a token that kills the fragile plugin in one shard. Every message brings a token that
/// nobody has met, so that the batch that kills has new ones too.
fn survive(plugins: Vec<Running>) {
    let mut stand = Stand::start(Setup { plugins, ..Setup::default() });
    let script = |partition: i32, offset: i64| {
        let killer = partition == 0 && offset == KILLER;
        let own = if killer { POISON.to_owned() } else { format!("once-{partition}-{offset}") };
        vec![(format!("often-{}", offset % 7), BEGIN_MS), (own, BEGIN_MS)]
    };
    let mut feeders = [0, 1].map(|partition| Feeder::open(&stand.intake, partition, &script));
    feed(&mut feeders, MESSAGES, BATCH);
    let ends = [(0, MESSAGES), (1, MESSAGES)];
    wait_until("the positions have passed the fault", || stand.shared.board.committable() == ends);
    wait_until("the report says who failed and why", || {
        let check = &stand.shared.health.checks()[&Part::Plugins];
        !check.ok && check.reason.contains(FRAGILE) && check.reason.contains(POISON)
    });
    stand.stop();
    let expected = counted(&script, &ends);
    stand.assert_stored(&expected);

    // In the shard without the token the fragile plugin has counted everything too.
    let layout = stand.shared.layout;
    let shard = |token: &str| layout.shard(xxh3_64(token.as_bytes()), 0);
    let elsewhere: Counts = expected.into_iter().filter(|(token, _)| shard(token) != shard(POISON)).collect();
    assert!(elsewhere.len() > 50);
    assert_eq!(stand.stored_counts(FRAGILE, &elsewhere), elsewhere);
}

#[test]
fn a_suspended_plugin_does_not_hurt_the_one_before_it_and_positions_go_on() {
    survive(vec![sound(), fragile()]);
}

#[test]
fn a_suspended_plugin_does_not_hurt_the_one_behind_it_and_positions_go_on() {
    survive(vec![fragile(), sound()]);
}
