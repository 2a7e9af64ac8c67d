//! Prints what the window engine costs with the default plugin's pane, natively.
//!
//! Not a test: numbers depend on the machine, ratios inside one run count. The invariant: input is
//! seeded, so that two runs do the same work.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::hint::black_box;

use aggregator_sdk::testing::Random;
use aggregator_sdk::windows::Windows;
use aggregator_sdk::{Engine, Side, Trade};
use sliding_window::Candle;

const TOKENS: u32 = 500;
const START_MS: i64 = 1_772_366_400_000;

fn main() {
    let five = "1min,5min,15min,30min,1hour";
    let fifty: Vec<_> = (1..=50).map(|n| format!("{}s", n * 72)).collect();
    let fifty = fifty.join(",");
    carrying(five);
    adding(five);
    adding(&fifty);
    for windows in [five, &fifty, "1min,5min,15min,30min,24h"] {
        settling(windows);
    }
    many_tokens(five);
}

fn engine(windows: &str) -> Engine<Candle> {
    match Windows::parse(windows, 1000) {
        Ok(windows) => Engine::new(&windows),
        Err(error) => panic!("{error}"),
    }
}

fn trade(random: &mut Random, time_ms: i64) -> Trade<'static> {
    Trade {
        time_ms,
        offset_ms: 0,
        side: if random.once_in(2) { Side::Sell } else { Side::Buy },
        native: random.below(2_000_000_000).cast_signed(),
        amount: random.below(1_000_000_000) as f64 / 1000.0,
        price: random.below(1_000_000) as f64 / 1e9,
        wallet: "",
        wallet_hash: 0,
        tx_hash: "",
    }
}

/// A token by Zipf's law, by inversion of its continuous form.
fn zipf(random: &mut Random) -> u32 {
    let uniform = random.below(1 << 53) as f64 / (1u64 << 53) as f64;
    (f64::from(TOKENS + 1).powf(uniform) - 1.0) as u32
}

fn adding(windows: &str) {
    let mut random = Random::new(1);
    let mut engine = engine(windows);
    (0..TOKENS).for_each(|token| engine.announce(token));
    let count = windows.split(',').count();
    let batch: Vec<_> =
        (0..1_000_000).map(|n| (zipf(&mut random), trade(&mut random, START_MS + n / 40))).collect();
    let mut grouped = batch.clone();
    grouped.chunks_mut(1024).for_each(|chunk| chunk.sort_by_key(|(token, _)| *token));
    // Time goes on from the first kind of batch to the second.
    for (name, batch, rounds) in
        [("as they come", batch, 0..3), ("grouped by token in 1,024s", grouped, 3..6)]
    {
        let mut best = f64::MAX;
        for round in rounds {
            let began_ns = cpu_ns();
            for (token, trade) in &batch {
                let mut trade = *trade;
                trade.time_ms += round * 25_000;
                engine.add(*token, trade);
            }
            best = best.min((cpu_ns() - began_ns) / batch.len() as f64);
            black_box(engine.flush(START_MS + round * 25_000, u32::MAX));
        }
        println!("{count} windows: {best:.1} ns a trade, {name}");
    }
}

/// Fills every token with a trade a second over the given seconds.
fn dense(windows: &str, seconds: i64) -> Engine<Candle> {
    let mut random = Random::new(2);
    let mut engine = engine(windows);
    for token in 0..TOKENS {
        engine.announce(token);
    }
    for second in 0..seconds {
        let time_ms = START_MS + second * 1000;
        for token in 0..TOKENS {
            engine.add(token, trade(&mut random, time_ms));
        }
        if second % 10 == 0 {
            black_box(engine.flush(time_ms, u32::MAX));
        }
    }
    engine
}

fn settling(windows: &str) {
    let seconds = if windows.contains("24h") { 10_800 } else { 3_600 };
    let mut engine = dense(windows, seconds);
    let mut random = Random::new(3);
    let (mut spent_ns, mut rows) = (0.0, 0);
    for flush in 0..600 {
        let time_ms = START_MS + seconds * 1000 + flush * 200;
        for token in 0..TOKENS {
            engine.add(token, trade(&mut random, time_ms));
        }
        let began_ns = cpu_ns();
        rows += black_box(engine.flush(time_ms, u32::MAX)).tokens.len();
        spent_ns += cpu_ns() - began_ns;
    }
    println!(
        "{} windows, a trade a second for {seconds} s: {:.0} ns a flushed token; resident {} MB",
        windows.split(',').count(),
        spent_ns / rows as f64,
        resident_mb(),
    );
}

fn carrying(windows: &str) {
    let mut engine = dense(windows, 1_500);
    let began_ns = cpu_ns();
    let page = engine.export(0, 0, u32::MAX);
    let exported_ns = cpu_ns() - began_ns;
    let mut other = self::engine(windows);
    let began_ns = cpu_ns();
    if let Err(words) = other.import(&[], &page.entries, &page.removed) {
        panic!("{words}");
    }
    println!(
        "{TOKENS} tokens x 1,500 panes: export {:.1} ms, import {:.1} ms, {:.1} bytes a pane",
        exported_ns / 1e6,
        (cpu_ns() - began_ns) / 1e6,
        page.entries.bytes.len() as f64 / f64::from(TOKENS) / 1_500.0,
    );
}

fn many_tokens(windows: &str) {
    let before = resident_mb();
    let mut random = Random::new(4);
    let mut engine = engine(windows);
    let tokens = 1_000_000;
    let mut worst_ms: f64 = 0.0;
    for second in 0..3_600 {
        let time_ms = START_MS + second * 1000;
        for _ in 0..tokens * 5 / 3_600 {
            let token = random.below(tokens) as u32;
            engine.announce(token);
            engine.add(token, trade(&mut random, time_ms));
        }
        let began_ns = cpu_ns();
        black_box(engine.flush(time_ms, u32::MAX));
        worst_ms = worst_ms.max((cpu_ns() - began_ns) / 1e6);
    }
    println!(
        "{} tokens with 5 trades in the hour: {} MB, worst flush {worst_ms:.1} ms",
        engine.tokens(),
        resident_mb() - before
    );
}

/// Resident memory of this process; 0 where the system does not tell.
fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    kilobytes.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Time that this thread has run, since wall time tells of the neighbours too.
fn cpu_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let running = text.split_whitespace().next();
    running.and_then(|text| text.parse().ok()).unwrap_or(0.0)
}
