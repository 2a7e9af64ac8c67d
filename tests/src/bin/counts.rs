//! Instructions for each trade and each row, counted by callgrind: figures that a noisy machine does not change.
//!
//! Decoding, folding and flushing run natively on a fixed stream. The program runs itself below valgrind for each of
//! them and compares with `tests/counts.txt`; `--bless` writes that file. The invariant: only the measured function is
//! counted, with all that it calls.
#![allow(clippy::print_stdout, reason = "figures are what this program is for")]

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::process::Command;

use aggregator::config::Encoding;
use aggregator::results::Schema;
use aggregator::trade::{Decoder, Limits, Optional, Rows};
use aggregator_sdk::{PanePlugin, Plugin as _, contract as sdk};
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use aggregator_tests::{native, paths};
use anyhow::{Context, Result, ensure};
use clap::Parser;
use sliding_window::Candle;

type Engine = PanePlugin<Candle>;

const TRADES: usize = 50_000;
const TOKENS: usize = 500;
/// By how much a count may rise before it is a regression. Routines of the C library differ from processor to processor.
const TOLERANCE: f64 = 1.15;
const CONFIGURATION: &str = r#"{"windows": "1min,5min,15min,30min,1hour"}"#;
/// What is counted, with the name of the function and what it is told by.
const COUNTED: [(&str, &str); 3] = [("decode", "trade"), ("fold", "trade"), ("flush", "row")];

/// Counts instructions and compares them with those on record.
#[derive(Debug, Parser)]
struct Arguments {
    /// Writes what was counted as the new record.
    #[arg(long)]
    bless: bool,
    /// Runs one function without counting, and prints how many trades or rows it saw.
    #[arg(long, hide = true)]
    run: Option<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.run {
        println!("{}", run(name)?);
        return Ok(());
    }
    let record = paths::workspace().join("tests/counts.txt");
    let before = fs::read_to_string(&record).unwrap_or_default();
    let (mut after, mut worse) = (String::new(), Vec::new());
    for (name, unit) in COUNTED {
        let counted = count(name)?;
        let known =
            before.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
        let known: f64 = known.unwrap_or(f64::INFINITY);
        println!("{name:<8} {counted:>8.0} instructions a {unit}, {:.3} x the record", counted / known);
        writeln!(after, "{name} {counted:.0} instructions a {unit}")?;
        if !arguments.bless && counted > known * TOLERANCE {
            worse.push(format!("{name}: {counted:.0} instead of {known:.0}"));
        }
    }
    if arguments.bless || before.is_empty() {
        fs::write(&record, after)?;
    }
    ensure!(
        worse.is_empty(),
        "more instructions than on record: {worse:?}; if that is meant: tests/counts --bless"
    );
    Ok(())
}

/// Instructions of one function for each trade or row.
fn count(name: &str) -> Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=counts::{name}*"))
        .arg(std::env::current_exe()?)
        .args(["--run", name])
        .output()
        .context("starting valgrind; tests/counts installs it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind: {said}");
    let collected =
        said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<f64>().ok());
    let collected = collected.with_context(|| format!("nothing was counted: {said}"))?;
    let seen: f64 =
        String::from_utf8_lossy(&output.stdout).trim().parse().context("no number of trades or rows")?;
    ensure!(collected > 0.0 && seen > 0.0, "{name}: {collected} instructions for {seen}");
    Ok(collected / seen)
}

/// Runs one of them; gives how many trades or rows it saw.
fn run(name: &str) -> Result<usize> {
    let messages: Vec<Message> = Stream::new(&Options {
        tokens: TOKENS,
        whole_seconds: true,
        ..Options::new(1, Shape::Arrays, TRADES)
    })
    .collect();
    let mut rows = Rows::new();
    let limits = Limits { max_future_ms: 300_000, max_message_bytes: 8 << 20 };
    let mut decoder = Decoder::new(limits, Optional::default());
    decode(&mut decoder, &messages, &mut rows);
    ensure!(rows.len() == TRADES, "{} trades were decoded", rows.len());
    match name {
        "decode" => Ok(rows.len()),
        _ => fold_or_flush(name, &rows),
    }
}

fn fold_or_flush(name: &str, rows: &Rows) -> Result<usize> {
    let (mut engine, settings) = Engine::configure(CONFIGURATION).map_err(anyhow::Error::msg)?;
    let schema = Schema::new(&native::description(Engine::describe()), &native::settings(settings))?;
    let batch = batch(rows);
    let newest_ms = rows.times_ms.iter().copied().max().context("no trades")?;
    if name == "fold" {
        fold(&mut engine, &batch);
        return Ok(rows.len());
    }
    engine.process(&batch);
    // The first time all panes enter their windows; from then on a row costs what it costs while nothing else happens.
    write_rows(&mut engine, &schema, newest_ms);
    engine.touch(None);
    Ok(flush(&mut engine, &schema, newest_ms))
}

/// The trades as the plugin gets them, each token's together.
fn batch(rows: &Rows) -> sdk::Batch {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&row| rows.token[row]);
    let mut batch = sdk::Batch::default();
    for token in 0..rows.tokens.len() as u32 {
        batch.new_tokens.push(sdk::NewToken { id: token, text: rows.tokens.text(token).to_owned() });
    }
    for row in order {
        batch.tokens.push(rows.token[row]);
        batch.times_ms.push(rows.times_ms[row]);
        batch.sides.push(rows.sides[row]);
        batch.natives.push(rows.natives[row]);
        batch.amounts.push(rows.amounts[row]);
        batch.prices.push(rows.prices[row]);
    }
    batch
}

#[inline(never)]
fn decode(decoder: &mut Decoder, messages: &[Message], rows: &mut Rows) {
    let mut rejected = Vec::new();
    for message in messages {
        let now_ms = message.timestamp_ms.unwrap_or_default();
        decoder.decode(&message.payload, 0, message.timestamp_ms, now_ms, rows, &mut rejected);
    }
    black_box(&rejected);
}

#[inline(never)]
fn fold(engine: &mut Engine, batch: &sdk::Batch) {
    engine.process(black_box(batch));
}

#[inline(never)]
fn flush(engine: &mut Engine, schema: &Schema, clock_ms: i64) -> usize {
    write_rows(engine, schema, clock_ms)
}

fn write_rows(engine: &mut Engine, schema: &Schema, clock_ms: i64) -> usize {
    let (mut value, mut rows) = (Vec::new(), 0);
    loop {
        let table = native::table(engine.flush(clock_ms, 4_096));
        for row in 0..table.tokens.len() {
            value.clear();
            schema.encode_row(Encoding::Json, &table, row, clock_ms, &mut value);
            black_box(&value);
        }
        rows += table.tokens.len();
        if !table.more {
            return rows;
        }
    }
}
