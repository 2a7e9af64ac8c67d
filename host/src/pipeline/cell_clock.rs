//! The clock T of one cell, computed from the marks that the cell has taken.
//!
//! Not for reading a clock: wall time is handed in. Invariant: T never goes back, and only marks
//! enter it, so that it cannot overtake trades that are still on their way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::batch::{Mark, Progress, SourceMarks};
use super::source_clock::Sources;
use crate::config::ClockMode;
use crate::store::{Head, SavedMark};

/// How long all partitions must have been at their end before an event clock jumps to it.
const END_SETTLES: Duration = Duration::from_secs(1);

/// The vector's element of a partition of which it is not known yet where the cell begins.
pub(super) const UNKNOWN: i64 = i64::MIN;

/// What a cell knows of one partition.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PartitionMark {
    /// The first offset that the cell has not taken: its vector's element.
    pub next: i64,
    /// The largest event time taken.
    pub newest_ms: Option<i64>,
    /// Where the partition stands.
    pub progress: Progress,
    /// Whether the partition counts at all: one that could not be fetched for a session is left out.
    pub absent: bool,
}

/// The two times that a clock is asked at.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Wall time in unix milliseconds.
    pub wall_ms: i64,
    /// Monotonic milliseconds.
    pub monotonic_ms: u64,
}

/// The clock of a cell.
#[derive(Debug, Clone)]
pub struct CellClock {
    mode: ClockMode,
    /// One entry for each partition that the cell is assigned.
    marks: BTreeMap<i32, PartitionMark>,
    /// What a checkpoint says of partitions that are not assigned yet.
    saved: BTreeMap<i32, PartitionMark>,
    /// Where each assigned partition was begun.
    begun: BTreeMap<i32, i64>,
    /// What moves T instead of the partitions, where the feed is repartitioned.
    sources: Option<Sources>,
    /// Whether it starts where a checkpoint was taken.
    restored: bool,
    /// T in unix milliseconds; none before anything was read.
    now_ms: Option<i64>,
    /// Since when all partitions have been at their end, in monotonic milliseconds.
    all_ended_at: Option<u64>,
    /// Whether the final results of this end have been asked for.
    finished: bool,
}

impl CellClock {
    /// A clock that knows no partition yet.
    pub fn new(mode: ClockMode) -> Self {
        Self {
            mode,
            marks: BTreeMap::new(),
            saved: BTreeMap::new(),
            begun: BTreeMap::new(),
            sources: None,
            restored: false,
            now_ms: None,
            all_ended_at: None,
            finished: false,
        }
    }

    /// Goes back to where a checkpoint was taken; without one to where nothing is known, [`UNKNOWN`] of
    /// each partition that is assigned.
    pub(super) fn rewind(&mut self, head: Option<&Head>) {
        let former = std::mem::replace(self, Self::new(self.mode));
        if let Some(head) = head {
            self.restore(head);
        }
        for (partition, mark) in former.marks {
            self.assign(partition, UNKNOWN, i64::MAX);
            self.set_absent(partition, mark.absent);
        }
        self.begun = former.begun;
        if former.sources.is_some() && self.sources.is_none() {
            self.follow_source();
        }
    }

    /// Has marks of the source move T, none of which it has taken yet.
    pub(super) fn follow_source(&mut self) {
        self.sources = Some(Sources::default());
    }

    /// Where a partition was begun.
    pub(super) fn begun(&self, partition: i32) -> i64 {
        self.begun.get(&partition).copied().unwrap_or(UNKNOWN)
    }

    /// Learns where a partition begins of which nothing was known.
    pub(super) fn begin(&mut self, partition: i32, next: i64) {
        if let Some(mark) = self.marks.get_mut(&partition).filter(|mark| mark.next == UNKNOWN) {
            mark.next = next;
        }
    }

    /// Whether it is known of every partition where it goes on. One that has not been reached at all is left out.
    pub(super) fn is_known(&self) -> bool {
        self.marks.values().all(|mark| mark.next != UNKNOWN || mark.absent)
    }

