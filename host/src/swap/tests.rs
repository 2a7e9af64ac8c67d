//! What the conductor makes of files and orders, and what it has the store remember.
//!
//! No shard is at work: a board says that one is open, and the plugins here only have versions. Not for what shards do
//! in a trial, which the pipeline's tests show. Invariant: nothing here waits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::change::{Change, Phase};
use super::conductor::{MOST_STRANGERS, Next, Work};
use super::status::Kind;
use super::{Order, Parts, Records};
use crate::config;
use crate::pipeline::trial::{Goal, Origin, Trial};
use crate::pipeline::{self, Shared};
use crate::plugin::catalog::Running;
use crate::plugin::directory::Change as FileChange;
use crate::plugin::workshop::Workshop;
use crate::plugin::{Candidate, Cause, Loader, Refusal, Stage};
use crate::store::{PluginRecord, PluginVersion, Switched};

const NAME: &str = "vwap";
const MINUTE: Duration = Duration::from_mins(1);

/// A version of the plugin, told from others by what its component is.
fn version(component: &str) -> (Candidate, Running) {
    let candidate = Candidate::new(NAME, component.as_bytes().to_vec(), "{}");
    let running = pipeline::tests::version(NAME, &candidate.digest);
    (candidate, running)
}

/// What loads plugins; no component here is one.
fn workshop() -> Workshop {
    let config = config::Plugins {
        dir: PathBuf::from("/nowhere"),
        cache_dir: None,
        deadline: MINUTE,
        memory_bytes: 1 << 20,
        probation: MINUTE,
        compile_timeout: MINUTE,
        upload_max: 1 << 20,
        time_windows: "1min".to_owned(),
        resolution: "1s".to_owned(),
    };
    Workshop::start(Arc::new(Loader::new(&config, None).unwrap())).unwrap()
}

/// A conductor that is stepped by the test.
struct Stand {
    work: Work,
    shared: Arc<Shared>,
    runtime: Runtime,
}

impl Stand {
    /// One for which a version runs, with an open shard.
    fn new(runs: &(Candidate, Running)) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared = pipeline::tests::idle(runtime.handle());
        shared.board.open_shard(0);
        let (intake, _) = pipeline::workers(&shared, 1);
        let parts = Parts {
            intake,
            workshop: workshop(),
            records: Records { store: Arc::clone(&shared.writing.store), runtime: runtime.handle().clone() },
            running: vec![runs.clone()],
            probation: MINUTE,
            memory_limit: None,
            files: None,
        };
        let (_, orders) = crossbeam_channel::bounded(1);
        let (_, stopped) = crossbeam_channel::bounded(0);
        let work = Work::new(parts, Arc::default(), orders, stopped);
        Self { work, shared, runtime }
    }

    /// Puts a change to a version into a phase.
    fn begin(&mut self, (candidate, running): &(Candidate, Running), phase: Phase) {
        let next = Next { candidate: candidate.clone(), kind: Kind::Swap, answer: None, probation: None };
        let (_, loading) = oneshot::channel();
        let mut change = Change::new(next, Some("before".to_owned()), 0, loading);
        let trial = Trial::new(running.clone(), Origin::Carried, false, Vec::new());
        (change.running, change.trial) = (Some(running.clone()), Some(Arc::new(trial)));
        change.phase = phase;
        self.work.plugins.get_mut(NAME).unwrap().change = Some(change);
    }

    fn take_file(&mut self, (candidate, _): &(Candidate, Running)) {
        self.work.take_file(FileChange::Candidate(candidate.clone()));
    }

    /// The digest of what begins next.
    fn waiting(&self) -> Option<&str> {
        self.work.plugins[NAME].next.as_ref().map(|next| &*next.candidate.digest)
    }

    fn record(&self) -> Option<PluginRecord> {
        self.runtime.block_on(self.shared.writing.store.plugins()).unwrap().remove(NAME)
    }

    /// Writes a record as another host does.
    fn put_record(&self, (candidate, _): &(Candidate, Running)) {
        let store = &self.shared.writing.store;
        let named = PluginVersion::new(&candidate.digest, &candidate.wasm, &candidate.configuration, "1", 5);
        let switched = self.runtime.block_on(async {
            store.stage_component(NAME, &candidate.digest, &candidate.wasm).await.unwrap();
            store.switch_plugin(NAME, None, Some(&PluginRecord::first(named))).await.unwrap()
        });
        assert_eq!(switched, Switched::Done);
    }
}

fn probation() -> Phase {
    Phase::Probation { until: Instant::now() + MINUTE }
}

#[test]
fn the_former_version_comes_back_at_once_only_until_the_record_names_the_new_one() {
    let (first, second) = (version("first"), version("second"));
    let cases = [
        (Phase::Showing, "abandoning", true),
        (probation(), "abandoning", true),
        (Phase::Accepting, "accepting", false),
    ];
    for (phase, then, goes_back) in cases {
        let mut stand = Stand::new(&first);
        stand.begin(&second, phase);
        stand.take_file(&first);
        let kept = &stand.work.plugins[NAME];
        let change = kept.change.as_ref().unwrap();
        assert_eq!(change.phase_name(), then);
        assert_eq!(change.trial.as_ref().unwrap().goal() == Goal::Abandon, goes_back, "{then}");
        assert_eq!(kept.verdicts.refuses(&second.0.identity()), goes_back, "{then}");
        assert_eq!(stand.waiting(), (!goes_back).then_some(&*first.0.digest), "{then}");
    }
}

