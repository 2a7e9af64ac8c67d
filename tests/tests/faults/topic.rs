//! Rows 13 and 14: a topic that gets more partitions while it is read.
//!
//! The invariant: nothing is told to the host; it finds out.

use std::thread;
use std::time::Duration;

use aggregator_tests::host::Host;
use aggregator_tests::redis_server::Memory;
use aggregator_tests::stream::Shape;

use crate::run::{Load, Pace, Run, runs, seed, wait_serving};

#[test]
fn partitions_that_are_added_under_load_are_read_from_their_first_record_on() {
    for number in 0..runs(1) {
        let run = &Run::with_partitions("growth", seed(31, number), Shape::Arrays, Memory::Volatile, 8);
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
