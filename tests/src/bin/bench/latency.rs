//! Latency: how long after its sending a trade is seen in Redis, under a steady load that waits for nobody.
//!
//! One token is the probe: each of its trades raises the count of its longest window by one, so the moment at which
//! trade n is seen is the moment at which the count reaches n. The invariant: an open loop; a slow host does not slow
//! the producer down.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use aggregator_tests::broker::Broker;
use aggregator_tests::compare::AGGREGATES;
use aggregator_tests::host::{Host, READY_LIMIT};
use aggregator_tests::oracle;
use aggregator_tests::paths;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::stream::{self, Message, Shape, Stream, partition_of};
use aggregator_tests::time;
use aggregator_tests::trade::Trade;

use crate::{Options, Program, table};

const PROBE: &str = "probe";
/// How often the load is topped up, and how often the probe trades.
const TICK: Duration = Duration::from_millis(5);
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// Between two looks into Redis; what it adds to a latency.
const LOOK_EVERY: Duration = Duration::from_micros(300);
/// The load before the first figure counts.
const WARM_UP: Duration = Duration::from_secs(5);
/// How long the last probes may take.
const TAIL: Duration = Duration::from_secs(10);

/// Serves its own delivery reports: a tick of ours is too seldom for thousands of single messages.
type Client = ThreadedProducer<DefaultProducerContext>;

/// When each probe was sent.
type Sent = Mutex<Vec<Instant>>;

/// Loads every program in turn and prints how long its results took.
pub(crate) fn measure(options: &Options, broker: &Broker, shape: Shape, rate: u64) -> Result<()> {
    for &program in options.programs.iter().filter(|&&program| program != Program::Baseline) {
        for run in 0..options.runs {
            let latencies_ms = run_once(options, broker, shape, rate, program)?;
            let of = |share| table::quantile(latencies_ms.clone(), share).unwrap_or(f64::NAN);
            println!(
                "{shape:?} run {} {:<12} {rate} trades/s: {} probes, p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
                run + 1,
                program.name(),
                latencies_ms.len(),
                of(0.5),
                of(0.9),
                of(0.99),
                of(1.0)
            );
        }
    }
    Ok(())
}

fn run_once(
    options: &Options,
    broker: &Broker,
    shape: Shape,
    rate: u64,
    program: Program,
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
    let window = oracle::windows(&options.windows)?.into_iter().max_by_key(|window| window.length_ms);
    let window = window.context("no windows")?.name;
    let (sent, done) = (Sent::default(), AtomicBool::new(false));
    let latencies_ms = thread::scope(|scope| {
        let reader = scope.spawn(|| watch(&redis, &window, &sent, &done));
        let loaded = load(options, broker, &topic, shape, rate, &sent);
        done.store(true, Ordering::Release);
        let seen = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
        loaded.and(seen)
    })?;
    let warm = (WARM_UP.as_millis() / PROBE_EVERY.as_millis()) as usize;
    Ok(latencies_ms.into_iter().skip(warm).collect())
}

/// Sends the load and the probes.
fn load(options: &Options, broker: &Broker, topic: &str, shape: Shape, rate: u64, sent: &Sent) -> Result<()> {
    let client: Client = broker.client().set("linger.ms", "0").create()?;
    let total = WARM_UP + Duration::from_secs(options.seconds);
    let stream = stream::Options {
        tokens: options.tokens,
        partitions: options.partitions,
        whole_seconds: true,
        ..stream::Options::new(options.seed, shape, usize::MAX / 2)
    };
    let mut stream = Stream::new(&stream);
    let (began, mut trades, mut probes) = (Instant::now(), 0, 0_u32);
    while began.elapsed() < total {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as usize;
        while trades < due {
            let message = stream.next().context("the stream ended")?.at(time::now_ms());
            trades += message.trades.len();
            send(&client, topic, &message)?;
        }
        if began.elapsed() >= PROBE_EVERY * probes {
            let partition = match shape {
                Shape::Arrays => probes as i32 % options.partitions,
                Shape::Singles => partition_of(PROBE, options.partitions),
            };
            let message = Trade::simple(PROBE, time::now_ms()).message(partition);
            sent.lock().map_err(|_| anyhow::anyhow!("the reader panicked"))?.push(Instant::now());
            send(&client, topic, &message)?;
            probes += 1;
        }
        thread::sleep(TICK);
    }
    client.flush(TAIL).context("waiting for acknowledgements")
}

fn send(client: &Client, topic: &str, message: &Message) -> Result<()> {
    let mut record =
        BaseRecord::<str, [u8]>::to(topic).partition(message.partition).payload(&message.payload);
    if let Some(key) = &message.key {
        record = record.key(key);
    }
    client.send(record).map_err(|(error, _)| error).context("sending")
}

/// Watches the probe's count and notes how long each of its trades took to be seen, in milliseconds.
fn watch(redis: &RedisServer, window: &str, sent: &Sent, done: &AtomicBool) -> Result<Vec<f64>> {
    let mut connection = redis.connect()?;
    let mut latencies_ms = Vec::new();
    let mut deadline = None;
    loop {
        let row = results::read(&mut connection, PROBE, AGGREGATES, Encoding::Json)?;
        let count =
            row.as_ref().and_then(|row| row.cell(window, "buy_count")?.number()).unwrap_or(0.0) as usize;
        let now = Instant::now();
        let sent = sent.lock().map_err(|_| anyhow::anyhow!("the producer panicked"))?;
        while latencies_ms.len() < count.min(sent.len()) {
            latencies_ms.push(now.duration_since(sent[latencies_ms.len()]).as_secs_f64() * 1000.0);
        }
        if done.load(Ordering::Acquire) {
            let until = *deadline.get_or_insert(now + TAIL);
            if latencies_ms.len() == sent.len() || now > until {
                anyhow::ensure!(
                    latencies_ms.len() == sent.len(),
                    "{} probes were never seen",
                    sent.len() - latencies_ms.len()
                );
                return Ok(latencies_ms);
            }
        }
        drop(sent);
        thread::sleep(LOOK_EVERY);
    }
}
