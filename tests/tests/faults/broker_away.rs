//! Row 6: a broker that is killed and comes back, and one that freezes and wakes up.
//!
//! These tests have a broker of their own. The invariant: the host stays, says that it waits for Kafka, keeps its
//! memory, and reads on soon after the broker answers.

use std::thread;
use std::time::{Duration, Instant};

use aggregator_tests::broker::{Broker, Options};
use aggregator_tests::host::Host;
use aggregator_tests::process;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::stream::Shape;
use aggregator_tests::watch::Watch;
use nix::sys::signal::Signal;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Plan, Run, SESSION, pick, runs, scaled, seed, wait_serving, wait_unready};

/// What a host may grow by while there is nothing to read.
const GROWTH_BYTES: u64 = 32 << 20;

/// How soon every partition must move after the broker answers.
const RECOVERED_WITHIN: Duration = Duration::from_secs(5);

/// Takes the broker away for a while and brings it back, in the middle of the load.
fn broker_suffers(run: &Run<'_>, away: Duration, limit: Duration, fault: impl Fn(), heal: impl Fn()) {
    let pace = &Pace::default();
    let host = Host::start(&run.settings()).unwrap();
    let mut watch = Watch::new(&run.ends);
    watch.follow(&host);
    thread::scope(|scope| {
        let load = Load::start(scope, run, pace, away + Duration::from_secs(12));
        wait_serving(&host);
        load.wait_for(0.2);
        let resident = process::resident_bytes(host.pid()).unwrap();
        watch.begin();
        let began = Instant::now();
        fault();
        let unready = wait_unready(&host, "kafka: ", LIMIT);
        assert!(unready < scaled(Duration::from_secs(10)), "it was ready for {unready:?}");
        assert_eq!(host.get("/health/live").unwrap().status, 200);
        thread::sleep(away.saturating_sub(began.elapsed()));
        let grown = watch.resident_bytes(&host).saturating_sub(resident);
        assert!(grown <= GROWTH_BYTES, "it grew by {grown} bytes");
        heal();
        run.broker.wait_answer().unwrap();
        let recovery = watch.wait_progress(LIMIT).unwrap();
        run.figures().recovery(recovery);
        run.figures().stall(watch.stall());
        assert!(recovery < scaled(limit), "it took {recovery:?} to go on");
        load.finish();
    });
    host.wait_ready(LIMIT).unwrap();
    run.assert_exact(&[&host]);
}

#[test]
fn a_broker_that_is_away_is_named_waited_for_and_read_on_from() {
    let broker = Broker::start(&Options::default()).unwrap();
    for number in 0..runs(1, 5) {
        let plan = Plan::new("06 broker killed, back after 10 s", seed(61, number), Shape::Arrays);
        let run = Run::on(&broker, RedisServer::start().unwrap(), &plan);
        let away = Duration::from_secs(10);
        broker_suffers(&run, away, RECOVERED_WITHIN, || broker.kill(), || broker.restart().unwrap());
    }
    // A group waits for the members that it had before it froze until their sessions are over.
    let shuffle = ("06 broker frozen, shuffle", Shape::Arrays, RECOVERED_WITHIN);
    let by_token = ("06 broker frozen, by-token", Shape::Singles, RECOVERED_WITHIN + SESSION);
    for number in 0..runs(1, 5) {
        for (name, shape, limit) in pick(vec![shuffle], vec![shuffle, by_token]) {
            let run =
                Run::on(&broker, RedisServer::start().unwrap(), &Plan::new(name, seed(62, number), shape));
            let away = Duration::from_secs(pick(12, 20));
            let (stop, go_on) = (|| broker.signal(Signal::SIGSTOP), || broker.signal(Signal::SIGCONT));
            broker_suffers(&run, away, limit, stop, go_on);
        }
    }
}
