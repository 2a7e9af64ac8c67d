//! The numbers that stand at the top, as on the page.
//!
//! Invariant: what the host does not say is a dash.

use ratatui::style::Color;
use serde_json::Value;

use super::reading::Reading;
use super::screen::clean;
use crate::figure;

pub(super) const NONE: &str = "–";

/// A number with its name and what belongs to it.
pub(super) struct Tile {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) sub: String,
    /// None where it is as usual.
    pub(super) color: Option<Color>,
}

/// All of them, in their order.
pub(super) fn of(reading: &Reading) -> [Tile; 10] {
    let write = &reading.metrics["redis_operations"];
    [
        trades(&reading.metrics["trade_processing"]),
        latency("Batch", "batch", &reading.performance["latency"], 0.0),
        latency(
            "Write",
            "write",
            &reading.performance["latency"],
            100.0 - write["success_rate"].as_f64().unwrap_or(100.0),
        ),
        lag(Reading::list(&reading.partitions, "partitions")),
        worst("Clock behind", "clock_lag_seconds", reading),
        worst("Checkpoint", "checkpoint_age_seconds", reading),
        pressure(&reading.performance["runtime"]),
        tokens(reading),
        memory(&reading.performance["memory"]),
        rejected(reading),
    ]
}

fn tile(name: &'static str, value: String, sub: String) -> Tile {
    Tile { name, value, sub, color: None }
}

fn trades(trades: &Value) -> Tile {
    let rate = trades["processing_rate_per_sec"].as_f64().map_or_else(none, figure::rate);
    let all = trades["total_processed"].as_u64().map_or_else(none, figure::count);
    tile("Trades/s", rate, format!("{all} in all"))
}

fn latency(name: &'static str, of: &str, latency: &Value, failed: f64) -> Tile {
    let time = |value: &Value| value.as_f64().map_or_else(none, |ms| figure::short_span(ms * 1e6));
    let average = time(&latency[format!("{of}_ms")]);
    match failed > 0.0 {
        true => Tile { color: Some(Color::Red), ..tile(name, average, format!("{failed:.1} % failed")) },
        false => {
            tile(name, average, format!("99 % within {}", time(&latency[format!("{of}_p99_at_most_ms")])))
        }
    }
}

fn lag(partitions: &[Value]) -> Tile {
    let lag: u64 = partitions.iter().filter_map(|partition| partition["lag"].as_u64()).sum();
    let behind = partitions.iter().filter(|partition| partition["state"] == "behind").count();
    let sub = format!("{behind} of {} behind", partitions.len());
    Tile { color: (behind > 0).then_some(Color::Yellow), ..tile("Lag", figure::count(lag), sub) }
}

/// The largest of all shards.
fn worst(name: &'static str, field: &str, reading: &Reading) -> Tile {
    let shards = Reading::list(&reading.partitions, "shards");
    let worst = shards.iter().filter_map(|shard| shard[field].as_f64()).reduce(f64::max);
    tile(name, worst.map_or_else(none, figure::span), format!("worst of {} shards", shards.len()))
}

fn pressure(runtime: &Value) -> Tile {
    let word = runtime["backpressure"].as_str().unwrap_or(NONE);
    let color = match word {
        "OK" => Some(Color::Green),
        "LOW" => Some(Color::Yellow),
        "HIGH" => Some(Color::Red),
        _ => None,
    };
    let busy = Reading::list(runtime, "worker_utilisation").iter().filter_map(Value::as_f64);
    let sub = format!("busiest worker {:.0} %", busy.fold(0.0, f64::max) * 100.0);
    Tile { color, ..tile("Back-pressure", clean(word, 8), sub) }
}

fn tokens(reading: &Reading) -> Tile {
    let rows = reading.metrics["aggregation_calculation"]["calculation_rate_per_sec"].as_f64();
    let sub = format!("{} rows/s written", rows.map_or_else(none, figure::rate));
    tile("Tokens", figure::count(reading.active_tokens), sub)
}

fn memory(memory: &Value) -> Tile {
    let bytes =
        |value: &Value| value.as_f64().map_or_else(none, |mib| figure::bytes((mib * 1_048_576.0) as u64));
    let sub = format!("{} kept for plugins", bytes(&memory["plugin_memory_mb"]));
    tile("Memory", bytes(&memory["resident_mb"]), sub)
}

fn rejected(reading: &Reading) -> Tile {
    let Some(reasons) = &reading.rejected else {
        return tile("Rejected", none(), "METRICS_ENABLED=false".to_owned());
    };
    let all: f64 = reasons.iter().map(|(_, count)| count).sum();
    let most = reasons.iter().max_by(|one, other| one.1.total_cmp(&other.1));
    let sub = most.map_or_else(|| "none".to_owned(), |(reason, _)| format!("most: {}", clean(reason, 16)));
    tile("Rejected", figure::count(all as u64), sub)
}

/// What stands where the host says nothing.
pub(super) fn none() -> String {
    NONE.to_owned()
}