    /// Starts where a checkpoint was taken.
    fn restore(&mut self, head: &Head) {
        self.now_ms = head.clock_ms;
        let mark = |saved: &SavedMark| PartitionMark {
            next: saved.next,
            newest_ms: saved.newest_ms,
            ..PartitionMark::default()
        };
        self.restored = true;
        self.sources = Sources::restored(&head.sources);
        self.saved = head.marks.iter().map(|saved| (saved.partition, mark(saved))).collect();
    }

    /// The vector that partitions are read on from; none for a cell that starts with nothing.
    pub(super) fn resumes(&self) -> Option<BTreeMap<i32, i64>> {
        let all = self.marks.iter().chain(&self.saved);
        let known = all.filter(|(_, mark)| mark.next != UNKNOWN);
        self.restored.then(|| known.map(|(&partition, mark)| (partition, mark.next)).collect())
    }

    /// What a checkpoint must say of the partitions.
    pub(super) fn save(&self) -> Vec<SavedMark> {
        let saved = |(&partition, mark): (&i32, &PartitionMark)| SavedMark {
            partition,
            next: mark.next,
            newest_ms: mark.newest_ms,
            progress: mark.progress as u8,
        };
        self.marks.iter().chain(&self.saved).filter(|(_, mark)| mark.next != UNKNOWN).map(saved).collect()
    }

    /// What a checkpoint must say of the source.
    pub(super) fn save_sources(&self) -> Vec<SavedMark> {
        self.sources.as_ref().map(Sources::save).unwrap_or_default()
    }

    /// Learns that a partition feeds this cell from `next` on. A cell that comes from a checkpoint
    /// keeps its own, later, element of the vector, but none behind the partition's `end`.
    pub fn assign(&mut self, partition: i32, next: i64, end: i64) {
        let known = self.saved.remove(&partition).or_else(|| self.marks.remove(&partition));
        let next = known.map_or(next, |known| known.next.min(end).max(next));
        let saved = PartitionMark { progress: Progress::Behind, absent: false, ..known.unwrap_or_default() };
        self.marks.insert(partition, PartitionMark { next, ..saved });
        if known.is_none() {
            // Where one from a checkpoint began is long ago.
            self.begun.insert(partition, next);
        }
        if let Some(sources) = &mut self.sources {
            sources.unsettle();
        }
        self.all_ended_at = None;
        self.finished = false;
    }

    /// Leaves a partition out of the minimum, or takes it in again.
    pub fn set_absent(&mut self, partition: i32, absent: bool) {
        if let Some(known) = self.marks.get_mut(&partition) {
            known.absent = absent;
        }
    }

    /// Takes the mark of a batch whose trades the cell has taken.
    pub fn take(&mut self, mark: &Mark, monotonic_ms: u64) {
        let known = self.marks.entry(mark.partition).or_default();
        known.next = known.next.max(mark.next);
        known.newest_ms = known.newest_ms.max(mark.newest_ms);
        // A mark alone says nothing of the broker.
        known.absent &= mark.next == mark.first;
        if self.sources.is_some() {
            return;
        }
        if self.mode == ClockMode::Event && mark.next > mark.first {
            // What was read counts before the partition leaves the minimum, even when both come at once.
            known.progress = Progress::Behind;
            self.now_ms = self.now_ms.max(self.event_candidate(monotonic_ms));
        }
        if let Some(known) = self.marks.get_mut(&mark.partition) {
            known.progress = mark.progress;
        }
        let ended = self.marks.values().all(|m| m.progress == Progress::End);
        self.note_end(ended, mark.next > mark.first, monotonic_ms);
    }

