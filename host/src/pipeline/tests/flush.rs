//! A flush that waits for its writer again and again while trades go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::BEGIN_MS;
use super::counter::{Manner, counter};
use super::stand::{LEADING, Setup, shared};
use crate::config::ClockMode;
use crate::pipeline::Shared;
use crate::pipeline::batch::{Feed, Mark, Progress};
use crate::pipeline::carry::Draining;
use crate::pipeline::cell::Sight;
use crate::pipeline::cell_clock::Now;
use crate::pipeline::flush::{Left, flush};
use crate::pipeline::kept::Columns;
use crate::pipeline::shard::Shard;
use crate::pipeline::writer::{Outgoing, WriterHandle};
use crate::trade::Texts;

/// What the writer takes before it is full.
const ROOM: usize = 2;

/// A shard of three plugins, and the other end of its writer's queue.
struct Flushing {
    shared: Arc<Shared>,
    shard: Shard,
    writer: WriterHandle,
    queue: mpsc::Receiver<Outgoing>,
    left: Left,
    batches: i64,
}

impl Flushing {
    fn new(runtime: &tokio::runtime::Runtime) -> Self {
        Self::with(Manner::Sound, runtime)
    }

    fn with(manner: Manner, runtime: &tokio::runtime::Runtime) -> Self {
        let plugins = [LEADING, "second", "third"].map(|key| counter(key, key, manner.clone()));
        let mut shard = Shard::new(0, &plugins, ClockMode::Event, Sight::Visible);
        shard.assign(0, 0, i64::MAX, now());
        let shared = shared(Setup { workers: 1, ..Setup::default() }, runtime.handle());
        let (sender, queue) = mpsc::channel(ROOM);
        let writer = WriterHandle::new(sender, Arc::default());
        Self { shared, shard, writer, queue, left: Left::Nothing, batches: 0 }
    }

    /// A trade of each of so many tokens, in a batch of one offset.
    fn take(&mut self, tokens: u32) {
        let mut interned: Vec<u32> =
            (0..tokens).map(|token| self.shard.tokens.intern_text(&format!("token-{token}"))).collect();
        interned.sort_unstable();
        let rows = interned.len();
        let columns = Columns {
            tokens: &interned.iter().map(|&number| (number, 1)).collect::<Vec<_>>(),
            numbers: &interned,
            times_ms: &vec![BEGIN_MS; rows],
            sides: &vec![0; rows],
            natives: &vec![1; rows],
            amounts: &vec![1.0; rows],
            prices: &vec![1.0; rows],
            wallets: &Texts::default(),
            wallet_hashes: &[],
            tx_hashes: &Texts::default(),
        };
        let (first, next) = (self.batches, self.batches + 1);
        let mark = Mark { partition: 0, first, next, newest_ms: Some(BEGIN_MS), progress: Progress::Behind };
        for cell in &mut self.shard.cells {
            assert!(cell.process(&columns, &mut self.shard.tokens));
            cell.take_mark(&mark, Feed::Live, None, now());
        }
        self.shard.batches += 1;
        self.batches += 1;
    }

    /// Goes on with the flush, and gives what the writer got by it: result keys, and positions of the partition.
    fn flush(&mut self) -> Vec<String> {
        self.flush_until(Duration::MAX)
    }

    fn flush_until(&mut self, until: Duration) -> Vec<String> {
        self.left = flush(&mut self.shard, &mut [], &self.writer, &self.shared, now(), until, self.left);
        let told = std::iter::from_fn(|| self.queue.try_recv().ok()).map(|outgoing| match outgoing {
            Outgoing::Rows { chunk, .. } => chunk.result_key.to_string(),
            Outgoing::Position(vector) => vector.iter().map(|(_, next)| format!("position {next}")).collect(),
            other => panic!("{other:?}"),
        });
        told.collect()
    }
}

/// Drains the first cell; gives how many rows that took, and whether there are more.
fn drain(flushing: &mut Flushing) -> (usize, bool) {
    let Shard { cells, tokens, gone, .. } = &mut flushing.shard;
    let (mut draining, mut more) = (Draining::default(), true);
    while more {
        let before = draining.rows;
        more = !draining.step(&mut cells[0], tokens, gone, &flushing.shared.clock, now()).unwrap();
        assert!(draining.rows > before, "draining goes on");
    }
    (draining.rows, more)
}

fn now() -> Now {
    Now { wall_ms: BEGIN_MS, monotonic_ms: 1 }
}

#[test]
fn a_flush_goes_on_where_its_writer_was_full_and_posts_what_its_first_cell_had_taken() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut flushing = Flushing::new(&runtime);
    flushing.take(1);
    assert_eq!(flushing.flush(), [LEADING, "second"]);
    flushing.take(1);
    assert_eq!(flushing.flush(), ["third", "position 1"]);
    assert_eq!(flushing.left, Left::Nothing);
    assert_eq!(flushing.flush(), [LEADING, "second"]);
    assert_eq!(flushing.flush(), ["position 2"]);
}

#[test]
fn a_flush_whose_time_is_up_hands_one_table_over_and_goes_on_with_the_next() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut flushing = Flushing::new(&runtime);
    flushing.take(1);
    assert_eq!(flushing.flush_until(Duration::ZERO), [LEADING]);
    assert_eq!(flushing.flush_until(Duration::ZERO), ["second"]);
    assert_eq!(flushing.flush_until(Duration::ZERO), ["third", "position 1"]);
    assert_eq!(flushing.left, Left::Nothing);
}

#[test]
fn a_cell_that_changes_faster_than_the_writer_takes_it_leaves_room_for_the_others() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut flushing = Flushing::new(&runtime);
    let mut told = Vec::new();
    for _ in 0..12 {
        flushing.take(1_000);
        told.extend(flushing.flush());
    }
    for key in [LEADING, "second", "third"] {
        assert!(told.iter().filter(|told| *told == key).count() >= 4, "{key} in {told:?}");
    }
    assert!(!told.iter().any(|told| told.starts_with("position")), "{told:?}");
}

#[test]
fn rows_that_nobody_needs_are_drained_and_not_written() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut flushing = Flushing::new(&runtime);
    flushing.take(1_000);
    assert_eq!(drain(&mut flushing), (1_000, false));
    assert_eq!(flushing.flush(), ["second", "second"]);
}

#[test]
fn rows_without_end_end_the_instance_however_often_the_time_is_up() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for until in [Duration::ZERO, Duration::MAX] {
        let mut flushing = Flushing::with(Manner::NeverEnds, &runtime);
        flushing.take(600);
        for _ in 0..10 {
            flushing.flush_until(until);
        }
        assert!(flushing.shard.cells.iter().all(|cell| !cell.is_active()));
    }
    let mut flushing = Flushing::with(Manner::NeverEnds, &runtime);
    flushing.take(1);
    let Shard { cells, tokens, gone, .. } = &mut flushing.shard;
    let drained = Draining::default().step(&mut cells[0], tokens, gone, &flushing.shared.clock, now());
    assert!(drained.is_none());
    assert!(!cells[0].is_active());
}
