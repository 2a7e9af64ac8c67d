//! Draining: from the first trade that a program has taken until the last.
//!
//! Starting, compiling the plugin and joining the group are not part of it. The invariant: programs take turns within
//! each run, so that a slow minute of the machine meets all of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use aggregator_tests::broker::Broker;
use aggregator_tests::compare;
use aggregator_tests::host::Host;
use aggregator_tests::metrics;
use aggregator_tests::oracle::Oracle;
use aggregator_tests::paths;
use aggregator_tests::plugins_dir::PluginsDir;
use aggregator_tests::process::Usage;
use aggregator_tests::producer::Producer;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::results::Encoding;
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::{self, Shape, Stream};

use crate::{Options, Program, table};

/// How long a program may take to begin, to drain, and to write its final results.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);
/// How often the counters are read meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A host that writes less than so much of the baseline's rows a second does not do the same job.
const LEAST_ROWS: f64 = 0.8;

/// What one drain came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drained {
    pub(crate) trades_per_second: f64,
    /// User and system time of all threads.
    pub(crate) cpu_seconds_per_million: f64,
    pub(crate) peak_resident_mib: f64,
    pub(crate) flushes: f64,
    pub(crate) rows: f64,
    pub(crate) rows_per_second: f64,
}

/// Fills a topic and lets every program drain it; gives each one's medians over the runs that count, nothing if none does.
pub(crate) fn measure(options: &Options, broker: &Broker, shape: Shape) -> Result<Vec<(Program, Drained)>> {
    let topic = broker.topic("bench", options.partitions)?;
    let oracle = fill(options, broker, &topic, shape)?;
    let settings = options
        .settings(broker, &topic, shape)
        .with("CLOCK", "event")
        .with("START_FROM", "earliest")
        .with("FLUSH_INTERVAL", "100ms");
    let plugins = further_plugins(options.plugins)?;
    let settings = settings.with("PLUGINS_DIR", &plugins.path().display().to_string());
    let mut drained: Vec<(Program, Drained)> = Vec::new();
    for run in 0..options.runs {
        let mut of_run = Vec::new();
        // Each program begins a run in turn.
        for turn in 0..options.programs.len() {
            let program = options.programs[(run + turn) % options.programs.len()];
            let settings =
                settings.clone().with("KAFKA_CONSUMER_GROUP", &format!("{topic}-{run}-{}", program.name()));
            let one = drain(options, program, &settings, shape, &oracle)
                .with_context(|| format!("{} in run {}", program.name(), run + 1))?;
            println!("run {} {}", run + 1, table::line(program, &one));
            of_run.push((program, one));
        }
        if let Some(why) = refusal(&of_run) {
            println!("run {} does not count: {why}", run + 1);
        } else {
            drained.extend(of_run);
        }
    }
    Ok(options
        .programs
        .iter()
        .filter_map(|&program| Some((program, table::medians(program, &drained)?)))
        .collect())
}

/// A directory with those that run beside the default one.
fn further_plugins(plugins: u8) -> Result<PluginsDir> {
    let dir = PluginsDir::new()?;
    for name in ["vwap", "traders"].into_iter().take(usize::from(plugins) - 1) {
        dir.put(&format!("{name}.wasm"), &std::fs::read(paths::component(name)?)?)?;
    }
    Ok(dir)
}

/// Why a run does not count.
fn refusal(of_run: &[(Program, Drained)]) -> Option<String> {
    let rows = |wanted: Program| {
        of_run.iter().find(|(program, _)| *program == wanted).map(|(_, one)| one.rows_per_second)
    };
    let (host, baseline) = (rows(Program::Host)?, rows(Program::Baseline)?);
    (host < LEAST_ROWS * baseline)
        .then(|| format!("the host wrote {host:.0} rows/s, the baseline {baseline:.0}"))
}

