//! Swaps under load: how long a shard stands still, and whether anybody sees it.
//!
//! A host with many panes of state takes a steady load, first in peace, then while its plugin's file is replaced again
//! and again by another version. The invariant: every trade that was sent is in the oracle, and every window is compared
//! with it at the end, at the T of its row.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aggregator::plugin::catalog::DEFAULT_COMPONENT;
use anyhow::{Context, Result, bail, ensure};

use aggregator_tests::broker::Broker;
use aggregator_tests::compare::{self, AGGREGATES};
use aggregator_tests::host::{Host, READY_LIMIT};
use aggregator_tests::http;
use aggregator_tests::oracle::Oracle;
use aggregator_tests::paths;
use aggregator_tests::plugins_dir::{PluginsDir, hostile, variant};
use aggregator_tests::process;
use aggregator_tests::producer::Producer;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::stream::{Message, Shape};
use aggregator_tests::time;
use aggregator_tests::trade::Trade;
use aggregator_tests::wait;

use crate::probe::{Load, Seen};
use crate::{Options, table};

/// How long the load flows before anything is swapped, and how much of that does not count.
const CALM: Duration = Duration::from_secs(20);
const WARM_UP: Duration = Duration::from_secs(5);
/// How long a version is on probation, and stays after it was accepted.
const PROBATION: &str = "200ms";
const REST: Duration = Duration::from_millis(200);
/// After the last one, until what it leaves behind is looked at: its checkpoints are written by then.
const SETTLE: Duration = Duration::from_secs(6);
/// How often it is looked whether a swap has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Trades of a message of the state's.
const ARRAY: usize = 25;
/// What a batch may have to wait for.
const STEPS: [(&str, &str); 3] = [
    ("a step of a swap", "aggregator_plugin_swap_step_seconds"),
    ("a flush of a shard", "aggregator_flush_seconds"),
    ("a step of a checkpoint", "aggregator_checkpoint_step_seconds"),
];

/// What one swap came to.
struct Swapped {
    /// From the file until every shard showed the new version.
    took: Duration,
    /// The longest time that a shard went without a batch, and the longest in which one changed over.
    longest_pause_ms: f64,
    switch_pause_ms: f64,
}

/// What a host holds.
struct Held {
    resident_bytes: u64,
    descriptors: usize,
}

/// Loads a host, swaps its plugin, and prints what that came to.
pub(crate) fn measure(options: &Options, broker: &Broker, shape: Shape, swaps: u32) -> Result<()> {
    let topic = broker.topic("swaps", options.partitions)?;
    let (redis, plugins) = (RedisServer::start()?, PluginsDir::new()?);
    let load = Load { options, broker, topic: &topic, shape, rate: options.latency.unwrap_or(20_000) };
    let mut oracle = Oracle::new(&options.windows)?;
    fill(&load, options.panes, &mut oracle)?;
    if options.migrate {
        plugins.put("hostile.wasm", &hostile(1)?)?;
        let windows: Vec<&str> = options.windows.split(',').collect();
        let configuration = serde_json::json!({ "windows": windows });
        plugins.put("hostile.json", configuration.to_string().as_bytes())?;
    }
    let settings = options
        .settings(broker, &topic, shape)
        .with("REDIS_ADDR", &redis.address())
        .with("PLUGINS_DIR", &plugins.path().display().to_string())
        .with("PLUGIN_PROBATION", PROBATION);
    let host = Host::start_program(&paths::aggregator()?, &[], &settings)?;
    host.wait_ready(READY_LIMIT)?;
    host.wait_metric("aggregator_trades_total", LIMIT, |trades| trades >= oracle.len() as f64)?;

    let done = AtomicBool::new(false);
    let (seen, swapped) = thread::scope(|scope| {
        let changes = scope.spawn(|| {
            thread::sleep(CALM);
            let swapped = swap_again_and_again(&host, &plugins, options.migrate, swaps);
            done.store(true, Ordering::Release);
            swapped
        });
        let seen = load.run(&redis, |_| !done.load(Ordering::Acquire), |message| oracle.take_all([message]));
        let swapped = changes.join().map_err(|_| anyhow::anyhow!("the swaps panicked"))?;
        anyhow::Ok((seen?, swapped?))
    })?;
    let (began, swapped, before, after) = swapped;
    assert_exact(&oracle, &redis)?;
    print(shape, &seen, began, &swapped, [&before, &after]);
    let metrics = host.get("/metrics")?.body;
    for (what, histogram) in STEPS {
        println!("  worker time of {what}: {}", steps(&metrics, histogram));
    }
    let rolled_back = Instant::now();
    let name = if options.migrate { "hostile" } else { "sliding-window" };
    let answer = http::send("POST", host.port(), &format!("/plugins/{name}/rollback"), "", b"")?;
    println!("  rollback by HTTP: {} in {:.0?}", answer.status, rolled_back.elapsed());
    Ok(())
}

