//! Row 30: a random fault every few seconds, for as long as is asked for (`FAULT_SOAK`, in seconds), while the trades of
//! one token kill a plugin.
//!
//! The invariant: after each heal the host goes on within its time, and at the end everything is exact, with no more
//! memory, descriptors or errors than there were.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use aggregator::plugin::catalog::DEFAULT_COMPONENT;
use aggregator_tests::broker::{Broker, Options};
use aggregator_tests::host::Host;
use aggregator_tests::paths;
use aggregator_tests::plugins_dir::{PluginsDir, variant};
use aggregator_tests::process;
use aggregator_tests::random::Random;
use aggregator_tests::redis_server::{Memory, RedisServer};
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::Shape;
use aggregator_tests::watch::Watch;
use nix::sys::signal::Signal;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Plan, Run, pick, scaled, seed, wait_serving};
use crate::swaps::{self, FILE, wait_swaps};

/// How long everything may take to move again after a heal.
const RECOVERED_WITHIN: Duration = Duration::from_secs(20);
/// By how much a host's memory and descriptors may be more at the end: a second consumer for cells that lag may be there.
const GROWTH_BYTES: u64 = 64 << 20;
const MORE_DESCRIPTORS: usize = 24;

/// A fault: its name, and what it does.
type Fault = (&'static str, fn(&mut Stage<'_, '_>));

/// What may happen.
const FAULTS: [Fault; 11] = [
    ("host killed", |stage| {
        stage.host.signal(Signal::SIGKILL);
        stage.next_host();
    }),
    ("host ended in order", |stage| {
        stage.host.signal(Signal::SIGTERM);
        stage.next_host();
    }),
    ("host frozen", |stage| {
        stage.host.signal(Signal::SIGSTOP);
        stage.pass();
        stage.host.signal(Signal::SIGCONT);
    }),
    ("broker frozen", |stage| {
        stage.run.broker.signal(Signal::SIGSTOP);
        stage.pass();
        stage.run.broker.signal(Signal::SIGCONT);
    }),
    ("broker killed", |stage| {
        stage.run.broker.kill();
        stage.pass();
        stage.run.broker.restart().expect("a broker");
        stage.run.broker.wait_answer().expect("a broker that answers");
    }),
    ("link to the broker reset", |stage| stage.run.broker.link().reset()),
    ("link to the broker held", |stage| {
        stage.run.broker.link().hold();
        stage.pass();
        stage.run.broker.link().heal();
    }),
    ("redis frozen", |stage| {
        stage.run.redis.signal(Signal::SIGSTOP);
        stage.pass();
        stage.run.redis.signal(Signal::SIGCONT);
    }),
    ("redis flushed", |stage| {
        redis::cmd("FLUSHALL").exec(&mut stage.run.redis.connect().expect("redis answers")).expect("a flush");
    }),
    ("link to redis reset", |stage| stage.run.redis.link().reset()),
    ("plugin swapped", |stage| {
        let swapped = stage.host.metric(&swaps::ended("sliding-window", "swapped")).unwrap_or(0.0);
        stage.swaps += 1;
        stage.plugins.put(FILE, &variant(DEFAULT_COMPONENT, stage.swaps)).expect("a file");
        wait_swaps(&stage.host, "sliding-window", "swapped", swapped + 1.0);
    }),
];

/// A host under load, and the chance that decides.
struct Stage<'r, 'b> {
    run: &'r Run<'b>,
    settings: Settings,
    host: Host,
    plugins: PluginsDir,
    swaps: u32,
    watch: Watch,
    random: Random,
}

impl Stage<'_, '_> {
    /// Lets a fault last.
    fn pass(&mut self) {
        thread::sleep(Duration::from_millis(1_000 + self.random.below(pick(2_000, 10_000))));
    }

    fn next_host(&mut self) {
        self.host.wait_end(LIMIT).expect("a host that ends");
        self.host = Host::start(&self.settings).expect("a host");
        self.watch.follow(&self.host);
        wait_serving(&self.host);
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.host.pid())).map_or(0, Iterator::count)
    }

    /// Lines of the level ERROR of the present host: no fault of others is an error of its own.
    fn errors(&self) -> Vec<String> {
        let is_error = |line: &serde_json::Value| line["level"] == "ERROR" || line["level"] == "FATAL";
        self.host.log().iter().filter(|line| is_error(line)).map(ToString::to_string).collect()
    }
}

#[test]
fn faults_of_all_kinds_one_after_the_other_cost_no_trade() {
    let asked = paths::variable("FAULT_SOAK").and_then(|text| text.parse().ok());
    let span = Duration::from_secs(asked.unwrap_or(pick(25, 300)));
    let broker = Broker::start(&Options { proxied: true, ..Options::default() }).unwrap();
    let plan = Plan::new("30 soak", seed(301, 0), Shape::Arrays);
    let run = &Run::on(&broker, RedisServer::start_proxied(Memory::Volatile).unwrap(), &plan);
    let pace = &Pace::default();
    let plugins = PluginsDir::new().unwrap();
    let (deadly, _) = run.token_with(20..100);
    swaps::put_killed_by(&plugins, &deadly, "trap");
    let settings = swaps::settings(run, &plugins, "300ms");
    let host = Host::start(&settings).unwrap();
    let watch = Watch::new(&run.ends);
    let mut stage = Stage { run, settings, host, plugins, swaps: 0, watch, random: run.random.clone() };
    stage.watch.follow(&stage.host);
    let mut slowest = Duration::ZERO;
    let began = Instant::now();
    thread::scope(|scope| {
        // Longer than the faults, so that there is always something to be late with.
        let load = Load::start(scope, run, pace, span * 2);
        wait_serving(&stage.host);
        let (resident, descriptors) =
            (process::resident_bytes(stage.host.pid()).unwrap(), stage.descriptors());
        while began.elapsed() < span {
            let (name, fault) = FAULTS[stage.random.below(FAULTS.len() as u64) as usize];
            eprintln!("{:?}: {name}", began.elapsed());
            fault(&mut stage);
            let recovery = stage.watch.wait_progress(LIMIT).unwrap();
            assert!(recovery < scaled(RECOVERED_WITHIN), "{name}: it took {recovery:?} to go on");
            slowest = slowest.max(recovery);
            assert_eq!(stage.errors(), Vec::<String>::new(), "{name}");
        }
        let (last_resident, last_descriptors) =
            (process::resident_bytes(stage.host.pid()).unwrap(), stage.descriptors());
        assert!(last_resident <= resident + GROWTH_BYTES, "{resident} bytes became {last_resident}");
        assert!(
            last_descriptors <= descriptors + MORE_DESCRIPTORS,
            "{descriptors} became {last_descriptors}"
        );
        load.finish();
    });
    run.figures().recovery(slowest);
    run.figures().stall(stage.watch.stall());
    run.assert_exact(&[&stage.host]);
    run.assert_counted(&[&stage.host], &[&deadly]);
}
