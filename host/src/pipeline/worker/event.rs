//! What a worker is told, and where to.
//!
//! Not for acting on it. Invariant: what is sent with [`WorkerHandle::offer`] may be lost, so it is
//! something that is sent again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::super::catch_up::DemandId;
use super::super::lane::Lane;
use super::super::route::Routed;
use super::super::status::{self, TokenStatus};
use super::super::upkeep::Upkeep;

/// Where a cell starts.
#[derive(Debug, Clone, Default)]
pub struct CellStart {
    /// The only partition that feeds it; none: all do.
    pub fed_by: Option<i32>,
    /// Its vector; none when it starts with nothing.
    pub vector: Option<BTreeMap<i32, i64>>,
}

/// Where the cells of a worker start.
#[derive(Debug, Default)]
pub struct Resume {
    /// Each cell.
    pub cells: Vec<CellStart>,
    /// How far each partition was decoded, counted and judged.
    pub decoded: BTreeMap<i32, i64>,
}

/// A partition that will be read, for the worker that decodes it.
pub struct Assignment {
    /// The partition.
    pub partition: i32,
    /// The first offset that will be read.
    pub next: i64,
    /// Where the partition ends: no cell has taken more of it, whatever it was saved with.
    pub end: i64,
    /// Where its batches come from; none for those who only learn that its marks will come.
    pub lane: Option<Lane>,
}

/// What a worker is told.
pub enum Event {
    /// Own the shards that these partitions feed, and say where their cells start.
    Open {
        /// The partitions.
        partitions: Vec<i32>,
        /// Answered when every checkpoint is in its cell.
        reply: Sender<Resume>,
    },
    /// A partition is assigned.
    Assign(Assignment),
    /// Another process owns what was ours: drop all shards as they are, and answer.
    Drop {
        /// Answered when they are gone.
        done: Sender<()>,
    },
    /// A partition goes: finish it, write its results, and answer.
    Revoke {
        /// The partition.
        partition: i32,
        /// Answered when its results are with the store, or given up.
        done: Sender<()>,
    },
    /// The lane through which a partition is read again, for cells that lag in it.
    CatchUp(Lane),
    /// No cell lags in a partition any more, or it is read again from elsewhere.
    EndCatchUp(i32),
    /// Where a partition begins for a cell that starts with nothing.
    Begin {
        /// What stands for the cell.
        demand: DemandId,
        /// The partition.
        partition: i32,
        /// The first offset.
        next: i64,
    },
    /// Records of a partition are gone that nobody has read.
    Lost(i32),
    /// A partition cannot be fetched, or can again.
    Absent {
        /// The partition.
        partition: i32,
        /// Whether it is left out of the clocks.
        absent: bool,
    },
    /// A batch that another worker decoded.
    Batch(Arc<Routed>),
    /// Something outside the inbox may have changed: a lane, the writer's room.
    Wake,
    /// The store seems to have forgotten what it accepted of these shards.
    Probe(Vec<u32>),
    /// Something is missing in the store: write every result again.
    Touch,
    /// Maintenance asks something of a shard.
    Upkeep {
        /// The shard.
        shard: u32,
        /// What.
        upkeep: Upkeep,
    },
    /// Somebody asks for the busiest tokens.
    Tokens {
        /// How many at most.
        limit: usize,
        /// Their order.
        sort: status::Sort,
        /// Where the answer goes.
        reply: Sender<Vec<TokenStatus>>,
    },
    /// Answer when everything that was decoded before is handed over.
    Settle(Sender<()>),
    /// Take nothing more from the lanes; answer when nothing is parked.
    StopTaking(Sender<()>),
    /// Nobody fills the lanes any more: take what is left in them, and answer when nothing is parked.
    Empty(Sender<()>),
    /// The term ends in order: store all shards, however long that takes, let them go, and answer.
    Retire(Sender<()>),
    /// Everything has been handed over: write what is left and end.
    Finish,
}

/// Where a worker's events are sent.
#[derive(Clone)]
pub struct WorkerHandle {
    pub(super) inbox: Sender<Event>,
}

impl WorkerHandle {
    /// A handle of the worker that reads the other end.
    pub fn new(inbox: Sender<Event>) -> Self {
        Self { inbox }
    }

    /// Makes the worker look around. A full inbox keeps it awake anyway.
    pub fn wake(&self) {
        self.offer(Event::Wake);
    }

    /// Whether an event would be taken without a wait.
    pub fn has_room(&self) -> bool {
        !self.inbox.is_full()
    }

    /// Sends an event that may be lost where the inbox is full, since it is repeated; says whether there
    /// was room.
    pub fn offer(&self, event: Event) -> bool {
        self.inbox.try_send(event).is_ok()
    }

    /// Sends an event; waits for room. Not for workers. A worker that has ended takes nothing.
    pub fn send(&self, event: Event) {
        drop(self.inbox.send(event));
    }
}
