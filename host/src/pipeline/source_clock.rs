//! What a cell of a repartitioned feed knows of the source: one entry for each of its partitions, which move the clock
//! T in place of the partition that the cell is fed by.
//!
//! Not for the vector, which counts what the cell has taken of the partition between the hops. Invariants: a partition
//! of the source without a mark counts as behind with nothing read; a mark from before the assignment says what was,
//! never that a partition is live.

use std::collections::BTreeMap;

use super::batch::{Progress, SourceMark, SourceMarks};
use crate::store::SavedMark;

/// What is known of one partition of the source.
#[derive(Debug, Clone, Copy, Default)]
struct Source {
    /// The first offset that was not read when the mark was made.
    next: i64,
    /// The largest event time read.
    newest_ms: Option<i64>,
    /// Where it stands.
    progress: Progress,
    /// It cannot be fetched, and is left out.
    absent: bool,
    /// It was live at this wall time, by a mark from before the assignment.
    was_live_ms: Option<i64>,
}

/// All partitions of the source.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    known: BTreeMap<i32, Source>,
}

impl Sources {
    /// What a checkpoint says; none where it says nothing of a source.
    pub(super) fn restored(saved: &[SavedMark]) -> Option<Self> {
        let source =
            |mark: &SavedMark| Source { next: mark.next, newest_ms: mark.newest_ms, ..Source::default() };
        let known: BTreeMap<i32, Source> = saved.iter().map(|mark| (mark.partition, source(mark))).collect();
        (!known.is_empty()).then_some(Self { known })
    }

    /// What a checkpoint must say.
    pub(super) fn save(&self) -> Vec<SavedMark> {
        let saved = |(&partition, source): (&i32, &Source)| SavedMark {
            partition,
            next: source.next,
            newest_ms: source.newest_ms,
            progress: source.progress as u8,
        };
        self.known.iter().map(saved).collect()
    }

    /// Takes what the marks say was read, and counts those partitions as behind that were read on; says
    /// whether any was.
    pub(super) fn read(&mut self, told: &SourceMarks) -> bool {
        for partition in 0..told.sources.cast_signed() {
            self.known.entry(partition).or_default();
        }
        let mut advanced = false;
        for mark in told.marks() {
            let source = self.known.entry(mark.partition).or_default();
            if mark.next != source.next {
                advanced = true;
                source.progress = Progress::Behind;
            }
            source.next = mark.next;
            source.newest_ms = source.newest_ms.max(mark.newest_ms);
        }
        advanced
    }

    /// Takes where the marks say that partitions stand.
    pub(super) fn settle(&mut self, told: &SourceMarks) {
        for SourceMark { partition, progress, absent, at_ms, .. } in told.marks() {
            if let Some(source) = self.known.get_mut(partition) {
                let was_live = !told.settled && *progress == Progress::Live;
                source.progress = if told.settled { *progress } else { Progress::Behind };
                source.was_live_ms = was_live.then_some(*at_ms);
                source.absent = *absent && told.settled;
            }
        }
    }

    /// Counts all partitions as behind: marks of an assignment before this one say what was.
    pub(super) fn unsettle(&mut self) {
        for source in self.known.values_mut() {
            (source.progress, source.absent, source.was_live_ms) = (Progress::Behind, false, None);
        }
    }

    /// Whether every partition is as far as wanted.
    pub(super) fn all(&self, wanted: impl Fn(Progress) -> bool) -> bool {
        // With all of them absent nothing is known.
        let mut present = self.known.values().filter(|source| !source.absent).peekable();
        present.peek().is_some() && present.all(|source| wanted(source.progress))
    }

    /// What a wall clock makes of them.
    pub(super) fn wall_candidate(&self, wall_ms: i64) -> Option<i64> {
        // A partition of which nothing was read holds T: none is the smallest.
        let present = self.known.values().filter(|source| !source.absent);
        let contributions = present.map(|source| match source.progress {
            Progress::Live | Progress::End => Some(wall_ms),
            Progress::Behind => {
                source.newest_ms.max(source.was_live_ms).map(|newest_ms| newest_ms.min(wall_ms))
            }
        });
        contributions.min().flatten()
    }

    /// What an event clock makes of them before all are at their end.
    pub(super) fn event_candidate(&self) -> Option<i64> {
        // Here, too.
        let unfinished = self.known.values().filter(|source| source.progress != Progress::End);
        unfinished.map(|source| source.newest_ms).min().flatten()
    }