#[test]
fn what_was_asked_for_last_takes_the_place_of_what_waits() {
    let (first, second, third) = (version("first"), version("second"), version("third"));
    let mut stand = Stand::new(&first);
    stand.begin(&second, Phase::Accepting);
    stand.take_file(&third);
    assert_eq!(stand.waiting(), Some(&*third.0.digest));
    // What is on its way already needs nothing to follow.
    stand.take_file(&second);
    assert_eq!(stand.waiting(), None);
    // A version that is being taken back is tried again when it is asked for again.
    stand.begin(&second, Phase::Abandoning);
    stand.take_file(&second);
    assert_eq!(stand.waiting(), Some(&*second.0.digest));
}

#[test]
fn the_version_that_runs_is_not_swapped_for_itself() {
    let (first, second) = (version("first"), version("second"));
    let mut stand = Stand::new(&first);
    stand.begin(&second, Phase::Abandoning);
    stand.take_file(&first);
    assert_eq!(stand.waiting(), Some(&*first.0.digest));
    stand.work.plugins.get_mut(NAME).unwrap().change = None;
    stand.work.advance(NAME);
    let kept = &stand.work.plugins[NAME];
    assert!(kept.next.is_none() && kept.change.is_none());
}

#[test]
fn what_runs_is_recorded_with_what_was_refused_while_another_version_is_tried() {
    let (first, second) = (version("first"), version("second"));
    let mut stand = Stand::new(&first);
    stand.begin(&second, probation());
    stand.take_file(&first);
    stand.work.note(NAME);
    let record = stand.record().unwrap();
    assert_eq!((&*record.current.digest, &record.previous), (&*first.0.digest, &None));
    assert_eq!(record.refused, [second.0.identity()]);
    let component = stand.shared.writing.store.component(NAME, &record.current);
    assert_eq!(stand.runtime.block_on(component).unwrap().unwrap(), *first.0.wasm);
    // Said once, it is not said again.
    stand.work.note(NAME);
    assert_eq!(stand.record().unwrap(), record);
    let (answer, _) = oneshot::channel();
    stand.work.follow(Order::Run(second.0.clone(), None), answer);
    stand.work.note(NAME);
    assert_eq!(stand.record().unwrap().refused, Vec::<String>::new());
}

#[test]
fn a_record_of_another_host_goes_on_to_name_what_that_one_runs() {
    let (first, second, other) = (version("first"), version("second"), version("other"));
    let mut stand = Stand::new(&first);
    stand.put_record(&other);
    stand.begin(&second, probation());
    stand.take_file(&first);
    stand.work.note(NAME);
    let record = stand.record().unwrap();
    assert_eq!((&record.current.digest, record.previous), (&other.0.digest.to_string(), None));
    assert_eq!(record.refused, [second.0.identity()]);
}

#[test]
fn a_host_that_stands_by_writes_no_record_until_it_serves() {
    let (first, second) = (version("first"), version("second"));
    let mut stand = Stand::new(&first);
    stand.shared.board.drop_shard(0);
    stand.begin(&second, probation());
    stand.take_file(&first);
    stand.work.note(NAME);
    assert_eq!(stand.record(), None);
    stand.shared.board.open_shard(0);
    stand.work.note(NAME);
    assert_eq!(stand.record().unwrap().refused, [second.0.identity()]);
}

#[test]
fn a_file_that_was_never_tried_is_no_reason_for_a_record() {
    let (first, second) = (version("first"), version("second"));
    let mut stand = Stand::new(&first);
    let kept = stand.work.plugins.get_mut(NAME).unwrap();
    kept.verdicts.refuse(second.0.identity());
    stand.work.note(NAME);
    assert_eq!(stand.record(), None);
    let kept = &stand.work.plugins[NAME];
    assert!(kept.verdicts.refuses(&second.0.identity()) && !kept.verdicts.has_untold());
}

#[test]
fn made_up_names_take_bounded_room() {
    let mut stand = Stand::new(&version("first"));
    let name = |number: usize| format!("made-up-{number}");
    for number in 0..3 * MOST_STRANGERS {
        let refusal = Refusal::new(&name(number), Stage::Read, Cause::FileName, "made up");
        stand.work.take_file(FileChange::Refused(refusal));
    }
    stand.work.forget_strangers();
    assert_eq!(stand.work.plugins.len(), MOST_STRANGERS + 1);
    assert!(stand.work.plugins.contains_key(NAME));
    let events = &stand.shared.metrics.plugin_events;
    let counted: u64 = (0..3 * MOST_STRANGERS).map(|number| events.counts(&name(number)).refused).sum();
    assert_eq!(counted, MOST_STRANGERS as u64);
    // What runs is counted whatever was made up before.
    let refusal = Refusal::new(NAME, Stage::Read, Cause::FileName, "two files");
    stand.work.take_file(FileChange::Refused(refusal));
    assert_eq!(stand.shared.metrics.plugin_events.counts(NAME).refused, 1);
}
