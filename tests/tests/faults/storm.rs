//! Row 5: a third host that joins and leaves the group all the time.
//!
//! The invariant: partitions that move stand still for a moment only, those that stay hardly at all, and a backlog is read
//! at half the speed of calm at least.

use std::thread;
use std::time::{Duration, Instant};

use aggregator_tests::broker;
use aggregator_tests::host::Host;
use aggregator_tests::redis_server::{Memory, RedisServer};
use aggregator_tests::report::Kept;
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::Shape;
use aggregator_tests::wait;
use aggregator_tests::watch::Watch;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Run, pick, runs, scaled, seed, wait_serving};
use crate::slow::SlowTopic;

/// How long the third host stays, and stays away.
const EVERY: Duration = Duration::from_secs(2);

#[test]
fn a_host_that_joins_and_leaves_all_the_time_costs_no_trade_and_little_time() {
    let span = Duration::from_secs(pick(12, 60));
    for number in 0..runs(1, 3) {
        let run = &Run::new("05 rebalance storm", seed(51, number), Shape::Singles, Memory::Volatile);
        let pace = &Pace::default();
        let hosts = [Host::start(&run.settings()).unwrap(), Host::start(&run.settings()).unwrap()];
        let mut watch = Watch::new(&run.ends);
        hosts.iter().for_each(|host| watch.follow(host));
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, span + Duration::from_secs(8));
            hosts.iter().for_each(wait_serving);
            watch.begin();
            let began = Instant::now();
            while began.elapsed() < span {
                let mut third = Host::start(&run.settings()).unwrap();
                watch.follow(&third);
                thread::sleep(EVERY);
                let ended = third.stop(LIMIT).unwrap();
                assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
                thread::sleep(EVERY);
            }
            let stalls = watch.stalls();
            run.figures().stall(watch.stall());
            let most = scaled(Duration::from_millis(1_500));
            assert!(stalls.iter().all(|stall| *stall <= most), "partitions stood still for {stalls:?}");
            load.finish();
        });
        run.assert_exact(&[&hosts[0], &hosts[1]]);
    }
}

/// Has two hosts read a topic, while a third one comes and goes or not; says how long the last nine tenths took.
fn drain(topic: &SlowTopic, storm: bool) -> Duration {
    let redis = RedisServer::start().unwrap();
    let settings = Settings::of(broker::shared(), &topic.name, &redis)
        .with("CLOCK", "event")
        .with("PARTITIONING", "by-token")
        .with("KAFKA_CONSUMER_GROUP", if storm { "storm" } else { "calm" });
    let mut watch = Watch::new(&topic.ends);
    let start = |watch: &mut Watch| {
        let host = Host::start(&settings).unwrap();
        watch.follow(&host);
        host
    };
    let _hosts = [start(&mut watch), start(&mut watch)];
    let records: i64 = topic.ends.all().iter().sum();
    let read = |watch: &Watch, least, limit| {
        wait::until_true("so many records to be read", limit, || watch.processed() >= least).is_ok()
    };
    assert!(read(&watch, records / 10, LIMIT), "the hosts do not read");
    let began = Instant::now();
    let took = loop {
        let mut third = storm.then(|| start(&mut watch));
        if read(&watch, records, EVERY) {
            break began.elapsed();
        }
        if let Some(third) = &mut third {
            let ended = third.stop(LIMIT).unwrap();
            assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
        }
        if read(&watch, records, EVERY) {
            break began.elapsed();
        }
        assert!(began.elapsed() < LIMIT * 2, "the hosts do not come to the end");
    };
    topic.assert_exact(&redis);
    took
}

#[test]
fn a_backlog_is_read_while_a_host_joins_and_leaves_all_the_time() {
    let mut row = Kept::of("05 rebalance storm, backlog");
    let topic = SlowTopic::new(broker::shared());
    topic.send(pick(2_000, 6_000));
    let (calm, storm) = (drain(&topic, false), drain(&topic, true));
    let speed = calm.as_secs_f64() / storm.as_secs_f64();
    row.speed(speed);
    assert!(speed >= pick(0.25, 0.5), "what took {calm:?} took {storm:?}");
}
