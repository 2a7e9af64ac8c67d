//! `aggregator plugin bench`: what a trade and a flushed row cost, on the service's engine.
//!
//! One instance, one thread, batches as a busy shard gets them. Invariant: the same trades in every run; only the
//! plugin's calls are in the times.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aggregator_sdk::testing::Random;
use clap::Args;
use serde::Serialize;

use super::failure::Failure;
use super::{testing, workbench};
use crate::config::Config;
use crate::plugin::contract::{Batch, NewToken, OptionalColumns, TextColumnParam};
use crate::plugin::{Instance, PluginError};
use crate::trade::Texts;

/// Trades in a batch.
const BATCH: usize = 1_024;
/// Batches before the first one that counts.
const WARM_UP: usize = 50;
/// Batches that count.
const MEASURED: usize = 400;
/// How much later each batch is: 10,240 trades a second.
const BATCH_MS: i64 = 100;
/// When the first trade was made.
const BEGIN_MS: i64 = 1_772_366_400_000;
const FLUSH_ROWS: u32 = 256;

/// Measures a plugin.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// The component, or a crate's directory, which is built first.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The plugin's configuration. Without it: the .json beside the component, where there is one.
    #[arg(long)]
    config: Option<PathBuf>,
    /// How many tokens trade; a few of them most of the time.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tokens: u32,
    /// Fails where a trade costs more nanoseconds than this.
    #[arg(long)]
    max_ns: Option<f64>,
}

/// What was measured.
#[derive(Serialize)]
pub(super) struct Report {
    plugin: String,
    digest: String,
    trades: usize,
    tokens: u32,
    /// The median over batches.
    ns_per_trade: f64,
    /// The median over flushes.
    ns_per_row: f64,
    rows: usize,
    memory_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ns: Option<f64>,
}

impl Report {
    /// Fails where a trade is dearer than allowed.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        match self.max_ns {
            Some(max_ns) if self.ns_per_trade > max_ns => Err(Failure::Verdict(format!(
                "a trade costs {:.1} ns, more than the {max_ns} ns that are allowed",
                self.ns_per_trade
            ))),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {}", self.plugin, self.digest)?;
        writeln!(
            f,
            "  {:>9.1} ns a trade, {} trades of {} tokens",
            self.ns_per_trade, self.trades, self.tokens
        )?;
        writeln!(f, "  {:>9.1} ns a flushed row, {} rows", self.ns_per_row, self.rows)?;
        write!(f, "  {:>9.1} MiB of memory at the end", self.memory_bytes as f64 / f64::from(1 << 20))
    }
}

impl Bench {
    pub(super) fn run(&self, config: &Config) -> Result<Report, Failure> {
        let file = testing::component(&self.path)?;
        let loaded = workbench::load(config, &file, self.config.as_deref())?;
        let running = &loaded.running;
        let measured = self.measure(running).map_err(|error| Failure::Unusable(error.to_string()))?;
        Ok(Report {
            plugin: format!("{} {}", running.name(), running.plugin.description().version),
            digest: running.digest.to_string(),
            trades: MEASURED * BATCH,
            tokens: self.tokens,
            ns_per_trade: median(measured.trade_ns),
            ns_per_row: median(measured.row_ns),
            rows: measured.rows,
            memory_bytes: measured.memory_bytes,
            max_ns: self.max_ns,
        })
    }

    fn measure(&self, running: &crate::plugin::catalog::Running) -> Result<Measured, PluginError> {
        let (mut instance, _) = running.plugin.instantiate(&running.configuration)?;
        let mut market = Market::new(self.tokens, running.plugin.description().columns);
        let mut measured = Measured::default();
        for batch in 0..WARM_UP + MEASURED {
            let trades = market.batch(batch);
            let took = trades.give(&mut *instance)?;
            let (flush, rows) = flush(&mut *instance, market.now_ms, &mut market.known)?;
            if batch >= WARM_UP {
                measured.trade_ns.push(took.as_nanos() as f64 / BATCH as f64);
                measured.rows += rows;
                if rows > 0 {
                    measured.row_ns.push(flush.as_nanos() as f64 / rows as f64);
                }
            }
        }
        measured.memory_bytes = instance.memory_bytes();
        Ok(measured)
    }
}

