//! A plugin is replaced while trades flow: nothing is lost, nothing counts twice, and a version that fails
//! goes as if it had never been there.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::counter::{Manner, counter, version};
use super::feed::{Feeder, Script, catch_up, counted, feed};
use super::stand::{LEADING, Setup, Stand};
use super::{BEGIN_MS, PATIENCE, wait_until};
use crate::pipeline::trial::{Goal, Origin, Stage, Trial};
use crate::plugin::catalog::Running;

const BATCH: i64 = 10;
const PARTS: [i64; 4] = [200, 400, 600, 800];
const ENDS: [(i32, i64); 2] = [(0, 800), (1, 800)];
/// A token that comes in the third part.
const POISON: &str = "poison";

fn script(partition: i32, offset: i64) -> Vec<(String, i64)> {
    let own = if (partition, offset) == (0, 450) { POISON.to_owned() } else { format!("t-{}", offset % 61) };
    vec![(format!("often-{}", offset % 7), BEGIN_MS), (own, BEGIN_MS)]
}

fn second(manner: Manner) -> Running {
    version("counter", LEADING, manner, "second")
}

/// A stand with the first version, fed part by part.
struct Swapping<'a> {
    stand: Stand,
    feeders: [Feeder<'a>; 2],
}

impl<'a> Swapping<'a> {
    fn start(script: Script<'a>, checkpoint_interval: Option<Duration>) -> Self {
        let stand = Stand::start(Setup { checkpoint_interval, ..Setup::default() });
        let feeders = [0, 1].map(|partition| Feeder::open(&stand.intake, partition, script));
        Self { stand, feeders }
    }

    fn feed(&mut self, part: usize) {
        feed(&mut self.feeders, PARTS[part], BATCH);
    }

    fn begin(&self, running: Running, origin: Origin, compares: bool) -> Arc<Trial> {
        let trial = Arc::new(Trial::new(running, origin, compares, Vec::new()));
        self.stand.intake.begin_trial(&trial);
        trial
    }

    fn pursue(&self, trial: &Trial, goal: Goal, stage: Stage) {
        self.stand.intake.pursue(trial, goal);
        self.wait_for(trial, stage);
    }

    fn wait_for(&self, trial: &Trial, stage: Stage) {
        self.stand.wait_for_stage(trial, stage);
    }

    /// Ends everything, and compares what was written with a plain count.
    fn assert_exact(mut self, script: Script<'_>) {
        self.stand.wait_for_trades(4 * PARTS[3]);
        self.stand.stop();
        self.stand.assert_stored(&counted(script, &ENDS));
    }
}

fn swap(checkpoint_interval: Option<Duration>) {
    let script: Script<'_> = &script;
    let mut swapping = Swapping::start(script, checkpoint_interval);
    swapping.feed(0);
    let trial = swapping.begin(second(Manner::Sound), Origin::Carried, false);
    // Trades flow while the state is carried.
    swapping.feed(1);
    swapping.wait_for(&trial, Stage::InStep);
    swapping.pursue(&trial, Goal::Show, Stage::Shown);
    swapping.feed(2);
    swapping.pursue(&trial, Goal::Accept, Stage::Accepted);
    swapping.stand.intake.end_trial(&trial, true);
    swapping.feed(3);
    let running = swapping.stand.shared.changes.running();
    assert_eq!(running.iter().map(|one| &*one.digest).collect::<Vec<_>>(), ["second"]);
    swapping.assert_exact(script);
}

#[test]
fn a_swap_under_load_carries_everything() {
    swap(None);
}

#[test]
fn a_swap_with_checkpoints_is_accepted_when_every_shard_is_saved() {
    swap(Some(Duration::from_millis(20)));
}

/// A stand in which every shard shows a new version.
fn shown(script: Script<'_>, version: Running) -> (Swapping<'_>, Arc<Trial>) {
    let mut swapping = Swapping::start(script, None);
    swapping.feed(0);
    let trial = swapping.begin(version, Origin::Carried, false);
    swapping.wait_for(&trial, Stage::InStep);
    swapping.pursue(&trial, Goal::Show, Stage::Shown);
    (swapping, trial)
}

