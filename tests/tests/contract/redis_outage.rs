//! Redis goes away while trades flow: the host stays, says why it is not ready, and writes everything afterwards.
//!
//! The invariant: the Redis that comes back is empty, so that only what the host still has can fill it.

use aggregator_tests::host::Host;
use aggregator_tests::results::Encoding;
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use aggregator_tests::wait;

use crate::rig::{DEFAULT_WINDOWS, LIMIT, Rig, oracle, wait_drained, wait_final};

#[test]
fn a_redis_that_was_away_and_forgot_everything_gets_all_results_again() {
    let options = Options { tokens: 200, ..Options::new(31, Shape::Arrays, 20_000) };
    let messages: Vec<Message> = Stream::new(&options).collect();
    let (before, during) = messages.split_at(messages.len() / 2);
    let oracle = oracle(DEFAULT_WINDOWS, &messages);
    let mut rig = Rig::new("outage", 4);
    let mut host = Host::start_ready(&rig.event().with("CHECKPOINT_INTERVAL", "1s")).unwrap();
    rig.send(before);
    wait_drained(&host, before.iter().map(|message| message.trades.len()).sum());

    rig.redis.kill();
    rig.send(during);
    wait::until_true("readiness to name redis", LIMIT, || {
        host.get("/health/ready").is_ok_and(|answer| answer.status == 503 && answer.body.contains("redis"))
    })
    .unwrap();
    assert_eq!(host.get("/health/live").unwrap().status, 200);
    // Aggregation goes on without the store.
    wait_drained(&host, 20_000);

    rig.redis.restart().unwrap();
    host.wait_ready(LIMIT).unwrap();
    wait_final(&oracle, &mut rig.connect(), Encoding::Json, |_| oracle.newest_ms());
    let ended = host.stop(LIMIT).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
}
