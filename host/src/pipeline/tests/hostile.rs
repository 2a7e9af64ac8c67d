//! A head from the store may hold any numbers: a cell that starts from it goes on, or begins with nothing. A plugin may
//! answer anything when it is asked for its state.
//!
//! Not for bytes that are no head (the store's own tests). Invariant: no panic, and no end that never comes.

use std::time::Duration;

use proptest::prelude::*;

use super::counter::{Manner, counter};
use super::stand::LEADING;
use crate::config::ClockMode;
use crate::pipeline::batch::{Feed, Mark, Progress};
use crate::pipeline::cell::{Cell, Sight};
use crate::pipeline::cell_clock::Now;
use crate::pipeline::checkpoint::{self, Circumstances, Saved};
use crate::pipeline::rounds::Rounds;
use crate::pipeline::tokens::Tokens;
use crate::pipeline::{Bounds, Ground};
use crate::plugin::Stage;
use crate::store::{Head, Part, SavedMark};

fn head() -> impl Strategy<Value = Head> {
    let mark = any::<(i32, i64, Option<i64>, u8)>().prop_map(|(partition, next, newest_ms, progress)| {
        SavedMark { partition: partition % 4, next, newest_ms, progress }
    });
    let part = any::<(u64, u32)>().prop_map(|(id, pages)| Part { id, pages: pages % 64 });
    let marks = proptest::collection::vec(mark, 0..5);
    let parts = proptest::collection::vec(part, 0..5);
    let decoded = any::<Vec<(i32, i64)>>();
    (marks, parts, decoded, any::<(u32, u64, u64, Option<i64>, u64)>()).prop_map(
        |(marks, parts, decoded, (state_version, horizon_ms, step_ms, clock_ms, bytes))| Head {
            format: Head::FORMAT,
            state_version,
            horizon_ms,
            step_ms,
            clock_ms,
            marks,
            decoded,
            parts,
            bytes,
            ..Head::default()
        },
    )
}

#[test]
fn a_state_without_end_is_a_failure_of_its_plugin() {
    let running = counter("counter", LEADING, Manner::NeverExported);
    let mut tokens = Tokens::default();
    let mut cell = Cell::new(&running, ClockMode::Wall, Sight::Visible);
    let mut rounds = Rounds::new(0, 1_024, 0);
    while rounds.step(&mut cell, &mut tokens).is_some() {}
    let fault = cell.recovery.fault().unwrap();
    assert_eq!((fault.stage, cell.is_active()), (Stage::Export, false));
    assert!(fault.reason.contains("without end"), "{fault}");
}

proptest! {
    #[test]
    fn a_cell_goes_on_from_any_head(
        head in head(),
        event: bool,
        partition in -1i32..4,
        first: i64,
        next: i64,
        wall_ms: i64,
    ) {
        let clock = if event { ClockMode::Event } else { ClockMode::Wall };
        let running = counter("counter", LEADING, Manner::Sound);
        let mut tokens = Tokens::default();
        let mut cell = Cell::new(&running, clock, Sight::Visible);
        cell.restore(Some(Saved::own(head, Some(Vec::new()))), &mut tokens);
        let resumes = cell.clock.resumes();
        cell.clock.assign(partition, first, i64::MAX);
        let now = Now { wall_ms, monotonic_ms: 5_000 };
        let mark = Mark { partition, first, next, newest_ms: Some(wall_ms), progress: Progress::End };
        cell.take_mark(&mark, Feed::Live, None, now);
        let clock_ms = cell.clock.advance(now);
        cell.clock.caught_up(now);
        cell.flush(clock_ms.unwrap_or(0), 10, &mut tokens);
        let decoded = Vec::new;
        checkpoint::step(&mut cell, &mut tokens, &Circumstances {
            shard: 3,
            interval: Duration::from_secs(5),
            now_ms: 5_000,
            wall_ms,
            decoded: &decoded,
            layout: "any",
            ground: &Ground::default(),
            bounds: Bounds::default(),
        });
        prop_assert!(cell.is_active());
        prop_assert!(resumes.is_none_or(|vector| vector.len() <= 5));
    }
}
