//! The whole picture: how the cost of a trade changes with everything that it may depend on, and what a host costs
//! and how soon its results are seen when it has little to do.
//!
//! The invariant: each line differs in one thing from the first line of its shape, and stands beside the native baseline
//! of the same run where that does the same job.

use anyhow::Result;

use aggregator_tests::broker::Broker;
use aggregator_tests::stream::Shape;

use crate::drain::Drained;
use crate::{Options, Program, drain, latency, quiet, table};

/// What is measured in one line.
struct Case {
    name: &'static str,
    shape: Shape,
    change: fn(&mut Options),
}

/// Arrays with one thing changed.
const fn case(name: &'static str, change: fn(&mut Options)) -> Case {
    Case { name, shape: Shape::Arrays, change }
}

const CASES: [Case; 16] = [
    case("arrays, unkeyed", |_| ()),
    Case { name: "single objects, keyed", shape: Shape::Singles, change: |_| () },
    case("3 plugins", |options| options.plugins = 3),
    case("1 window", |options| options.windows = "5min".to_owned()),
    case("50 windows", |options| options.windows = fifty_windows()),
    case("a day of trades, window of 1 min", |options| of_a_day(options, "1min")),
    case("a day of trades, window of 24 h", |options| of_a_day(options, "24hour")),
    case("50,000 tokens", |options| of_many_tokens(options, 50_000)),
    case("1,000,000 tokens", |options| of_many_tokens(options, 1_000_000)),
    case("1 partition", |options| options.partitions = 1),
    case("12 partitions", |options| options.partitions = 12),
    case("results as MessagePack", |options| options.set("OUTPUT_ENCODING=msgpack")),
    case("no checkpoints", |options| options.set("CHECKPOINT_INTERVAL=0")),
    case("checkpoints each second", |options| options.set("CHECKPOINT_INTERVAL=1s")),
    Case { name: "keyed, 12 partitions", shape: Shape::Singles, change: |options| options.partitions = 12 },
    case("arrays, repartitioned", repartitioned),
];

/// The rates at which latency is measured, in trades a second.
const RATES: [u64; 3] = [1_000, 10_000, 50_000];
/// What can matter most, as the path of its route ends.
const MODES: [&str; 3] = ["latency", "balanced", "throughput"];

/// Windows of 1 to 50 minutes.
fn fifty_windows() -> String {
    (1..=50).map(|minutes| format!("{minutes}min")).collect::<Vec<_>>().join(",")
}

/// Without the baseline: it writes all rows of a flush before it reads on, so that it does another job when there are
/// more of them than Redis takes in that time.
fn of_many_tokens(options: &mut Options, tokens: usize) {
    options.tokens = tokens;
    options.programs = vec![Program::Host];
}

/// Without the baseline, which reads the topic once.
fn repartitioned(options: &mut Options) {
    options.set("PARTITIONING=repartition");
    options.programs = vec![Program::Host];
}

/// The stream's trades spread over a day.
fn of_a_day(options: &mut Options, windows: &str) {
    options.event_rate = (options.trades as u64 / 86_400).max(1);
    options.windows = windows.to_owned();
}

/// Measures everything and prints one table.
pub(crate) fn measure(options: &Options, broker: &Broker) -> Result<()> {
    let mut lines = Vec::new();
    for case in &CASES {
        let mut of_case = options.clone();
        (case.change)(&mut of_case);
        of_case.programs.retain(|program| *program != Program::NativeHost);
        println!("== {}", case.name);
        let medians = drain::measure(&of_case, broker, case.shape)?;
        lines.push(drained_line(case.name, &medians));
    }
    for rate in RATES {
        for mode in MODES {
            println!("== {rate} trades/s, {mode}");
            let seen = latency::of_mode(options, broker, rate, mode)?;
            lines.push(format!(
                "| produce to Redis at {rate} trades/s, {mode} | {} |",
                table::latencies(&seen)
            ));
        }
    }
    lines.push(quiet::idle(options, broker)?);
    lines.push(quiet::starts(options, broker)?);
    println!("\n| drain | trades/s | CPU-s per million | peak MiB | rows/s | throughput | CPU | memory |");
    println!("|---|---|---|---|---|---|---|---|");
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// The host's figures, and its ratios to the baseline.
fn drained_line(name: &str, medians: &[(Program, Drained)]) -> String {
    let of = |wanted: Program| medians.iter().find(|(program, _)| *program == wanted).map(|(_, one)| one);
    let (Some(host), baseline) = (of(Program::Host), of(Program::Baseline)) else {
        return format!("| {name} | no run counts |");
    };
    let ratio = |figure: fn(&Drained) -> f64| {
        baseline
            .map_or_else(|| "-".to_owned(), |baseline| format!("{:.2} x", figure(host) / figure(baseline)))
    };
    format!(
        "| {name} | {:.2} M | {:.3} | {:.0} | {:.0} | {} | {} | {} |",
        host.trades_per_second / 1e6,
        host.cpu_seconds_per_million,
        host.peak_resident_mib,
        host.rows_per_second,
        ratio(|one| one.trades_per_second),
        ratio(|one| one.cpu_seconds_per_million),
        ratio(|one| one.peak_resident_mib)
    )
}