/// Sends the stream, and lets the oracle see it.
pub(crate) fn fill(options: &Options, broker: &Broker, topic: &str, shape: Shape) -> Result<Oracle> {
    let stream = stream::Options {
        tokens: options.tokens,
        partitions: options.partitions,
        span_ms: (options.trades as u64 * 1000 / options.event_rate.max(1)) as i64,
        whole_seconds: true,
        ..stream::Options::new(options.seed, shape, options.trades)
    };
    let began = Instant::now();
    let producer = Producer::new(broker, topic)?;
    let mut oracle = Oracle::new(&options.windows)?;
    let mut bytes = 0;
    for (index, message) in Stream::new(&stream).enumerate() {
        producer.queue(&message)?;
        oracle.take_all([&message])?;
        bytes += message.payload.len();
        if index % 1000 == 0 {
            producer.poll();
        }
    }
    producer.flush()?;
    println!("{shape:?}: {} trades, {} MiB, filled in {:.0?}", options.trades, bytes >> 20, began.elapsed());
    Ok(oracle)
}

/// What is read from a running program at one moment.
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) trades: f64,
    flushes: f64,
    rows: f64,
    pub(crate) usage: Usage,
}

fn moment(host: &Host) -> Option<Moment> {
    let page = host.get("/metrics").ok()?.body;
    let value = |name| metrics::value(&page, name);
    Some(Moment {
        at: Instant::now(),
        trades: value("aggregator_trades_total")?,
        flushes: value("aggregator_flushes_total")?,
        rows: value("aggregator_rows_written_total")?,
        usage: host.usage().ok()?,
    })
}

/// Reads the counters of all hosts until they have so many trades together.
pub(crate) fn wait_trades(hosts: &[Host], trades: f64) -> Result<Vec<Moment>> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let moments: Option<Vec<Moment>> = hosts.iter().map(moment).collect();
        if let Some(moments) = moments
            && moments.iter().map(|moment| moment.trades).sum::<f64>() >= trades
        {
            return Ok(moments);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    bail!("{trades} trades were not reached within {LIMIT:?}")
}

fn drain(
    options: &Options,
    program: Program,
    settings: &Settings,
    shape: Shape,
    oracle: &Oracle,
) -> Result<Drained> {
    let redis = RedisServer::start()?;
    let path = match program {
        Program::Host => paths::aggregator()?,
        Program::Baseline | Program::NativeHost => {
            paths::program(program.name(), "cargo build --release -p aggregator-tests")?
        }
    };
    let mut host = Host::start_program(&path, &[], &settings.clone().with("REDIS_ADDR", &redis.address()))?;
    let alone = std::slice::from_ref(&host);
    let [first, last] =
        [wait_trades(alone, 1.0)?.remove(0), wait_trades(alone, options.trades as f64)?.remove(0)];
    let encoding = match settings.get("OUTPUT_ENCODING") {
        Some("msgpack") if program != Program::Baseline => Encoding::MessagePack,
        _ => Encoding::Json,
    };
    check(program, shape, oracle, &redis, encoding)?;
    let peak = host.usage()?.peak_resident_bytes;
    if program != Program::Baseline {
        host.stop(LIMIT)?;
    }
    let seconds = last.at.duration_since(first.at).as_secs_f64();
    let trades = last.trades - first.trades;
    let cpu = last.usage.cpu.saturating_sub(first.usage.cpu);
    Ok(Drained {
        trades_per_second: trades / seconds,
        cpu_seconds_per_million: cpu.as_secs_f64() * 1e6 / trades,
        peak_resident_mib: peak as f64 / f64::from(1 << 20),
        flushes: last.flushes - first.flushes,
        rows: last.rows - first.rows,
        rows_per_second: (last.rows - first.rows) / seconds,
    })
}

/// Waits for the final results and compares all of them.
pub(crate) fn check(
    program: Program,
    shape: Shape,
    oracle: &Oracle,
    redis: &RedisServer,
    encoding: Encoding,
) -> Result<()> {
    // The baseline has one clock; the host has one for each partition where tokens belong to partitions.
    let own_clocks = shape == Shape::Singles && program != Program::Baseline;
    let clock_of = |token: &str| {
        if own_clocks { oracle.newest_of_partition_ms(token) } else { oracle.newest_ms() }
    };
    let mut connection = redis.connect()?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let differences = compare::final_results(oracle, &mut connection, encoding, clock_of)?;
        if differences.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{} differences from the oracle, first: {}", differences.len(), differences[0]);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