    /// The largest event time of all.
    pub(super) fn newest_ms(&self) -> Option<i64> {
        self.known.values().filter_map(|source| source.newest_ms).max()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell_clock::{CellClock, Now};
    use super::*;
    use crate::config::ClockMode;

    const WALL_MS: i64 = 10_000;

    /// A source of two partitions, told of some.
    fn told(settled: bool, marks: &[(i32, i64, i64, Progress)]) -> SourceMarks {
        let mark = |&(partition, next, newest_ms, progress): &(i32, i64, i64, Progress)| SourceMark {
            partition,
            next,
            newest_ms: (newest_ms > 0).then_some(newest_ms),
            progress,
            absent: false,
            at_ms: 9_000,
        };
        let mut told = SourceMarks::new(settled);
        told.add(2, marks.iter().map(mark).collect());
        told
    }

    fn at(monotonic_ms: u64) -> Now {
        Now { wall_ms: WALL_MS, monotonic_ms }
    }

    fn clock(mode: ClockMode, all: &[SourceMarks]) -> CellClock {
        let mut clock = CellClock::new(mode);
        clock.assign(0, 0, i64::MAX);
        for told in all {
            clock.take_sources(told, 0);
        }
        clock
    }

    use Progress::{Behind, End, Live};

    #[test]
    fn a_partition_of_the_source_without_a_mark_holds_the_clock() {
        for (mode, progress) in [(ClockMode::Wall, Live), (ClockMode::Event, Behind)] {
            let mut clock = clock(mode, &[told(true, &[(0, 5, 500, progress)])]);
            assert_eq!(clock.advance(at(5_000)), None);
            assert!(!clock.caught_up(at(5_000)));
        }
    }

    #[test]
    fn t_is_the_smallest_contribution_of_the_source_whatever_the_hop_between_says() {
        let mut clock = clock(ClockMode::Wall, &[told(true, &[(0, 5, 500, Live), (1, 5, 400, Behind)])]);
        let between =
            super::super::batch::Mark { partition: 0, first: 0, next: 9, newest_ms: Some(1), progress: Live };
        clock.take(&between, 0);
        assert_eq!(clock.advance(at(0)), Some(400));
        assert_eq!(clock.next(0), Some(9));
        clock.take_sources(&told(true, &[(1, 6, 450, Live)]), 0);
        assert_eq!(clock.advance(at(0)), Some(WALL_MS));
        assert!(clock.caught_up(at(5_000)));
    }

    #[test]
    fn a_mark_from_before_the_assignment_says_when_its_partition_was_live_and_not_that_it_is() {
        let mut clock = clock(ClockMode::Wall, &[told(false, &[(0, 5, 500, Live), (1, 5, 0, Live)])]);
        assert_eq!(clock.advance(at(0)), Some(9_000));
        assert!(!clock.caught_up(at(5_000)));
        clock.take_sources(&told(true, &[(0, 5, 500, Live), (1, 5, 0, Live)]), 0);
        assert_eq!(clock.advance(at(0)), Some(WALL_MS));
        assert!(clock.caught_up(at(5_000)));
        // Another assignment, after which nothing was heard yet.
        clock.assign(0, 0, i64::MAX);
        assert!(!clock.caught_up(at(5_000)));
    }

    #[test]
    fn a_partition_that_cannot_be_fetched_is_left_out() {
        let mut away = told(true, &[(0, 5, 500, Live)]);
        let mark = SourceMark {
            partition: 1,
            next: 5,
            newest_ms: Some(1),
            progress: Behind,
            absent: true,
            at_ms: 0,
        };
        away.add(2, vec![mark]);
        assert_eq!(clock(ClockMode::Wall, &[away]).advance(at(0)), Some(WALL_MS));
    }

    #[test]
    fn final_results_are_due_when_all_of_the_source_was_at_its_end_for_a_second() {
        let all = [told(true, &[(0, 5, 500, Behind), (1, 5, 900, Behind)]), told(true, &[(0, 5, 500, End)])];
        let mut clock = clock(ClockMode::Event, &all);
        assert_eq!(clock.advance(at(0)), Some(900));
        clock.take_sources(&told(true, &[(1, 6, 1_200, End)]), 100);
        // Marks that tell nothing new do not put it off.
        clock.take_sources(&told(true, &[(0, 5, 500, End), (1, 6, 1_200, End)]), 900);
        assert!(!clock.take_final(at(1_000)));
        assert!(clock.take_final(at(1_100)));
        assert_eq!(clock.advance(at(1_100)), Some(1_200));
        clock.take_sources(&told(true, &[(0, 6, 1_300, End)]), 2_000);
        assert!(!clock.take_final(at(2_900)));
        assert!(clock.take_final(at(3_000)));
        assert_eq!(clock.advance(at(3_000)), Some(1_300));
    }

    #[test]
    fn an_end_from_before_the_assignment_is_none() {
        let clock = clock(ClockMode::Event, &[told(false, &[(0, 5, 500, End), (1, 5, 900, End)])]);
        assert!(!clock.caught_up(at(5_000)));
        assert_eq!(clock.clone().advance(at(5_000)), Some(500));
    }

    #[test]
    fn a_checkpoint_remembers_what_was_read_and_not_that_it_was_live() {
        let mut before = Sources::default();
        before.read(&told(true, &[(0, 5, 500, Live), (1, 7, 900, Live)]));
        before.settle(&told(true, &[(0, 5, 500, Live), (1, 7, 900, Live)]));
        let after = Sources::restored(&before.save()).unwrap();
        assert_eq!(after.newest_ms(), Some(900));
        assert_eq!(after.wall_candidate(WALL_MS), Some(500));
        assert!(!after.all(|progress| progress != Behind));
        assert!(Sources::restored(&[]).is_none());
    }
}
