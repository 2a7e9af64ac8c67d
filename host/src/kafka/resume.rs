//! Where an assigned partition is read from: by what the cells were saved with, or by the rules of a
//! first start.
//!
//! Not for asking anybody. Invariant: reading starts at the smallest offset that any cell needs, and a
//! loss is said once, in records.

use std::collections::BTreeSet;

use super::offsets::Span;
use super::partition::Begin;
use crate::pipeline::{CellStart, Resume};

/// How a partition is begun.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The first offset, and where batches end.
    pub begin: Begin,
    /// Before this offset everything was counted and judged by a process that ended since.
    pub decoded: i64,
    /// Offsets that were deleted before some cell had read them.
    pub gap: i64,
    /// Offsets that some cell has taken, of records that the log has lost since.
    pub cut: i64,
}

/// Finds where a partition is begun.
pub fn start(span: &Span, resumes: &[Resume]) -> Start {
    let feeds = |cell: &&CellStart| cell.fed_by.is_none_or(|partition| partition == span.partition);
    let needs = |cell: &CellStart| match &cell.vector {
        // A partition that a saved cell does not know came later: all of it is new.
        Some(vector) => vector.get(&span.partition).copied().unwrap_or(span.low),
        None => span.start,
    };
    let cells = resumes.iter().flat_map(|resume| &resume.cells);
    let positions: BTreeSet<i64> = cells.filter(feeds).map(needs).collect();
    let decoded = resumes.iter().filter_map(|resume| resume.decoded.get(&span.partition)).max();
    // What is written behind a log's new end is new, whatever its offset.
    let decoded = decoded.map_or(i64::MIN, |decoded| span.end.min(*decoded));
    let first = positions.first().copied().unwrap_or(span.start).min(span.end);
    let cut = positions.last().map_or(0, |last| (last - span.end).max(0));
    // Cells may be ahead of what was judged: a dead letter that the broker had not got holds that back.
    let unjudged = Some(decoded).filter(|decoded| *decoded > i64::MIN).unwrap_or(first);
    let next = first.min(unjudged).max(span.low).max(span.floor);
    // What was deleted before the floor did not matter any more.
    let gap = if span.floor > span.low { 0 } else { (span.low - first).max(0) };
    let split = Some(decoded).filter(|decoded| *decoded > next);
    Start { begin: Begin { next, cut: split }, decoded, gap, cut }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SPAN: Span = Span { partition: 3, low: 100, start: 400, floor: 100, end: 1_000 };

    fn resume(cells: &[Option<i64>], decoded: Option<i64>) -> Vec<Resume> {
        let vector = |next: i64| BTreeMap::from([(3, next)]);
        let cell = |next: &Option<i64>| CellStart { fed_by: None, vector: next.map(vector) };
        let cells = cells.iter().map(cell).collect();
        vec![Resume { cells, decoded: decoded.map(|at| (3, at)).into_iter().collect() }]
    }

    fn begin(next: i64, cut: Option<i64>) -> Begin {
        Begin { next, cut }
    }

    #[test]
    fn without_a_checkpoint_the_rules_of_a_first_start_decide() {
        for resumes in [Vec::new(), resume(&[None, None], None)] {
            assert_eq!(start(&SPAN, &resumes).begin, begin(400, None));
        }
    }

    #[test]
    fn reading_starts_at_the_smallest_offset_and_is_cut_where_records_were_judged_before() {
        let found = start(&SPAN, &resume(&[Some(700), Some(500), Some(700)], Some(650)));
        assert_eq!(found, Start { begin: begin(500, Some(650)), decoded: 650, gap: 0, cut: 0 });
    }

    #[test]
    fn what_cells_have_taken_is_read_again_where_it_was_not_judged() {
        let found = start(&SPAN, &resume(&[Some(700), Some(500)], Some(450)));
        assert_eq!((found.begin, found.decoded), (begin(450, None), 450));
    }

    #[test]
    fn a_new_plugin_reads_the_horizon_beside_saved_ones() {
        assert_eq!(start(&SPAN, &resume(&[Some(700), None], None)).begin, begin(400, None));
    }

    #[test]
    fn what_was_deleted_before_it_was_read_is_a_gap() {
        let found = start(&SPAN, &resume(&[Some(40), Some(60)], Some(60)));
        assert_eq!((found.begin, found.gap), (begin(100, None), 60));
    }

    #[test]
    fn what_no_window_can_hold_any_more_is_not_read_again() {
        let span = Span { floor: 400, ..SPAN };
        let found = start(&span, &resume(&[Some(150), Some(600)], None));
        assert_eq!((found.begin, found.gap), (begin(400, None), 0));
    }

    #[test]
    fn a_partition_that_came_later_is_read_whole() {
        let cells = vec![CellStart { fed_by: None, vector: Some(BTreeMap::from([(0, 9)])) }];
        let resumes = vec![Resume { cells, ..Resume::default() }];
        assert_eq!(start(&SPAN, &resumes).begin, begin(100, None));
    }

    #[test]
    fn cells_that_a_partition_does_not_feed_have_no_say() {
        let other = CellStart { fed_by: Some(0), vector: Some(BTreeMap::from([(0, 9)])) };
        let own = CellStart { fed_by: Some(3), vector: Some(BTreeMap::from([(3, 700)])) };
        let resumes = vec![Resume { cells: vec![other, own], ..Resume::default() }];
        assert_eq!(start(&SPAN, &resumes).begin, begin(700, None));
    }

    #[test]
    fn where_the_log_has_lost_what_was_read_reading_goes_on_at_its_end() {
        let found = start(&SPAN, &resume(&[Some(1_010), Some(900)], Some(1_010)));
        assert_eq!(found, Start { begin: begin(900, Some(1_000)), decoded: 1_000, gap: 0, cut: 10 });
        let found = start(&SPAN, &resume(&[Some(1_010)], Some(1_010)));
        assert_eq!(found, Start { begin: begin(1_000, None), decoded: 1_000, gap: 0, cut: 10 });
    }

    #[test]
    fn of_a_topic_that_was_made_anew_everything_is_read_and_what_is_deleted_already_is_a_gap() {
        let found = start(&SPAN, &resume(&[Some(0), Some(0)], None));
        assert_eq!(found, Start { begin: begin(100, None), decoded: i64::MIN, gap: 100, cut: 0 });
    }
}
