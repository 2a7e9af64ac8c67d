//! Cells that lag behind their shard, and what they want from the source's second reader.
//!
//! A cell lags in a partition where its vector lies before what its shard has taken: its plugin failed and
//! was put back to a checkpoint, or it began later than the others. It takes that partition from the
//! catch-up reader until it meets the live stream, while its shard's other cells go on. Invariant: a cell
//! takes a partition from one of the two readers only, and without a gap; a demand lives as long as the lag
//! that it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::lane::Waker;

/// What a lagging cell wants of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Everything from this offset on.
    From(i64),
    /// What a cell reads that starts with nothing, but nothing before this offset.
    Horizon {
        /// Where the cell's shard began to read.
        not_before: i64,
    },
}

/// Tells demands apart; never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DemandId(u64);

/// For each lagging cell what it wants of each partition.
pub type Wanted = BTreeMap<DemandId, BTreeMap<i32, Want>>;

/// What all lagging cells of this process want.
#[derive(Default)]
pub struct Demands {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    last_id: u64,
    wanted: Wanted,
    /// Wakes the reader when something is wanted that was not.
    waker: Option<Waker>,
}

impl Demands {
    fn with<R>(&self, act: impl FnOnce(&mut Inner) -> R) -> R {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has somebody woken whenever a demand is new.
    pub fn wake(&self, waker: Waker) {
        self.with(|inner| inner.waker = Some(waker));
    }

    /// What is wanted now.
    pub fn wanted(&self) -> Wanted {
        self.with(|inner| inner.wanted.clone())
    }

    fn post(self: &Arc<Self>, wants: BTreeMap<i32, Want>) -> Demand {
        let id = self.with(|inner| {
            inner.last_id += 1;
            let id = DemandId(inner.last_id);
            inner.wanted.insert(id, wants);
            if let Some(waker) = &inner.waker {
                waker();
            }
            id
        });
        Demand { id, demands: Arc::clone(self) }
    }

    fn change(&self, id: DemandId, change: impl FnOnce(&mut BTreeMap<i32, Want>)) {
        self.with(|inner| inner.wanted.get_mut(&id).map(change));
    }
}

/// A demand that stands until it is dropped.
struct Demand {
    id: DemandId,
    demands: Arc<Demands>,
}

impl Drop for Demand {
    fn drop(&mut self) {
        self.demands.with(|inner| inner.wanted.remove(&self.id));
    }
}

/// The partitions in which a cell lags.
pub(super) struct Lag {
    demand: Demand,
    partitions: BTreeSet<i32>,
}

impl Lag {
    /// Asks for what a cell has not taken; none where it lags in no partition.
    pub(super) fn begin(demands: &Arc<Demands>, wants: BTreeMap<i32, Want>) -> Option<Self> {
        let partitions: BTreeSet<i32> = wants.keys().copied().collect();
        (!partitions.is_empty()).then(|| Self { demand: demands.post(wants), partitions })
    }

    /// Whether the cell lags in a partition.
    pub(super) fn has(&self, partition: i32) -> bool {
        self.partitions.contains(&partition)
    }

    /// Whether the cell lags nowhere any more.
    pub(super) fn is_over(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Whether it is the lag behind a demand.
    pub(super) fn is_behind(&self, id: DemandId) -> bool {
        self.demand.id == id
    }

    /// Notes how far the cell has come in a partition.
    pub(super) fn moved(&self, partition: i32, next: i64) {
        let demand = &self.demand;
        demand.demands.change(demand.id, |wants| {
            wants.insert(partition, Want::From(next));
        });
    }

    /// Notes that the cell takes a partition from the live stream again.
    pub(super) fn met(&mut self, partition: i32) {
        if self.partitions.remove(&partition) {
            let demand = &self.demand;
            demand.demands.change(demand.id, |wants| {
                wants.remove(&partition);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_shrinks_as_partitions_are_met_and_goes_with_its_lag() {
        let demands = Arc::new(Demands::default());
        let wants = BTreeMap::from([(0, Want::From(5)), (1, Want::Horizon { not_before: 0 })]);
        let mut lag = Lag::begin(&demands, wants).unwrap();
        lag.moved(1, 9);
        lag.met(0);
        let left = demands.wanted().into_values().next().unwrap();
        assert_eq!(left, BTreeMap::from([(1, Want::From(9))]));
        lag.met(1);
        assert!(lag.is_over());
        drop(lag);
        assert!(demands.wanted().is_empty());
    }

    #[test]
    fn who_lags_nowhere_demands_nothing() {
        let demands = Arc::new(Demands::default());
        assert!(Lag::begin(&demands, BTreeMap::new()).is_none());
        assert!(demands.wanted().is_empty());
    }
}
