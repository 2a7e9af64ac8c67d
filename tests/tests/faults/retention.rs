//! Row 13: records that retention deleted before they were read.
//!
//! The invariant: each missing record is counted, each gap is said once, and all that is left is exact.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use aggregator_tests::host::Host;
use aggregator_tests::redis_server::Memory;
use aggregator_tests::stream::{Message, Shape};
use nix::sys::signal::Signal;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Run, runs, scaled, seed, wait_finished, wait_serving};

/// Until a broker has answered the fetch that a frozen host has left with it.
const FETCH_ANSWERED: Duration = Duration::from_millis(500);

fn send(run: &Run<'_>, messages: &[Message]) {
    let pace = Pace::default();
    thread::scope(|scope| Load::of(scope, run, &pace, messages, Duration::from_secs(1)).wait());
}

/// Deletes a random part of what was sent since these offsets, and says up to where.
fn delete_some(run: &mut Run<'_>, since: &[i64]) -> Vec<i64> {
    let ends = run.ends.all();
    let random = &mut run.random;
    let part = |(since, end): (&i64, &i64)| since + 1 + random.below((end - since - 1) as u64) as i64;
    let offsets: Vec<i64> = since.iter().zip(&ends).map(part).collect();
    run.broker.delete_before(&run.topic, &offsets).unwrap();
    offsets
}

/// Every gap is counted to the record, and has one line of its own.
fn assert_told(host: &Host, gaps: &[Vec<Range<i64>>]) {
    let mut told: Vec<(u64, i64)> = Vec::new();
    for line in host.log() {
        if line["message"] == "Records were deleted before they were read" {
            told.push((line["partition"].as_u64().unwrap(), line["records"].as_i64().unwrap()));
        }
    }
    let length = |gap: &Range<i64>| gap.end - gap.start;
    let each =
        |(id, gaps): (usize, &Vec<_>)| gaps.iter().map(|gap| (id as u64, length(gap))).collect::<Vec<_>>();
    let mut wanted: Vec<(u64, i64)> = gaps.iter().enumerate().flat_map(each).collect();
    told.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(told, wanted);
    for (id, gaps) in gaps.iter().enumerate() {
        let counted = host.metric(&format!("aggregator_offset_gap_records_total{{partition=\"{id}\"}}"));
        assert_eq!(counted, Some(gaps.iter().map(length).sum::<i64>() as f64), "partition {id}");
    }
}

/// Tokens that were known when records were lost are said to lack some.
fn assert_incomplete(host: &Host) {
    let listed = host.json("/tokens?limit=1").unwrap();
    let token = listed["tokens"][0]["token"].as_str().unwrap();
    let results = host.json(&format!("/tokens/{token}")).unwrap();
    assert!(results["incomplete_until"].is_string(), "{results}");
}

#[test]
fn records_that_were_deleted_before_they_were_read_are_counted_exactly_and_said_once() {
    for number in 0..runs(1, 5) {
        let shape = if number.is_multiple_of(2) { Shape::Arrays } else { Shape::Singles };
        let mut run = Run::new("13 records deleted while unread", seed(131, number), shape, Memory::Volatile);
        let messages = run.messages().to_vec();
        let (first, rest) = messages.split_at(messages.len() / 3);
        let (second, third) = rest.split_at(rest.len() / 2);
        let mut host = Host::start(&run.settings()).unwrap();
        send(&run, first);
        wait_serving(&host);
        wait_finished(&host, &run);
        host.stop(LIMIT).unwrap();

        // While nobody reads.
        let stood = run.ends.all();
        send(&run, second);
        let offsets = delete_some(&mut run, &stood);
        let mut gaps: Vec<_> = stood
            .into_iter()
            .zip(offsets)
            .map(|(from, to)| std::iter::once(from..to).collect::<Vec<_>>())
            .collect();
        let host = Host::start(&run.settings()).unwrap();
        host.wait_metric("aggregator_trades_total", LIMIT, |trades| trades > 0.0).unwrap();
        let recovery = host.started().elapsed();
        assert!(recovery < scaled(Duration::from_secs(5)), "it took {recovery:?} to go on");
        run.figures().recovery(recovery);
        wait_finished(&host, &run);

        // While the host is too slow.
        host.signal(Signal::SIGSTOP);
        thread::sleep(FETCH_ANSWERED);
        let stood = run.ends.all();
        send(&run, third);
        let offsets = delete_some(&mut run, &stood);
        host.signal(Signal::SIGCONT);
        gaps.iter_mut()
            .zip(stood.into_iter().zip(offsets))
            .for_each(|(gaps, (from, to))| gaps.push(from..to));
        run.forget(&gaps);
        run.assert_exact(&[&host]);
        assert_told(&host, &gaps);
        assert_incomplete(&host);
    }
}