/// Sends one trade of each token for each of the last seconds.
fn fill(load: &Load<'_>, panes: u64, oracle: &mut Oracle) -> Result<()> {
    let mut tokens = BTreeSet::new();
    for message in load.stream() {
        tokens.extend(message.trades.into_iter().map(|trade| trade.token));
        if tokens.len() >= load.options.tokens {
            break;
        }
    }
    let producer = Producer::new(load.broker, load.topic)?;
    let begin_ms = time::now_ms() / 1000 * 1000 - panes as i64 * 1000;
    let tokens: Vec<String> = tokens.into_iter().collect();
    let mut messages = 0;
    for second in 0..panes as i64 {
        let time_ms = begin_ms + second * 1000;
        for some in tokens.chunks(ARRAY) {
            let trades: Vec<Trade> = some.iter().map(|token| Trade::simple(token, time_ms)).collect();
            let partition = messages % load.options.partitions;
            let message = Message::array(partition, Some(time_ms), trades);
            producer.queue(&message)?;
            oracle.take_all([&message])?;
            messages += 1;
        }
        producer.poll();
    }
    producer.flush()
}

type Changes = (Instant, Vec<Swapped>, Held, Held);

fn swap_again_and_again(host: &Host, plugins: &PluginsDir, migrate: bool, swaps: u32) -> Result<Changes> {
    let name = if migrate { "hostile" } else { "sliding-window" };
    let before = held(host)?;
    let began = Instant::now();
    let mut swapped = Vec::new();
    for number in 1..=swaps {
        // Two versions in turn; where state is migrated, each reads what the one before has written.
        let component = if migrate { hostile(1 + number)? } else { variant(DEFAULT_COMPONENT, number % 2) };
        swapped.push(swap(host, plugins, name, &component, number)?);
        thread::sleep(REST);
    }
    thread::sleep(SETTLE);
    Ok((began, swapped, before, held(host)?))
}

fn swap(host: &Host, plugins: &PluginsDir, name: &str, component: &[u8], number: u32) -> Result<Swapped> {
    let path = format!("/plugins/{name}");
    let counted = format!("aggregator_plugin_swaps_total{{plugin=\"{name}\",result=\"swapped\"}}");
    let began = Instant::now();
    plugins.put(&format!("{name}.wasm"), component)?;
    let took = loop {
        if host.metric(&counted) == Some(f64::from(number)) {
            break began.elapsed();
        }
        ensure!(began.elapsed() < LIMIT, "swap {number} did not come: {}", host.get(&path)?.body);
        thread::sleep(LOOK_EVERY);
    };
    let accepted = wait::until("the swap to be accepted", LIMIT, || {
        let plugin = host.json(&path).ok()?;
        plugin["trial"].is_null().then(|| plugin["history"][0].clone())
    })?;
    if accepted["result"] != "swapped" {
        bail!("swap {number}: {accepted}");
    }
    let pause = |name: &str| accepted[name].as_f64().with_context(|| format!("a swap without {name}"));
    Ok(Swapped {
        took,
        longest_pause_ms: pause("longest_pause_ms")?,
        switch_pause_ms: pause("switch_pause_ms")?,
    })
}

