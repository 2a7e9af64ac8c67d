//! The pipeline as a source sees it, and those who ask it something.
//!
//! Not for what workers do. Invariant: what is asked of several workers is asked of all of them before any
//! answer is waited for.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::batch::Feed;
use super::board::Board;
use super::catch_up::DemandId;
use super::cell_clock::UNKNOWN;
use super::lane::{self, Front, LaneSender, Waker};
use super::route::Layout;
use super::status::{self, Sort, TokenStatus};
use super::trial::{Goal, Trial};
use super::upkeep::Upkeep;
use super::worker::{Assignment, Event, Resume, WorkerHandle};
use super::{Shared, columns};
use crate::config::Partitioning;

/// How many batches wait in a lane.
pub(super) const LANE: usize = 2;
/// How many batches wait in the lane of a catch-up.
const CATCH_UP_LANE: usize = 2;

/// The source's view of the pipeline, and the views of those who ask.
#[derive(Clone)]
pub struct Intake {
    pub(super) shared: Arc<Shared>,
    pub(super) workers: Vec<WorkerHandle>,
    pub(super) layout: Layout,
    pub(super) board: Arc<Board>,
    pub(super) front: Arc<Front>,
}

impl Intake {
    /// An intake for the source of a repartitioned feed. It leads to one who takes the place of all workers and
    /// has no shards.
    pub fn of_source(&self, worker: WorkerHandle, align: Duration) -> Self {
        let align_ms = i64::try_from(align.as_millis()).unwrap_or(i64::MAX);
        Self {
            shared: Arc::clone(&self.shared),
            workers: vec![worker],
            layout: Layout { partitioning: Partitioning::ByToken, shards: 1, workers: 1 },
            board: Arc::clone(&self.shared.source_board),
            front: Arc::new(Front::new(Some(align_ms))),
        }
    }

    /// Where the partitions stand.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// How far each partition has been taken.
    pub fn front(&self) -> &Arc<Front> {
        &self.front
    }

    /// Has the shards that these partitions feed owned and their checkpoints loaded; each worker
    /// answers where its cells start.
    pub fn open(&self, partitions: &[i32]) -> Vec<Receiver<Resume>> {
        self.ask_all(|reply| Event::Open { partitions: partitions.to_vec(), reply })
    }

    /// Assigns a partition that will be read from `next` on, and whose end is known; before `decoded`
    /// everything was counted and judged already.
    pub fn assign(&self, partition: i32, next: i64, end: i64, decoded: i64, waker: Waker) -> LaneSender {
        let layout = &self.layout;
        let decoder = layout.decoder(partition);
        let shards = match layout.shuffles() {
            true => 0..layout.shards,
            false => Layout::of_partition(partition)..Layout::of_partition(partition) + 1,
        };
        self.board.assign(partition, next, decoded.max(next), shards);
        self.front.assign(partition);
        let worker = self.workers[decoder].clone();
        let (sender, lane) = lane::lane(partition, Feed::Live, LANE, decoded, worker, waker);
        let mut lane = Some(lane);
        for (index, worker) in self.workers.iter().enumerate() {
            let ours = index == decoder;
            if ours || layout.shuffles() {
                let lane = if ours { lane.take() } else { None };
                worker.send(Event::Assign(Assignment { partition, next, end, lane }));
            }
        }
        sender
    }

    /// Has a partition read again, for cells that lag in it. What an earlier lane of it holds is dropped.
    pub fn catch_up(&self, partition: i32, waker: Waker) -> LaneSender {
        let worker = self.workers[self.shared.layout.decoder(partition)].clone();
        let (sender, lane) =
            lane::lane(partition, Feed::CatchUp, CATCH_UP_LANE, i64::MAX, worker.clone(), waker);
        worker.send(Event::CatchUp(lane));
        sender
    }

    /// Ends the catch-up of a partition.
    pub fn end_catch_up(&self, partition: i32) {
        self.workers[self.shared.layout.decoder(partition)].send(Event::EndCatchUp(partition));
    }

    /// Says where a partition begins for the cell behind a demand.
    pub fn begin(&self, demand: DemandId, partition: i32, next: i64) {
        for worker in &self.workers {
            worker.send(Event::Begin { demand, partition, next });
        }
    }

    /// Begins a trial: every shard that is open, or is opened meanwhile, goes towards its goal. Blocks until
    /// every batch on its way has the columns that the new plugin asks for.
    pub fn begin_trial(&self, trial: &Arc<Trial>) {
        if self.shared.fill(columns([&trial.running])) {
            // Once for what was decoded before, and once for what of it was on its way to another worker.
            self.settle();
            self.settle();
        }
        self.shared.changes.begin(Arc::clone(trial));
        self.wake();
    }

    fn settle(&self) {
        for answer in self.ask_all(Event::Settle) {
            answer.recv().ok();
        }
    }

    /// Sets a trial's further goal.
    pub fn pursue(&self, trial: &Trial, goal: Goal) {
        trial.set_goal(goal);
        self.wake();
    }

