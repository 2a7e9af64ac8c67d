//! Changes of `SHARDS` and `PARTITIONING` between two starts, also with hosts that are killed meanwhile.
//!
//! The invariant: what the former layout has counted is counted once, and nothing of the stream is needed that it had
//! read.

use std::thread;
use std::time::Duration;

use aggregator_tests::host::Host;
use aggregator_tests::redis_server::Memory;
use aggregator_tests::stream::Shape;
use nix::sys::signal::Signal;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Run, runs, seed, wait_finished, wait_serving};

/// What a host says when a change begins, and when it has come to its end.
const BEGUN: &str = "The layout changes: state is carried over";
const ENDED: &str = "The layout has changed";

/// Deletes everything that the hosts so far have finished: who read it again would miss it.
fn delete_finished(run: &Run<'_>) {
    let group = run.settings().get("KAFKA_CONSUMER_GROUP").unwrap().to_owned();
    let committed = run.broker.committed(&group, &run.topic, 4).unwrap();
    let offsets: Vec<i64> = committed.into_iter().map(|offset| offset.unwrap_or(0)).collect();
    assert!(offsets.iter().all(|offset| *offset > 0), "{offsets:?}");
    run.broker.delete_before(&run.topic, &offsets).unwrap();
}

/// No key of a checkpoint is left that does not belong to the last layout, which is the `id`th.
fn assert_tidy(run: &Run<'_>, id: u32) {
    let mut connection = run.redis.connect().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("aggregator:{shard-*").query(&mut connection).unwrap();
    let of_checkpoints = |key: &&String| key.contains(":head:") || key.contains(":page:");
    let own = format!("@{id}");
    let foreign: Vec<&String> =
        keys.iter().filter(of_checkpoints).filter(|key| !key.contains(&own)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(keys.iter().any(|key| key.contains(&own)), "{keys:?}");
}

#[test]
fn the_number_of_shards_changes_with_kills_meanwhile_and_every_trade_counts_once() {
    for number in 0..runs(1, 5) {
        let mut run =
            Run::new("shards changed, host killed", seed(151, number), Shape::Arrays, Memory::Volatile);
        let moments: Vec<u64> = (0..4).map(|_| run.random.below(1_200)).collect();
        let (run, pace) = (&run, &Pace::default());
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(30));
            let mut host = Host::start(&run.settings()).unwrap();
            wait_serving(&host);
            load.wait_for(0.2);
            // Its shards stand at different offsets.
            host.signal(Signal::SIGKILL);
            host.wait_end(LIMIT).unwrap();
            for (step, shards) in ["16", "3"].into_iter().enumerate() {
                let settings = run.settings().with("SHARDS", shards);
                for moment_ms in &moments[2 * step..2 * step + 2] {
                    let mut host = Host::start(&settings).unwrap();
                    host.wait_line(BEGUN, LIMIT).unwrap();
                    thread::sleep(Duration::from_millis(*moment_ms));
                    host.signal(Signal::SIGKILL);
                    host.wait_end(LIMIT).unwrap();
                    if host.log().iter().any(|line| line["message"] == ENDED) {
                        break;
                    }
                }
                let mut host = Host::start(&settings).unwrap();
                wait_serving(&host);
                load.wait_for(0.4 + 0.2 * step as f64);
                host.signal(Signal::SIGKILL);
                host.wait_end(LIMIT).unwrap();
            }
            load.finish();
        });
        let host = Host::start(&run.settings().with("SHARDS", "3")).unwrap();
        run.assert_exact(&[&host]);
        assert_tidy(run, 3);
    }
}

#[test]
fn a_change_of_shards_needs_nothing_of_the_stream_that_was_read_before() {
    for number in 0..runs(1, 5) {
        let run = &Run::new("shards changed, log gone", seed(152, number), Shape::Arrays, Memory::Volatile);
        let pace = &Pace::default();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(12));
            for (step, shards) in ["4", "16", "3"].into_iter().enumerate() {
                let mut host = Host::start(&run.settings().with("SHARDS", shards)).unwrap();
                wait_serving(&host);
                if step > 0 {
                    host.wait_line(ENDED, LIMIT).unwrap();
                }
                load.wait_for(0.3 * (step + 1) as f64);
                host.stop(LIMIT).unwrap();
                delete_finished(run);
            }
            load.finish();
        });
        let host = Host::start(&run.settings().with("SHARDS", "3")).unwrap();
        run.assert_exact(&[&host]);
        assert_tidy(run, 3);
    }
}

#[test]
fn a_keyed_feed_goes_from_shuffle_to_by_token_and_back() {
    for number in 0..runs(1, 5) {
        let mut run = Run::new("mode changed and back", seed(153, number), Shape::Singles, Memory::Volatile);
        run.clock_of_partition = false;
        let (run, pace) = (&run, &Pace::default());
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(20));
            let shuffle = run.settings().with("PARTITIONING", "shuffle");
            for (step, settings) in [&shuffle, &run.settings(), &shuffle].into_iter().enumerate() {
                let mut host = Host::start(settings).unwrap();
                wait_serving(&host);
                if step > 0 {
                    host.wait_line(ENDED, LIMIT).unwrap();
                }
                load.wait_for(0.25 * (step + 1) as f64);
                if step == 0 {
                    host.signal(Signal::SIGKILL);
                    host.wait_end(LIMIT).unwrap();
                } else {
                    host.stop(LIMIT).unwrap();
                    delete_finished(run);
                }
            }
            load.finish();
        });
        let host = Host::start(&run.settings().with("PARTITIONING", "shuffle")).unwrap();
        wait_finished(&host, run);
        run.assert_exact(&[&host]);
        assert_tidy(run, 3);
        for line in host.log() {
            assert_ne!(line["message"], "State not carried over; the windows are read again");
        }
    }
}