#[derive(Default)]
struct Measured {
    trade_ns: Vec<f64>,
    row_ns: Vec<f64>,
    rows: usize,
    memory_bytes: usize,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn flush(
    instance: &mut dyn Instance,
    clock_ms: i64,
    known: &mut [bool],
) -> Result<(Duration, usize), PluginError> {
    let (mut took, mut rows) = (Duration::ZERO, 0);
    loop {
        let began = Instant::now();
        let table = instance.flush(clock_ms, FLUSH_ROWS)?;
        took += began.elapsed();
        rows += table.tokens.len();
        for &token in &table.forgotten {
            known[token as usize] = false;
        }
        if !table.more {
            return Ok((took, rows));
        }
    }
}

/// Where the trades come from.
struct Market {
    random: Random,
    columns: OptionalColumns,
    /// Tokens that the plugin knows.
    known: Vec<bool>,
    texts: Vec<String>,
    now_ms: i64,
}

impl Market {
    fn new(tokens: u32, columns: OptionalColumns) -> Self {
        let texts = (0..tokens).map(|token| format!("{token:044}")).collect();
        Self { random: Random::new(1), columns, known: vec![false; tokens as usize], texts, now_ms: BEGIN_MS }
    }

    /// The trades of the next batch, those of one token side by side.
    fn batch(&mut self, number: usize) -> Trades {
        self.now_ms = BEGIN_MS + number as i64 * BATCH_MS;
        let tokens = self.texts.len() as f64;
        let mut trades = Trades::default();
        for _ in 0..BATCH {
            // The third power has a tenth of the tokens trade half of the time.
            let even = self.random.below(1 << 20) as f64 / f64::from(1 << 20);
            trades.tokens.push((tokens * even.powi(3)) as u32);
        }
        trades.tokens.sort_unstable();
        for &token in &trades.tokens {
            if !std::mem::replace(&mut self.known[token as usize], true) {
                trades.new_tokens.push((token, self.texts[token as usize].clone()));
            }
            let random = &mut self.random;
            // Block times are whole seconds.
            trades.times_ms.push((self.now_ms - random.below(2_000).cast_signed()) / 1_000 * 1_000);
            trades.sides.push(u8::from(random.once_in(2)));
            trades.natives.push(random.below(5_000_000_000).cast_signed());
            trades.amounts.push(random.below(1_000_000) as f64 / 1_000.0);
            trades.prices.push(random.below(1_000_000) as f64 / 1e6);
            let wallet = random.below(20_000);
            if self.columns.contains(OptionalColumns::WALLET) {
                trades.wallets.push(format!("{wallet:044}").as_bytes());
            }
            if self.columns.contains(OptionalColumns::WALLET_HASH) {
                trades.wallet_hashes.push(wallet.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            }
            if self.columns.contains(OptionalColumns::TX_HASH) {
                trades.tx_hashes.push(format!("{:088}", random.next_u64()).as_bytes());
            }
        }
        trades
    }
}

/// The trades of a batch as columns.
#[derive(Default)]
struct Trades {
    new_tokens: Vec<(u32, String)>,
    tokens: Vec<u32>,
    times_ms: Vec<i64>,
    sides: Vec<u8>,
    natives: Vec<i64>,
    amounts: Vec<f64>,
    prices: Vec<f64>,
    wallets: Texts,
    wallet_hashes: Vec<u64>,
    tx_hashes: Texts,
}

impl Trades {
    /// Gives them to an instance, and says how long it took.
    fn give(&self, instance: &mut dyn Instance) -> Result<Duration, PluginError> {
        let new_tokens: Vec<NewToken<'_>> =
            self.new_tokens.iter().map(|(id, text)| NewToken { id: *id, text }).collect();
        let batch = Batch {
            new_tokens: &new_tokens,
            tokens: &self.tokens,
            times_ms: &self.times_ms,
            sides: &self.sides,
            natives: &self.natives,
            amounts: &self.amounts,
            prices: &self.prices,
            wallets: TextColumnParam { bytes: &self.wallets.bytes, ends: &self.wallets.ends },
            wallet_hashes: &self.wallet_hashes,
            tx_hashes: TextColumnParam { bytes: &self.tx_hashes.bytes, ends: &self.tx_hashes.ends },
        };
        let began = Instant::now();
        instance.process(batch)?;
        Ok(began.elapsed())
    }
}
