//! Latency: how long after its sending a trade is seen in Redis, under a steady load that waits for nobody.
//!
//! The invariant: what is seen before the host is warm does not count.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use aggregator_tests::broker::Broker;
use aggregator_tests::host::{Host, READY_LIMIT};
use aggregator_tests::http;
use aggregator_tests::paths;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::stream::Shape;

use crate::probe::Load;
use crate::{Options, Program, table};

/// The load before the first figure counts.
const WARM_UP: Duration = Duration::from_secs(5);

/// Loads every program in turn and prints how long its results took.
pub(crate) fn measure(options: &Options, broker: &Broker, shape: Shape, rate: u64) -> Result<()> {
    for &program in options.programs.iter().filter(|&&program| program != Program::Baseline) {
        for run in 0..options.runs {
            let latencies_ms = run_once(options, broker, shape, rate, program, options.mode.as_deref())?;
            println!(
                "{shape:?} run {} {:<12} {rate} trades/s: {}",
                run + 1,
                program.name(),
                table::latencies(&latencies_ms)
            );
        }
    }
    Ok(())
}

/// How long the host's results of arrays took, in milliseconds, when this matters most.
pub(crate) fn of_mode(options: &Options, broker: &Broker, rate: u64, mode: &str) -> Result<Vec<f64>> {
    run_once(options, broker, Shape::Arrays, rate, Program::Host, Some(mode))
}

fn run_once(
    options: &Options,
    broker: &Broker,
    shape: Shape,
    rate: u64,
    program: Program,
    mode: Option<&str>,
) -> Result<Vec<f64>> {
    let topic = broker.topic("latency", options.partitions)?;
    let redis = RedisServer::start()?;
    let path = match program {
        Program::Host => paths::aggregator()?,
        _ => paths::program(program.name(), "cargo build --release -p aggregator-tests")?,
    };
    let settings = options.settings(broker, &topic, shape).with("REDIS_ADDR", &redis.address());
    let host = Host::start_program(&path, &[], &settings)?;
    host.wait_ready(READY_LIMIT)?;
    if let Some(mode) = mode {
        let answer = http::send("POST", host.port(), &format!("/performance/optimize/{mode}"), "", b"")?;
        ensure!(answer.status == 200, "{}", answer.body);
    }
    let total = WARM_UP + Duration::from_secs(options.seconds);
    let load = Load { options, broker, topic: &topic, shape, rate };
    let before = Spent::by(&host, &redis)?;
    let seen = load.run(&redis, |passed| passed < total, |_| Ok(()))?;
    println!("{}", Spent::by(&host, &redis)?.since(&before));
    let warm_at = seen.first().map(|first| first.sent_at + WARM_UP);
    Ok(seen.iter().filter(|one| Some(one.sent_at) >= warm_at).map(|one| one.latency_ms).collect())
}

/// What host and Redis have spent so far.
struct Spent {
    at: Instant,
    cpu: Duration,
    /// Scripts that Redis has run: each writes rows, or a piece of a checkpoint.
    scripts: f64,
    received_bytes: f64,
}

impl Spent {
    fn by(host: &Host, redis: &RedisServer) -> Result<Self> {
        let told: String = redis::cmd("INFO").arg("everything").query(&mut redis.connect()?)?;
        let number = |name: &str| {
            let rest = told.lines().find_map(|line| line.strip_prefix(name));
            rest.and_then(|rest| rest.split(',').next()?.parse::<f64>().ok())
        };
        Ok(Self {
            at: Instant::now(),
            cpu: host.usage()?.cpu,
            scripts: number("cmdstat_evalsha:calls=").unwrap_or(0.0),
            received_bytes: number("total_net_input_bytes:")
                .context("Redis does not say what it received")?,
        })
    }

    /// What was spent since then, as a line.
    fn since(&self, before: &Self) -> String {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        format!(
            "    host {:.1} % of a core; Redis {:.0} scripts/s, {:.2} MiB/s received",
            (self.cpu - before.cpu).as_secs_f64() / seconds * 100.0,
            (self.scripts - before.scripts) / seconds,
            (self.received_bytes - before.received_bytes) / seconds / f64::from(1 << 20)
        )
    }
}
