//! Row 5: a third host that joins and leaves the group all the time.
//!
//! The invariant: partitions that move stand still for a moment only, and those that stay hardly at all.

use std::thread;
use std::time::{Duration, Instant};

use aggregator_tests::host::Host;
use aggregator_tests::redis_server::Memory;
use aggregator_tests::stream::Shape;
use aggregator_tests::watch::Watch;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Run, pick, runs, scaled, seed, wait_serving};

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