    /// Ends a trial that every shard is through with; what it tried runs from now on where it was accepted.
    pub fn end_trial(&self, trial: &Arc<Trial>, accepted: bool) {
        self.shared.changes.end(trial, accepted);
        self.wake();
    }

    /// Has a plugin's cells go; its checkpoints stay.
    pub fn unload(&self, name: &str) {
        self.shared.changes.leave(name);
        self.wake();
    }

    fn wake(&self) {
        for worker in &self.workers {
            worker.wake();
        }
    }

    /// Tells that there is a partition whose broker does not answer yet: it holds the clocks until it is assigned,
    /// or left out. Where it is a shard of its own, nobody else minds; the source of a repartitioned feed is not.
    pub fn await_partition(&self, partition: i32) {
        if self.layout.shuffles() || Arc::ptr_eq(&self.board, &self.shared.source_board) {
            self.front.assign(partition);
            for worker in &self.workers {
                let (next, end) = (UNKNOWN, i64::MAX);
                worker.send(Event::Assign(Assignment { partition, next, end, lane: None }));
            }
        }
    }

    /// Whether each worker's inbox has room, so that no call here waits.
    pub fn has_room(&self) -> bool {
        self.workers.iter().all(WorkerHandle::has_room)
    }

    /// Has every worker do something, and gives where each answers.
    fn ask_all<R>(&self, event: impl Fn(Sender<R>) -> Event) -> Vec<Receiver<R>> {
        let ask = |worker: &WorkerHandle| {
            let (reply, answer) = crossbeam_channel::bounded(1);
            worker.send(event(reply));
            answer
        };
        self.workers.iter().map(ask).collect()
    }

    /// Has the workers take nothing more from their lanes; each answers when nothing is parked.
    pub fn stop_taking(&self) -> Vec<Receiver<()>> {
        self.ask_all(Event::StopTaking)
    }

    /// Has the workers write what is left and end.
    pub fn finish(&self) {
        for worker in &self.workers {
            worker.send(Event::Finish);
        }
    }

    /// Has all shards and partitions dropped as they are; each worker answers when they are gone.
    pub fn begin_drop(&self) -> Vec<Receiver<()>> {
        self.ask_all(|done| Event::Drop { done })
    }

    /// Drops all shards and partitions as they are, since another process owns them.
    pub fn drop_all(&self) {
        for answer in self.begin_drop() {
            answer.recv().ok();
        }
        self.forget_partitions();
    }

    /// Takes all partitions off the board.
    pub fn forget_partitions(&self) {
        for partition in self.board.partitions().into_keys() {
            self.board.revoke(partition);
        }
    }

    /// Has the workers take what is left in their lanes, which nobody fills any more; each answers when nothing of it
    /// is on its way.
    pub fn begin_emptying(&self) -> Vec<Receiver<()>> {
        self.ask_all(Event::Empty)
    }

    /// Has all shards stored, however long that takes, and given up; each worker answers when they are gone.
    pub fn begin_retiring(&self) -> Vec<Receiver<()>> {
        self.ask_all(Event::Retire)
    }

    /// Closes a partition; the answer comes when its results are with the store, or given up.
    pub fn revoke(&self, partition: i32) -> Receiver<()> {
        let (done, answer) = crossbeam_channel::bounded(1);
        let decoder = self.layout.decoder(partition);
        self.workers[decoder].send(Event::Revoke { partition, done });
        answer
    }

    /// Leaves a partition out of all clocks, or takes it in again.
    pub fn set_absent(&self, partition: i32, absent: bool) {
        if absent {
            self.front.leave(partition);
        }
        for worker in &self.workers {
            worker.send(Event::Absent { partition, absent });
        }
    }

    /// Has the tokens that a partition feeds counted as incomplete: records of it are gone that nobody has read.
    pub fn lost(&self, partition: i32) {
        for worker in &self.workers {
            worker.send(Event::Lost(partition));
        }
    }

    /// Has the writers of these shards look whether the store still has what it accepted.
    pub fn probe(&self, shards: &[u32]) {
        for worker in &self.workers {
            worker.offer(Event::Probe(shards.to_vec()));
        }
    }

    /// Has every result written again; false where a worker had no room for that.
    pub fn touch_all(&self) -> bool {
        self.workers.iter().all(|worker| worker.offer(Event::Touch))
    }

    /// Asks something of a shard, for maintenance. Waits for room.
    pub fn keep(&self, shard: u32, upkeep: Upkeep) {
        self.workers[self.shared.layout.worker(shard)].send(Event::Upkeep { shard, upkeep });
    }

    /// What the workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The first live tokens in an order. Blocks until every worker has answered.
    pub fn tokens(&self, limit: usize, sort: Sort) -> Vec<TokenStatus> {
        let answers = self.ask_all(|reply| Event::Tokens { limit, sort, reply });
        let tokens = answers.iter().flat_map(|answer| answer.recv().unwrap_or_default());
        status::first(tokens.collect(), limit, sort)
    }
}