#[test]
fn a_new_version_that_fails_while_shown_goes_and_the_former_one_is_shown_as_it_stands() {
    let script: Script<'_> = &script;
    let (mut swapping, trial) = shown(script, second(Manner::FailsAt(POISON)));
    swapping.feed(1);
    swapping.feed(2);
    let failed = |reports: &crate::pipeline::trial::Reports| {
        reports.failure.as_ref().is_some_and(|failure| failure.reason.contains(POISON))
    };
    assert!(trial.wait(PATIENCE, failed));
    swapping.pursue(&trial, Goal::Abandon, Stage::Abandoned);
    swapping.stand.intake.end_trial(&trial, false);
    swapping.feed(3);
    assert!(swapping.stand.shared.quarantine.last().is_empty());
    swapping.assert_exact(script);
}

#[test]
fn a_new_version_that_fails_after_the_seal_is_accepted_by_every_shard() {
    let script: Script<'_> = &script;
    let (mut swapping, trial) = shown(script, second(Manner::FailsAt(POISON)));
    assert!(trial.seal());
    swapping.feed(1);
    swapping.feed(2);
    swapping.stand.wait_for_trades(4 * PARTS[2]);
    swapping.pursue(&trial, Goal::Accept, Stage::Accepted);
    trial.reports(|reports| {
        assert!(reports.failure.is_none());
        assert!(reports.stages.values().all(|stage| *stage == Stage::Accepted), "{:?}", reports.stages);
    });
    swapping.stand.intake.end_trial(&trial, true);
    swapping.stand.stop();
}

#[test]
fn a_version_that_refuses_the_state_never_shows() {
    let script: Script<'_> = &script;
    let mut swapping = Swapping::start(script, None);
    swapping.feed(0);
    let trial = swapping.begin(second(Manner::RefusesState), Origin::Carried, false);
    assert!(trial.wait(PATIENCE, |reports| {
        reports.failure.as_ref().is_some_and(|failure| failure.reason.contains("cannot read this state"))
    }));
    swapping.pursue(&trial, Goal::Abandon, Stage::Abandoned);
    swapping.stand.intake.end_trial(&trial, false);
    for part in 1..4 {
        swapping.feed(part);
    }
    swapping.assert_exact(script);
}

#[test]
fn a_shadow_is_compared_row_by_row_and_writes_nothing() {
    for (manner, differs) in [(Manner::Sound, false), (Manner::CountsTwice, true)] {
        let script: Script<'_> = &script;
        let mut swapping = Swapping::start(script, None);
        swapping.feed(0);
        let trial = swapping.begin(second(manner), Origin::Carried, true);
        swapping.wait_for(&trial, Stage::InStep);
        for part in 1..4 {
            swapping.feed(part);
        }
        let compared = trial.wait(PATIENCE, |reports| match differs {
            true => reports.comparison.different_rows > 0,
            false => reports.comparison.equal_rows > 0,
        });
        assert!(compared);
        trial.reports(|reports| {
            assert_eq!(reports.comparison.examples.is_empty(), !differs, "{:?}", reports.comparison);
        });
        swapping.pursue(&trial, Goal::Abandon, Stage::Abandoned);
        swapping.stand.intake.end_trial(&trial, false);
        swapping.assert_exact(script);
    }
}

#[test]
fn a_further_plugin_reads_what_came_before_it_and_goes_when_it_is_told_to() {
    const KEY: &str = "further";
    let script: Script<'_> = &script;
    let expected = counted(script, &ENDS);
    let mut swapping = Swapping::start(script, None);
    swapping.feed(0);
    swapping.feed(1);
    thread::scope(|scope| {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let intake = swapping.stand.intake.clone();
        scope.spawn(move || catch_up(&intake, script, PARTS[3], &stopped));
        let trial = swapping.begin(counter(KEY, KEY, Manner::Sound), Origin::Backfill, false);
        swapping.feed(2);
        swapping.wait_for(&trial, Stage::InStep);
        swapping.pursue(&trial, Goal::Show, Stage::Shown);
        swapping.pursue(&trial, Goal::Accept, Stage::Accepted);
        swapping.stand.intake.end_trial(&trial, true);
        swapping.feed(3);
        wait_until("the further plugin has all trades", || {
            swapping.stand.stored_counts(KEY, &expected) == expected
        });
        drop(stop);
    });
    swapping.stand.intake.unload(KEY);
    wait_until("its cells are gone", || {
        let shards = swapping.stand.shared.board.shards();
        shards.values().flat_map(|shard| &shard.cells).all(|cell| &*cell.plugin == "counter")
    });
    swapping.assert_exact(script);
}
