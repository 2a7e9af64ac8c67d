//! A host with little to do: what it costs while nobody trades, and how soon it serves after its start.
//!
//! The invariant: what is measured begins when the host has nothing left over from before.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use aggregator_tests::broker::Broker;
use aggregator_tests::host::{Host, READY_LIMIT};
use aggregator_tests::paths;
use aggregator_tests::process;
use aggregator_tests::producer::Producer;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::stream::{Message, Shape};
use aggregator_tests::time;
use aggregator_tests::trade::Trade;

use crate::Options;

/// Tokens that are alive while nobody trades.
const LIVE_TOKENS: usize = 10_000;
/// Trades of a message.
const ARRAY: usize = 100;
/// How long the host may settle, and for how long it is then watched.
const SETTLE: Duration = Duration::from_secs(10);
const WATCHED: Duration = Duration::from_secs(20);

/// What share of a core a host takes that has live tokens and no trades; as a line of the table.
pub(crate) fn idle(options: &Options, broker: &Broker) -> Result<String> {
    println!("== idle");
    let (topic, redis) = (broker.topic("idle", options.partitions)?, RedisServer::start()?);
    let settings = options.settings(broker, &topic, Shape::Arrays).with("REDIS_ADDR", &redis.address());
    let host = Host::start_program(&paths::aggregator()?, &[], &settings)?;
    host.wait_ready(READY_LIMIT)?;
    let (producer, now_ms) = (Producer::new(broker, &topic)?, time::now_ms());
    for first in (0..LIVE_TOKENS).step_by(ARRAY) {
        let tokens = (first..first + ARRAY).map(|token| format!("token-{token}"));
        let trades: Vec<Trade> = tokens.map(|token| Trade::simple(&token, now_ms)).collect();
        let partition = (first / ARRAY) as i32 % options.partitions;
        producer.queue(&Message::array(partition, Some(now_ms), trades))?;
    }
    producer.flush()?;
    host.wait_metric("aggregator_active_tokens", READY_LIMIT, |tokens| tokens >= LIVE_TOKENS as f64)?;
    thread::sleep(SETTLE);
    let (before, began) = (host.usage()?.cpu, Instant::now());
    thread::sleep(WATCHED);
    let share = (host.usage()?.cpu - before).as_secs_f64() / began.elapsed().as_secs_f64();
    let resident_mib = process::resident_bytes(host.pid())? >> 20;
    Ok(format!(
        "| idle, {LIVE_TOKENS} live tokens | {:.1} % of a core, {resident_mib} MiB resident |",
        share * 100.0
    ))
}

/// How long it takes from the start until a host is ready, with and without compiled plugins kept from before; as a
/// line of the table.
pub(crate) fn starts(options: &Options, broker: &Broker) -> Result<String> {
    println!("== start");
    let (topic, redis) = (broker.topic("starts", options.partitions)?, RedisServer::start()?);
    let cache = tempfile::tempdir()?;
    let settings = options
        .settings(broker, &topic, Shape::Arrays)
        .with("REDIS_ADDR", &redis.address())
        .with("PLUGIN_CACHE_DIR", &cache.path().display().to_string());
    let start = || -> Result<u128> {
        let mut host = Host::start_program(&paths::aggregator()?, &[], &settings)?;
        host.wait_ready(READY_LIMIT)?;
        let took = host.started().elapsed().as_millis();
        host.stop(READY_LIMIT)?;
        Ok(took)
    };
    let (cold, warm) = (start()?, start()?);
    Ok(format!(
        "| from start to ready | {cold} ms with nothing kept, {warm} ms with the compiled plugin kept |"
    ))
}
