//! Several hosts of one group share a keyed topic: partitions move under load and nothing is lost or counted twice.
//!
//! On event time, so that the end state has one right answer. The invariant: trades flow during every change.

use aggregator_tests::host::Host;
use aggregator_tests::producer::Producer;
use aggregator_tests::results::Encoding;
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use aggregator_tests::wait;

use crate::rig::{DEFAULT_WINDOWS, LIMIT, Rig, oracle, wait_final};

const TRADES: usize = 60_000;
const PARTITIONS: i32 = 4;

/// Sends a part of the stream in the background while the group changes.
fn sending<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    rig: &'scope Rig,
    messages: &'scope [Message],
) -> std::thread::ScopedJoinHandle<'scope, ()> {
    scope.spawn(move || {
        let producer = Producer::new(rig.broker, &rig.topic).expect("a producer");
        // Small pieces, each acknowledged, so that the load lasts through the change.
        for piece in messages.chunks(200) {
            producer.send(piece).expect("the broker takes the messages");
        }
    })
}

fn partitions_of(host: &Host) -> usize {
    let series = |body: &str| body.lines().filter(|line| line.starts_with("aggregator_lag_records{")).count();
    host.get("/metrics").map_or(0, |page| series(&page.body))
}

/// The digest of the default plugin on each host of the group, as one of them tells it.
fn digests_told_by(host: &Host) -> Vec<String> {
    let told = host.json("/plugins").unwrap();
    let digest = |member: &serde_json::Value| {
        member["plugins"]["sliding-window"]["digest"].as_str().map(str::to_owned)
    };
    told["members"].as_array().unwrap().iter().filter_map(digest).collect()
}

#[test]
fn a_second_host_joins_and_leaves_under_load_and_the_end_state_is_exact() {
    let options = Options { tokens: 200, ..Options::new(21, Shape::Singles, TRADES) }.disturbed();
    let messages: Vec<Message> = Stream::new(&options).collect();
    let oracle = oracle(DEFAULT_WINDOWS, &messages);
    let rig = Rig::new("rebalance", PARTITIONS);
    let settings = rig.event().with("PARTITIONING", "by-token").with("CHECKPOINT_INTERVAL", "1s");
    let settings = settings.with("KAFKA_SESSION_TIMEOUT", "6s");
    let thirds: Vec<&[Message]> = messages.chunks(TRADES / 3).collect();

    let first = Host::start_ready(&settings).unwrap();
    std::thread::scope(|scope| {
        let load = sending(scope, &rig, thirds[0]);
        let mut second = Host::start_ready(&settings).unwrap();
        wait::until_true("the second host to have two partitions", LIMIT, || partitions_of(&second) == 2)
            .unwrap();
        for host in [&first, &second] {
            wait::until_true("the hosts to know of each other", LIMIT, || digests_told_by(host).len() == 2)
                .unwrap();
            let digests = digests_told_by(host);
            assert!(digests[0].len() == 64 && digests[0] == digests[1], "{digests:?}");
        }
        load.join().unwrap();

        let load = sending(scope, &rig, thirds[1]);
        second.wait_metric("aggregator_trades_total", LIMIT, |trades| trades > 1_000.0).unwrap();
        let ended = second.stop(LIMIT).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
        wait::until_true("the first host to have all partitions", LIMIT, || partitions_of(&first) == 4)
            .unwrap();
        load.join().unwrap();
    });
    rig.send(thirds[2]);
    wait::until_true("the host that ended to be forgotten", LIMIT, || digests_told_by(&first).len() == 1)
        .unwrap();
    wait_final(&oracle, &mut rig.connect(), Encoding::Json, |token| oracle.newest_of_partition_ms(token));
}
