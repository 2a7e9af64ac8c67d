//! A backlog of several partitions is read in event-time order, and what counts does not depend on it.

use std::thread;
use std::time::Duration;

use super::counter::HORIZON_MS;
use super::feed::{Feeder, Script, counted, feed};
use super::stand::{LEADING, Setup, Stand};
use super::{BEGIN_MS, HOUR_MS, wait_until};
use crate::clock::rfc3339;
use crate::pipeline::batch::Progress;

/// Two hours with a message each second, and a batch each minute.
const MESSAGES: i64 = 7_200;
const BATCH: i64 = 60;
const BATCH_MS: i64 = 60_000;
const ALIGN: Duration = Duration::from_secs(10);
const ALIGN_MS: i64 = 10_000;

/// A trade of one of ten tokens each second; partition 1 lies that much ahead.
fn each_second(ahead_ms: i64) -> impl Fn(i32, i64) -> Vec<(String, i64)> + Sync {
    move |partition, offset| {
        let time_ms = BEGIN_MS + i64::from(partition) * ahead_ms + offset * 1_000;
        vec![(format!("token-{}", offset % 10), time_ms)]
    }
}

#[test]
fn a_partition_is_read_up_to_align_ahead_of_the_front_and_no_further() {
    let mut stand = Stand::start(Setup { align: ALIGN, ..Setup::default() });
    let script = each_second(0);
    let [mut front, mut fast] = [0, 1].map(|partition| Feeder::open(&stand.intake, partition, &script));
    let end_ms = BEGIN_MS + (MESSAGES - 1) * 1_000;
    thread::scope(|scope| {
        scope.spawn(move || fast.give_all(MESSAGES, BATCH));
        while front.next < MESSAGES {
            let last = front.next + BATCH == MESSAGES;
            front.give(BATCH, if last { Progress::End } else { Progress::Behind });
            let front_ms = BEGIN_MS + (front.next - 1) * 1_000;
            wait_until("the front is taken", || stand.newest_ms(0) == Some(front_ms));
            wait_until("the other partition is within reach", || {
                stand
                    .newest_ms(1)
                    .is_some_and(|newest_ms| newest_ms > front_ms + ALIGN_MS || newest_ms == end_ms)
            });
            let ahead_ms = stand.newest_ms(1).unwrap() - front_ms;
            assert!(ahead_ms <= ALIGN_MS + BATCH_MS, "{ahead_ms} ms ahead at offset {}", front.next);
        }
    });
    stand.wait_for_trades(2 * MESSAGES);
    stand.stop();
    stand.assert_stored(&counted(&script, &[(0, MESSAGES), (1, MESSAGES)]));
    assert_eq!(stand.too_late(), 0);
}

/// Reads two partitions, the second one three hours ahead, and compares the final results.
fn finish_a_backlog(align: Duration, read_first: Option<i32>) {
    let mut stand = Stand::start(Setup { align, ..Setup::default() });
    let script = each_second(3 * HOUR_MS);
    let mut feeders = [0, 1].map(|partition| Feeder::open(&stand.intake, partition, &script));
    if let Some(partition) = read_first {
        // Everybody waits for a partition of which nothing was read.
        for feeder in &mut feeders {
            feeder.give(BATCH, Progress::Behind);
        }
        feeders[partition as usize].give_all(MESSAGES, BATCH);
        wait_until("one partition is read to its end", || {
            let (_, last_ms) = script(partition, MESSAGES - 1)[0];
            stand.newest_ms(partition) == Some(last_ms)
        });
    }
    feed(&mut feeders, MESSAGES, BATCH);
    assert_final(&stand, &script);
    stand.stop();
    stand.assert_stored(&counted(&script, &[(0, MESSAGES), (1, MESSAGES)]));
    assert_eq!(stand.too_late(), 0);
}

/// Waits for the final results, which are those of the largest event time, whatever token they are of.
fn assert_final(stand: &Stand, script: Script<'_>) {
    let (_, last_ms) = script(1, MESSAGES - 1)[0];
    stand.wait_for_clock(last_ms);
    let expected = counted(script, &[(0, MESSAGES), (1, MESSAGES)]);
    let last_update = Some(rfc3339::text(last_ms));
    wait_until("every token's result is final", || {
        let stored = stand.stored(LEADING, &expected);
        stored.len() == expected.len() && stored.values().all(|token| token.last_update == last_update)
    });
}

#[test]
fn no_trade_of_an_aligned_backlog_is_too_late_though_a_partition_is_hours_ahead() {
    finish_a_backlog(ALIGN, None);
}

#[test]
fn no_trade_is_too_late_though_the_partition_hours_ahead_was_read_first() {
    finish_a_backlog(Duration::from_hours(24), Some(1));
}

#[test]
fn no_trade_is_too_late_though_the_partition_hours_behind_was_read_first() {
    finish_a_backlog(Duration::from_hours(24), Some(0));
}

#[test]
fn a_trade_that_no_window_holds_any_more_is_rejected_and_its_neighbours_count() {
    let mut stand = Stand::start(Setup::default());
    // The second message holds one trade at the horizon and one just inside.
    let script = |_: i32, offset: i64| match offset {
        0 => vec![("a".to_owned(), BEGIN_MS)],
        _ => vec![("a".to_owned(), BEGIN_MS - HORIZON_MS), ("b".to_owned(), BEGIN_MS - HORIZON_MS + 1_000)],
    };
    let mut feeder = Feeder::open(&stand.intake, 0, &script);
    feeder.give(1, Progress::Behind);
    feeder.give(1, Progress::End);
    stand.wait_for_trades(2);
    stand.stop();
    stand.assert_stored(&[("a".to_owned(), 1), ("b".to_owned(), 1)].into());
    assert_eq!(stand.too_late(), 1);
    let rejections = stand.shared.rejections.last();
    let [rejection] = rejections.as_slice() else { panic!("{rejections:?}") };
    assert_eq!((rejection.reason, rejection.offset, rejection.index), ("too_late", 1, 0));
}