    /// Takes what a batch whose trades the cell has taken tells of the source; before the batch's own mark.
    pub(super) fn take_sources(&mut self, told: &SourceMarks, monotonic_ms: u64) {
        let advanced = self.sources.get_or_insert_default().read(told);
        if self.mode == ClockMode::Event {
            // What was read counts before a partition leaves the minimum, as in `take`.
            self.now_ms = self.now_ms.max(self.event_candidate(monotonic_ms));
        }
        let sources = self.sources.get_or_insert_default();
        sources.settle(told);
        let ended = sources.all(|progress| progress == Progress::End);
        self.note_end(ended, advanced, monotonic_ms);
    }

    fn note_end(&mut self, ended: bool, advanced: bool, monotonic_ms: u64) {
        if !ended {
            self.all_ended_at = None;
        } else if self.all_ended_at.is_none() || advanced {
            // New trades between two ends start the wait anew.
            self.all_ended_at = Some(monotonic_ms);
            self.finished = false;
        }
    }

    /// The vector's element of a partition.
    pub fn next(&self, partition: i32) -> Option<i64> {
        self.marks.get(&partition).map(|mark| mark.next)
    }

    /// The vector: for each partition the first offset not taken.
    pub fn vector(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        let known = self.marks.iter().filter(|(_, mark)| mark.next != UNKNOWN);
        known.map(|(partition, mark)| (*partition, mark.next))
    }

    /// Whether no partition is behind, and an event clock has come to its end: a former owner cannot have
    /// shown results of a later clock.
    pub fn caught_up(&self, now: Now) -> bool {
        let live = |progress| progress != Progress::Behind;
        match (self.mode, &self.sources) {
            (ClockMode::Event, _) => self.ended(now.monotonic_ms),
            (ClockMode::Wall, Some(sources)) => sources.all(live),
            (ClockMode::Wall, None) => {
                // With all of them absent nothing is known.
                let mut present = self.marks.values().filter(|mark| !mark.absent).peekable();
                present.peek().is_some() && present.all(|mark| live(mark.progress))
            }
        }
    }

    /// T as it was last advanced to.
    pub fn now_ms(&self) -> Option<i64> {
        self.now_ms
    }

    /// Advances T by the marks taken and returns it.
    pub fn advance(&mut self, now: Now) -> Option<i64> {
        let candidate = match self.mode {
            ClockMode::Wall => self.wall_candidate(now.wall_ms),
            ClockMode::Event => self.event_candidate(now.monotonic_ms),
        };
        self.now_ms = self.now_ms.max(candidate);
        self.now_ms
    }

    /// Says once after each end of an event stream that its final results are due.
    pub fn take_final(&mut self, now: Now) -> bool {
        let due = self.mode == ClockMode::Event && !self.finished && self.ended(now.monotonic_ms);
        self.finished |= due;
        due
    }

    fn wall_candidate(&self, wall_ms: i64) -> Option<i64> {
        if let Some(sources) = &self.sources {
            return sources.wall_candidate(wall_ms);
        }
        // A partition of which nothing was read holds T: none is the smallest.
        let contributions = self.marks.values().filter(|mark| !mark.absent).map(|mark| match mark.progress {
            Progress::Behind => mark.newest_ms.map(|newest_ms| newest_ms.min(wall_ms)),
            Progress::Live | Progress::End => Some(wall_ms),
        });
        contributions.min().flatten()
    }

    fn event_candidate(&self, monotonic_ms: u64) -> Option<i64> {
        if let Some(sources) = &self.sources {
            let ended = self.ended(monotonic_ms);
            return if ended { sources.newest_ms() } else { sources.event_candidate() };
        }
        if self.ended(monotonic_ms) {
            return self.marks.values().filter_map(|m| m.newest_ms).max();
        }
        // Here, too.
        let unfinished = self.marks.values().filter(|mark| mark.progress != Progress::End);
        unfinished.map(|mark| mark.newest_ms).min().flatten()
    }

