//! Rows 13 and 14: a topic that gets more partitions while it is read.
//!
//! The invariant: nothing is told to the host; it finds out.

use std::thread;
use std::time::Duration;

use aggregator_tests::broker;
use aggregator_tests::host::Host;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::stream::Shape;

use crate::load::{Load, Pace};
use crate::run::{Plan, Run, runs, seed, wait_serving};

#[test]
fn partitions_that_are_added_under_load_are_read_from_their_first_record_on() {
    for number in 0..runs(1, 5) {
        let plan = Plan { partitions: 8, ..Plan::new("14 topic grown", seed(31, number), Shape::Arrays) };
        let run = &Run::on(broker::shared(), RedisServer::start().unwrap(), &plan);
        let pace = &Pace::default();
        let host = Host::start(&run.settings()).unwrap();
        run.broker.grow(&run.topic, 8).unwrap();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(15));
            wait_serving(&host);
            load.finish();
        });
        run.assert_exact(&[&host]);
    }
}