fn held(host: &Host) -> Result<Held> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", host.pid()))?.count();
    Ok(Held { resident_bytes: process::resident_bytes(host.pid())?, descriptors })
}

/// In which buckets of a histogram of steps the 99th of a hundred and the longest lie.
fn steps(page: &str, histogram: &str) -> String {
    let bucket = |line: &str| {
        let bucket = line.strip_prefix(histogram)?.strip_prefix("_bucket{le=\"")?;
        let (bound, count) = bucket.split_once("\"} ")?;
        Some((bound.to_owned(), count.parse::<f64>().ok()?))
    };
    let buckets: Vec<(String, f64)> = page.lines().filter_map(bucket).collect();
    let count = buckets.last().map_or(0.0, |(_, count)| *count);
    let of = |share: f64| {
        let reached = buckets.iter().find(|(_, below)| *below >= share * count);
        reached.map_or("none", |(bound, _)| bound).to_owned()
    };
    format!("{count} steps, p99 up to {} s, longest up to {} s", of(0.99), of(1.0))
}

/// Waits until each token's row is what the oracle says at the T of that row.
fn assert_exact(oracle: &Oracle, redis: &RedisServer) -> Result<()> {
    let mut connection = redis.connect()?;
    for token in oracle.tokens() {
        let mut differences = Vec::new();
        let equal = wait::until_true("exact windows", LIMIT, || {
            match row_differences(oracle, &mut connection, token) {
                Ok(found) => differences = found,
                Err(error) => differences = vec![error.to_string()],
            }
            differences.is_empty()
        });
        ensure!(equal.is_ok(), "{token}: {differences:?}");
    }
    Ok(())
}

fn row_differences(oracle: &Oracle, connection: &mut redis::Connection, token: &str) -> Result<Vec<String>> {
    let row = results::read(connection, token, AGGREGATES, Encoding::Json)?.context("no results")?;
    let window = &oracle.windows()[0].name;
    let clock = row.cell(window, "last_update").and_then(|cell| cell.text()).context("no time")?.to_owned();
    let expected = oracle.values(token, time::parse_ms(&clock)?);
    Ok(compare::row_differences(oracle, &expected, Some(&clock), &row))
}

fn print(shape: Shape, seen: &[Seen], began: Instant, swapped: &[Swapped], [before, after]: [&Held; 2]) {
    let warm_at = seen.first().map(|first| first.sent_at + WARM_UP);
    let of = |wanted: &dyn Fn(&Seen) -> bool| -> Vec<f64> {
        seen.iter().filter(|one| wanted(one)).map(|one| one.latency_ms).collect()
    };
    let calm = of(&|one| Some(one.sent_at) >= warm_at && one.sent_at < began);
    let swapping = of(&|one| one.sent_at >= began);
    let quantiles = |figures: &[f64]| {
        let of = |share| table::quantile(figures.to_vec(), share).unwrap_or(f64::NAN);
        format!("p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms", of(0.5), of(0.99), of(1.0))
    };
    let each = |figure: fn(&Swapped) -> f64| quantiles(&swapped.iter().map(figure).collect::<Vec<_>>());
    let mib = |held: &Held| held.resident_bytes >> 20;
    println!("{shape:?}: {} swaps, all windows exact", swapped.len());
    println!(
        "  pause of a shard around its switch, longest of each swap: {}",
        each(|one| one.switch_pause_ms)
    );
    println!(
        "  pause of a shard at any time of a swap, longest of each: {}",
        each(|one| one.longest_pause_ms)
    );
    println!("  from the file to swapped: {}", each(|one| one.took.as_secs_f64() * 1000.0));
    println!("  produce to Redis, calm:           {}", table::latencies(&calm));
    println!("  produce to Redis, while swapping: {}", table::latencies(&swapping));
    println!(
        "  resident {} MiB before, {} MiB after; {} and {} descriptors",
        mib(before),
        mib(after),
        before.descriptors,
        after.descriptors
    );
}