    fn ended(&self, monotonic_ms: u64) -> bool {
        self.all_ended_at
            .is_some_and(|since| u128::from(monotonic_ms.saturating_sub(since)) >= END_SETTLES.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(partition: i32, next: i64, newest_ms: i64, progress: Progress) -> Mark {
        Mark { partition, first: next - 1, next, newest_ms: Some(newest_ms), progress }
    }

    fn at(wall_ms: i64, monotonic_ms: u64) -> Now {
        Now { wall_ms, monotonic_ms }
    }

    #[test]
    fn a_partition_with_nothing_read_holds_the_clock() {
        let mut clock = CellClock::new(ClockMode::Wall);
        clock.assign(0, 0, i64::MAX);
        clock.assign(1, 0, i64::MAX);
        clock.take(&mark(0, 1, 500, Progress::Live), 0);
        assert_eq!(clock.advance(at(1_000, 0)), None);
        clock.take(&mark(1, 1, 400, Progress::Behind), 0);
        assert_eq!(clock.advance(at(1_000, 0)), Some(400));
    }

    #[test]
    fn live_partitions_follow_the_wall_and_the_clock_never_goes_back() {
        let mut clock = CellClock::new(ClockMode::Wall);
        clock.assign(0, 0, i64::MAX);
        clock.take(&mark(0, 1, 500, Progress::Live), 0);
        assert_eq!(clock.advance(at(1_000, 0)), Some(1_000));
        clock.take(&mark(0, 2, 600, Progress::Behind), 0);
        assert_eq!(clock.advance(at(2_000, 0)), Some(1_000));
    }

    #[test]
    fn while_no_partition_answers_nothing_is_caught_up_and_only_a_batch_brings_one_back() {
        let mut clock = CellClock::new(ClockMode::Wall);
        clock.assign(0, 0, i64::MAX);
        clock.take(&mark(0, 1, 500, Progress::Live), 0);
        assert!(clock.caught_up(at(1_000, 0)));
        clock.set_absent(0, true);
        assert!(!clock.caught_up(at(1_000, 0)));
        clock.take(&mark(0, 1, 500, Progress::Live).alone(), 0);
        assert!(!clock.caught_up(at(1_000, 0)));
        clock.take(&mark(0, 2, 600, Progress::Live), 0);
        assert!(clock.caught_up(at(1_000, 0)));
    }

    #[test]
    fn an_event_clock_jumps_to_the_largest_time_after_a_settled_end() {
        let mut clock = CellClock::new(ClockMode::Event);
        clock.assign(0, 0, i64::MAX);
        clock.assign(1, 0, i64::MAX);
        clock.take(&mark(0, 1, 500, Progress::Behind), 0);
        clock.take(&mark(1, 1, 900, Progress::Behind), 0);
        assert_eq!(clock.advance(at(0, 0)), Some(500));
        clock.take(&mark(0, 1, 500, Progress::End), 0);
        assert_eq!(clock.advance(at(0, 0)), Some(900));
        clock.take(&mark(1, 2, 1_200, Progress::End), 10);
        assert!(!clock.take_final(at(0, 900)));
        assert!(clock.take_final(at(0, 1_010)));
        assert!(!clock.take_final(at(0, 2_010)));
        assert_eq!(clock.advance(at(0, 2_010)), Some(1_200));
    }

    #[test]
    fn a_partition_counts_before_it_leaves_though_its_end_comes_with_its_last_batch() {
        let mut clock = CellClock::new(ClockMode::Event);
        clock.assign(0, 0, i64::MAX);
        clock.take(&mark(0, 1, 500, Progress::End), 0);
        assert_eq!(clock.advance(at(0, 0)), Some(500));
    }

    #[test]
    fn new_trades_after_an_end_bring_new_final_results() {
        let mut clock = CellClock::new(ClockMode::Event);
        clock.assign(0, 0, i64::MAX);
        clock.take(&mark(0, 1, 500, Progress::End), 0);
        assert!(clock.take_final(at(0, 1_000)));
        clock.take(&mark(0, 2, 700, Progress::End), 1_500);
        assert!(!clock.take_final(at(0, 2_400)));
        assert!(clock.take_final(at(0, 2_500)));
        assert_eq!(clock.advance(at(0, 2_500)), Some(700));
    }
}
