//! Row 10: a Redis that does not answer for a while, or answers late.
//!
//! The invariant: aggregation goes on meanwhile, no partition moves, and memory stays where it is.

use std::thread;
use std::time::{Duration, Instant};

use aggregator_tests::broker;
use aggregator_tests::host::Host;
use aggregator_tests::process;
use aggregator_tests::redis_server::{Memory, RedisServer};
use aggregator_tests::stream::Shape;
use aggregator_tests::watch::Watch;
use nix::sys::signal::Signal;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Plan, Run, pick, runs, scaled, seed, trades, wait_serving, wait_unready};

/// What a host may grow by while nothing can be written.
const GROWTH_BYTES: u64 = 32 << 20;

/// What happens to Redis.
struct Fault {
    name: &'static str,
    lasts: Duration,
    /// No answer comes within the limit of a command.
    silent: bool,
    begin: fn(&RedisServer),
    end: fn(&RedisServer),
}

fn faults() -> [Fault; 4] {
    let heal = |redis: &RedisServer| redis.link().heal();
    let seconds = Duration::from_secs;
    let silent = |name, lasts, begin, end| Fault { name, lasts, silent: true, begin, end };
    [
        silent(
            "10 redis frozen",
            seconds(pick(8, 15)),
            |redis| redis.signal(Signal::SIGSTOP),
            |redis| redis.signal(Signal::SIGCONT),
        ),
        silent(
            "10 redis paused for writes",
            seconds(pick(6, 15)),
            |redis| {
                let mut connection = redis.connect().expect("redis answers");
                redis::cmd("CLIENT")
                    .arg("PAUSE")
                    .arg(60_000)
                    .arg("WRITE")
                    .exec(&mut connection)
                    .expect("a pause");
            },
            |redis| {
                let mut connection = redis.connect().expect("redis answers");
                redis::cmd("CLIENT").arg("UNPAUSE").exec(&mut connection).expect("no pause");
            },
        ),
        silent(
            "10 redis behind a link that is held",
            seconds(pick(8, 15)),
            |redis| redis.link().hold(),
            heal,
        ),
        Fault {
            name: "10 redis 500 ms away",
            lasts: seconds(pick(5, 15)),
            silent: false,
            begin: |redis| redis.link().delay(Duration::from_millis(250), Duration::ZERO),
            end: heal,
        },
    ]
}

/// Lets a fault happen to Redis in the middle of the load.
fn redis_suffers(run: &Run<'_>, fault: &Fault) {
    let pace = &Pace::default();
    let host = Host::start(&run.settings()).unwrap();
    let mut watch = Watch::new(&run.ends);
    watch.follow(&host);
    thread::scope(|scope| {
        let load = Load::start(scope, run, pace, fault.lasts + Duration::from_secs(8));
        wait_serving(&host);
        load.wait_for(0.2);
        let (resident, counted) = (process::resident_bytes(host.pid()).unwrap(), trades(&host));
        watch.begin();
        let began = Instant::now();
        (fault.begin)(&run.redis);
        if fault.silent {
            let unready = wait_unready(&host, "redis: ", LIMIT);
            assert!(unready < scaled(Duration::from_secs(5)), "it was ready for {unready:?}");
        }
        assert_eq!(host.get("/health/live").unwrap().status, 200);
        thread::sleep(fault.lasts.saturating_sub(began.elapsed()));
        let (more, rate) =
            (trades(&host) - counted, pick(60_000.0, 200_000.0) / (fault.lasts.as_secs_f64() + 8.0));
        let wanted = rate * fault.lasts.as_secs_f64() / 2.0;
        assert!(more > wanted, "{}: only {more} trades were counted meanwhile, not {wanted}", fault.name);
        let grown = watch.resident_bytes(&host).saturating_sub(resident);
        assert!(grown <= GROWTH_BYTES, "{}: it grew by {grown} bytes", fault.name);
        (fault.end)(&run.redis);
        let recovery = watch.wait_progress(LIMIT).unwrap();
        run.figures().recovery(recovery);
        run.figures().stall(watch.stall());
        assert!(recovery < scaled(Duration::from_secs(5)), "{}: it took {recovery:?} to go on", fault.name);
        load.finish();
    });
    host.wait_ready(LIMIT).unwrap();
    run.assert_exact(&[&host]);
    let moved =
        |line: &serde_json::Value| line["message"].as_str().is_some_and(|text| text.contains("revoked"));
    assert!(!host.log().iter().any(moved), "{}: partitions moved", fault.name);
}

#[test]
fn a_redis_that_does_not_answer_holds_up_nothing_but_its_own_results() {
    for number in 0..runs(1, 5) {
        for (index, fault) in faults().iter().enumerate() {
            let shape =
                if (number + index as u64).is_multiple_of(2) { Shape::Arrays } else { Shape::Singles };
            let plan = Plan::new(fault.name, seed(101, number), shape);
            let redis = RedisServer::start_proxied(Memory::Volatile).unwrap();
            redis_suffers(&Run::on(broker::shared(), redis, &plan), fault);
        }
    }
}
