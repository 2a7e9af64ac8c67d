//! Row 7: the link to the broker is cut, held, half-opened or slow, while the broker itself is well.
//!
//! These tests have a broker of their own, behind a proxy. The invariant: the host recovers by itself, and a link that
//! is down costs next to nothing.

use std::thread;
use std::time::{Duration, Instant};

use aggregator_tests::broker::{Broker, Options};
use aggregator_tests::host::Host;
use aggregator_tests::proxy::Proxy;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::stream::Shape;
use aggregator_tests::watch::Watch;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Plan, Run, pick, runs, scaled, seed, wait_serving};

/// Of one core, while the link is down.
const MOST_CPU: f64 = 0.2;

/// How long an end in order may take when nothing can be said to the broker any more.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// What happens to a link.
struct Fault {
    name: &'static str,
    /// For how long.
    lasts: Duration,
    /// Nothing can be read meanwhile.
    down: bool,
    begin: fn(&Proxy),
}

fn faults() -> [Fault; 6] {
    let seconds = Duration::from_secs;
    let down = |name, lasts, begin| Fault { name, lasts, down: true, begin };
    let slow = |name, lasts, begin| Fault { name, lasts, down: false, begin };
    [
        slow("07 link reset", seconds(1), Proxy::reset),
        down("07 link refused", seconds(pick(5, 15)), Proxy::refuse),
        down("07 link held", seconds(pick(12, 15)), Proxy::hold),
        down("07 link half-open", seconds(10), Proxy::half_open),
        slow("07 link 200 ms, 100 ms jitter", seconds(pick(4, 15)), |link| {
            link.delay(Duration::from_millis(200), Duration::from_millis(100));
        }),
        slow("07 link 1 MB/s", seconds(pick(4, 15)), |link| link.limit(1_000_000)),
    ]
}

/// Lets a fault happen to the link in the middle of the load.
fn link_suffers(run: &Run<'_>, fault: &Fault) {
    let (link, pace) = (run.broker.link(), &Pace::default());
    let host = Host::start(&run.settings()).unwrap();
    let mut watch = Watch::new(&run.ends);
    watch.follow(&host);
    thread::scope(|scope| {
        let load = Load::start(scope, run, pace, fault.lasts + Duration::from_secs(pick(6, 12)));
        wait_serving(&host);
        load.wait_for(0.2);
        watch.begin();
        let (before, began) = (host.usage().unwrap().cpu, Instant::now());
        (fault.begin)(link);
        thread::sleep(fault.lasts);
        let cpu = (host.usage().unwrap().cpu - before).as_secs_f64() / began.elapsed().as_secs_f64();
        assert!(!fault.down || cpu <= MOST_CPU, "{}: {cpu} of a core", fault.name);
        link.heal();
        let recovery = watch.wait_progress(LIMIT).unwrap();
        run.figures().recovery(recovery);
        run.figures().stall(watch.stall());
        assert!(recovery < scaled(Duration::from_secs(5)), "{}: it took {recovery:?} to go on", fault.name);
        load.finish();
    });
    host.wait_ready(LIMIT).unwrap();
    run.assert_exact(&[&host]);
}

/// Asks a host to end while nothing comes back from the broker: what was counted is stored all the same.
fn ends_while_down(broker: &Broker, shape: Shape) {
    let plan = Plan::new("03 host ended in order while the broker is away", seed(72, 0), shape);
    let run = &Run::on(broker, RedisServer::start().unwrap(), &plan);
    let pace = &Pace::default();
    let mut host = Host::start(&run.settings()).unwrap();
    thread::scope(|scope| {
        let load = Load::start(scope, run, pace, Duration::from_secs(4));
        wait_serving(&host);
        load.wait_for(0.5);
        broker.link().hold();
        let ended = host.stop(LIMIT).unwrap();
        broker.link().heal();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
        assert!(ended.took < scaled(ENDS_WITHIN), "{shape:?}: it took {:?}", ended.took);
        load.finish();
    });
    let next = Host::start_ready(&run.settings()).unwrap();
    run.assert_exact(&[&next]);
    assert_eq!(next.metric("aggregator_replayed_total"), Some(0.0), "{shape:?}");
}

#[test]
fn a_link_to_the_broker_that_fails_in_any_way_is_recovered_from() {
    let broker = Broker::start(&Options { proxied: true, ..Options::default() }).unwrap();
    for number in 0..runs(1, 5) {
        for (index, fault) in faults().iter().enumerate() {
            let shape =
                if (number + index as u64).is_multiple_of(2) { Shape::Arrays } else { Shape::Singles };
            let plan = Plan::new(fault.name, seed(71, number), shape);
            let run = Run::on(&broker, RedisServer::start().unwrap(), &plan);
            link_suffers(&run, fault);
        }
    }
    for shape in [Shape::Arrays, Shape::Singles] {
        ends_while_down(&broker, shape);
    }
}
