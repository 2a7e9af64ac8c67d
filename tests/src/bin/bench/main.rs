//! The benchmark: how fast the release host empties a full topic, beside a bare native program and beside itself with
//! its plugin linked natively, how long a trade takes to be seen, what swaps of the plugin cost under load, and how all
//! that changes with the number of tokens, windows, plugins and partitions.
//!
//! Not a timed test: it prints one table and judges nothing but exactness, and whether a run counts. Ratios between the
//! programs of one run are what matters; absolute figures depend on the machine. The invariant: every program reads the
//! same bytes with the same settings into an empty Redis, and the same oracle checks what it wrote.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a benchmark is for")]

mod drain;
mod grid;
mod hosts;
mod latency;
mod probe;
mod quiet;
mod swaps;
mod table;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};

use aggregator_tests::broker::{self, Broker};
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::Shape;

/// Measures the release build of the aggregator against native programs.
#[derive(Debug, Clone, Parser)]
struct Options {
    /// How many trades the topic holds.
    #[arg(long, default_value_t = 3_000_000)]
    trades: usize,
    /// How often each program drains it.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Arrays without a key (shuffle), single objects keyed by token (by-token), or both.
    #[arg(long, value_enum, default_value_t = Shapes::Both)]
    shape: Shapes,
    /// How many tokens trade, by Zipf's law.
    #[arg(long, default_value_t = 500)]
    tokens: usize,
    /// Over how many partitions.
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// How many trades lie in one second of event time.
    #[arg(long, default_value_t = 1_000)]
    event_rate: u64,
    /// The windows of all programs.
    #[arg(long, default_value = "1min,5min,15min,30min,1hour")]
    windows: String,
    /// How many plugins the host runs: 1 to 3 of the default one, `vwap` and `traders`.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    plugins: u8,
    /// Decides the stream.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leaves out programs that are not named, as `host,baseline`.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Program::Host, Program::Baseline, Program::NativeHost])]
    programs: Vec<Program>,
    /// A further variable for the host and the native host, as `NAME=VALUE`; may be repeated.
    #[arg(long = "env")]
    variables: Vec<String>,
    /// Measures everything of which there are figures but swaps, and prints one table.
    #[arg(long)]
    grid: bool,
    /// Instead: keyed single objects shared among 1 host, 2 hosts and so on, each bound to one processor.
    #[arg(long, value_name = "MOST")]
    hosts: Option<usize>,
    /// Instead of draining: so many trades a second for some time on the wall clock.
    #[arg(long, value_name = "RATE")]
    latency: Option<u64>,
    /// What matters most to the host meanwhile, as in `POST /performance/optimize`: latency, balanced, throughput.
    #[arg(long)]
    mode: Option<String>,
    /// How long that load lasts, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Instead of draining: under that load (20,000 trades a second where none is named) so many swaps of the plugin.
    #[arg(long, value_name = "COUNT")]
    swaps: Option<u32>,
    /// How many panes of state each token has before them, one a second.
    #[arg(long, default_value_t = 1_500)]
    panes: u64,
    /// Swaps a second plugin instead, each version of which reads what the one before it wrote.
    #[arg(long)]
    migrate: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shapes {
    Arrays,
    Singles,
    Both,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Program {
    /// The service.
    Host,
    /// The bare native program.
    Baseline,
    /// The service with its plugin linked natively.
    NativeHost,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Baseline => "baseline",
            Self::NativeHost => "native-host",
        }
    }
}

impl Options {
    /// Sets a further variable for the host and the native host.
    fn set(&mut self, variable: &str) {
        self.variables.push(variable.to_owned());
    }

    fn shapes(&self) -> &'static [Shape] {
        match self.shape {
            Shapes::Arrays => &[Shape::Arrays],
            Shapes::Singles => &[Shape::Singles],
            Shapes::Both => &[Shape::Arrays, Shape::Singles],
        }
    }

    /// What all programs are told; everything else is the service's default.
    fn settings(&self, broker: &Broker, topic: &str, shape: Shape) -> Settings {
        let partitioning = if shape == Shape::Singles { "by-token" } else { "shuffle" };
        let settings = Settings::none()
            .with("KAFKA_BROKERS", broker.address())
            .with("KAFKA_TOPIC", topic)
            .with("KAFKA_CONSUMER_GROUP", topic)
            .with("PARTITIONING", partitioning)
            .with("TIME_WINDOWS", &self.windows);
        self.variables
            .iter()
            .filter_map(|variable| variable.split_once('='))
            .fold(settings, |all, (name, value)| all.with(name, value))
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    // Hosts that start together are to share the topic from its first trade on.
    let gather_ms = if options.hosts.is_some() { 3_000 } else { 0 };
    let broker = Broker::start(&broker::Options { measured: true, gather_ms, ..broker::Options::default() })?;
    if let Some(most) = options.hosts {
        return hosts::measure(&options, &broker, most);
    }
    if options.grid {
        return grid::measure(&options, &broker);
    }
    for &shape in options.shapes() {
        match (options.swaps, options.latency) {
            (Some(swaps), _) => swaps::measure(&options, &broker, shape, swaps)?,
            (None, Some(rate)) => latency::measure(&options, &broker, shape, rate)?,
            (None, None) => {
                let medians = drain::measure(&options, &broker, shape)?;
                ensure!(!medians.is_empty(), "no run counts");
                table::print(shape, &medians);
            }
        }
    }
    Ok(())
}
