//! Several hosts that share a topic by token, each bound to one processor: what a further host adds.
//!
//! The invariant: all of them start before the first trade is read, into one empty Redis, and the oracle checks what
//! they wrote together.

use anyhow::{Context, Result};

use aggregator_tests::broker::Broker;
use aggregator_tests::host::Host;
use aggregator_tests::oracle::Oracle;
use aggregator_tests::paths;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::results::Encoding;
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::Shape;

use crate::drain::{LIMIT, Moment, check, fill, wait_trades};
use crate::{Options, Program};

/// Drains the topic with 1 host, then with 2, up to so many; prints a line for each.
pub(crate) fn measure(options: &Options, broker: &Broker, most: usize) -> Result<()> {
    let topic = broker.topic("hosts", options.partitions)?;
    let oracle = fill(options, broker, &topic, Shape::Singles)?;
    println!("| hosts, one processor each | trades/s | CPU-s per million | share of the busiest |");
    println!("|---|---|---|---|");
    for run in 0..options.runs {
        for count in 1..=most {
            let settings = options
                .settings(broker, &topic, Shape::Singles)
                .with("CLOCK", "event")
                .with("START_FROM", "earliest")
                .with("KAFKA_CONSUMER_GROUP", &format!("{topic}-{run}-{count}"));
            drain(options, &settings, count, &oracle).with_context(|| format!("{count} hosts"))?;
        }
    }
    Ok(())
}

fn drain(options: &Options, settings: &Settings, count: usize, oracle: &Oracle) -> Result<()> {
    let redis = RedisServer::start()?;
    let settings = settings.clone().with("REDIS_ADDR", &redis.address()).with("WORKERS", "1");
    let processors = std::thread::available_parallelism()?.get();
    let program = paths::aggregator()?.display().to_string();
    let bound = |host: usize| {
        let processor = (host % processors).to_string();
        Host::start_program("taskset".as_ref(), &["-c", &processor, &program], &settings)
    };
    let mut hosts = (0..count).map(bound).collect::<Result<Vec<Host>>>()?;
    let first = wait_trades(&hosts, 1.0)?;
    let last = wait_trades(&hosts, options.trades as f64)?;
    check(Program::Host, Shape::Singles, oracle, &redis, Encoding::Json)?;
    for host in &mut hosts {
        host.stop(LIMIT)?;
    }
    let seconds = last[0].at.duration_since(first[0].at).as_secs_f64();
    let sum = |figure: fn(&Moment) -> f64| {
        last.iter().map(figure).sum::<f64>() - first.iter().map(figure).sum::<f64>()
    };
    let trades = sum(|moment| moment.trades);
    let cpu_seconds = sum(|moment| moment.usage.cpu.as_secs_f64());
    let busiest = last.iter().map(|moment| moment.trades).fold(0.0, f64::max);
    println!(
        "| {count} | {:.2} M | {:.3} | {:.0} % |",
        trades / seconds / 1e6,
        cpu_seconds * 1e6 / trades,
        busiest / options.trades as f64 * 100.0
    );
    Ok(())
}
