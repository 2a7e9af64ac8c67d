//! Row 12: the connection to Redis is cut in the middle of a script that writes results or a checkpoint.
//!
//! The invariant: what stands in Redis is always whole: a value parses with all its windows, and a host that starts in
//! that moment finds its checkpoint complete.

use std::time::Duration;

use aggregator_tests::broker;
use aggregator_tests::compare::{AGGREGATES, FIELDS};
use aggregator_tests::host::Host;
use aggregator_tests::producer::Producer;
use aggregator_tests::proxy::Direction;
use aggregator_tests::redis_server::{Memory, RedisServer};
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::stream::Shape;
use aggregator_tests::wait;
use nix::sys::signal::Signal;
use redis::Commands as _;

use crate::run::{LIMIT, Plan, Run, pick, seed, wait_serving};

/// A script by a key that only it is called with, and the most bytes behind it at which a cut comes.
const SCRIPTS: [(&[u8], u64); 3] = [(b"tokens:active", 60_000), (b":head:", 4_000), (b":page:", 20_000)];
/// In how many pieces the load is cut for each cut; one is enough as a rule.
const PIECES_OF_CUT: usize = 5;
/// How long a piece of the load may take until it has come to the cut.
const PATIENCE: Duration = Duration::from_secs(3);
/// After so many cuts the host is killed in that moment, and another one starts from what stands in Redis.
const KILLED_EVERY: usize = 5;

/// Every value in Redis has all its windows and fields.
fn assert_whole(redis: &RedisServer) {
    let mut connection = redis.connect().expect("redis answers");
    let tokens: Vec<String> = connection.zrange("tokens:active", 0, -1).expect("the active tokens");
    for token in tokens {
        let row =
            results::read(&mut connection, &token, AGGREGATES, Encoding::Json).expect("a value that parses");
        for (window, fields) in row.iter().flat_map(|row| &row.groups) {
            assert_eq!(fields.len(), FIELDS.len(), "{token} {window}");
        }
    }
}

#[test]
fn a_connection_that_is_cut_within_a_script_leaves_all_of_it_or_nothing() {
    let plan = Plan::new("12 connection cut within a script", seed(121, 0), Shape::Arrays);
    let cuts = pick(20, 200);
    let mut run = Run::on(broker::shared(), RedisServer::start_proxied(Memory::Volatile).unwrap(), &plan);
    let places: Vec<_> = (0..cuts)
        .map(|cut| {
            let (marker, most) = SCRIPTS[cut % SCRIPTS.len()];
            // Now and then it is the answer that does not arrive.
            let direction = if run.random.permille(250) { Direction::Answer } else { Direction::Request };
            let marker = if direction == Direction::Answer { &b"written"[..] } else { marker };
            (direction, marker, run.random.below(if direction == Direction::Answer { 8 } else { most }))
        })
        .collect();
    let run = &run;
    let settings = run.settings().with("KAFKA_GROUP_INSTANCE_ID", "host-1");
    let producer = Producer::new(run.broker, &run.topic).unwrap();
    // The load is as long as the cuts need, however slow the machine is.
    let mut pieces = run.messages().chunks(run.messages().len() / (cuts * PIECES_OF_CUT));
    let mut send = || run.send(&producer, pieces.next().expect("a load that outlasts the cuts"));
    let mut host = Host::start(&settings).unwrap();
    send();
    wait_serving(&host);
    let link = run.redis.link();
    for (number, (direction, marker, after)) in places.into_iter().enumerate() {
        link.cut_behind(direction, marker, after as usize);
        let cut = || link.cuts() > number;
        while !cut() {
            send();
            // Where the piece gave too few bytes behind the marker, the next one gives more.
            wait::until_true("the cut", PATIENCE, cut).ok();
        }
        assert_whole(&run.redis);
        if number % KILLED_EVERY == KILLED_EVERY - 1 {
            host.signal(Signal::SIGKILL);
            host.wait_end(LIMIT).unwrap();
            assert_whole(&run.redis);
            host = Host::start(&settings).unwrap();
            send();
            wait_serving(&host);
            let dropped = host.log().iter().filter(|line| line["message"] == "Checkpoint not used").count();
            assert_eq!(dropped, 0, "a checkpoint was torn");
        }
    }
    pieces.for_each(|piece| run.send(&producer, piece));
    host.wait_ready(LIMIT).unwrap();
    run.assert_exact(&[&host]);
}
