//! The numbers that an operator looks at first.
//!
//! Invariant: rates and averages are over the last ten seconds; what has not happened in them is a dash, not a zero.

use super::markup::{append, escaped};
use crate::figure;
use crate::http::State;
use crate::metrics::Process;
use crate::metrics::pressure::Backpressure;
use crate::trade::Reason;

/// From so far behind on, a clock is worth a look.
const CLOCK_BEHIND_S: f64 = 10.0;
pub(super) const NONE: &str = "–";

/// One number.
struct Tile {
    name: &'static str,
    /// What it means.
    title: &'static str,
    value: String,
    unit: &'static str,
    /// What belongs to it.
    sub: String,
    tone: &'static str,
}

/// Draws them.
pub(super) fn draw(state: &State) -> String {
    let tiles = [
        trades(state),
        batch(state),
        write(state),
        lag(state),
        clock(state),
        checkpoint(state),
        pressure(state),
        tokens(state),
        memory(state),
        rejected(state),
    ];
    let mut out = "<dl class=\"card tiles\">".to_owned();
    for Tile { name, title, value, unit, sub, tone } in tiles {
        let unit = if unit.is_empty() { String::new() } else { format!(" <small>{unit}</small>") };
        append(
            &mut out,
            format_args!(
                "<div title=\"{title}\"><dt>{name}</dt><dd class=\"value {tone}\">{value}{unit}</dd>\
                 <dd class=\"sub\">{}</dd></div>",
                escaped(&sub)
            ),
        );
    }
    out.push_str("</dl>");
    out
}

fn tile(name: &'static str, title: &'static str, value: String, sub: String) -> Tile {
    Tile { name, title, value, unit: "", sub, tone: "" }
}

fn trades(state: &State) -> Tile {
    let rate = figure::rate(state.metrics.recent().per_second(|sample| sample.trades));
    let sub = format!("{} since the start", figure::count(state.metrics.trades.get()));
    Tile { unit: "/s", ..tile("Trades", "Trades counted, over the last 10 s", rate, sub) }
}

fn batch(state: &State) -> Tile {
    let recent = state.metrics.recent();
    let batches = recent.now.batches - recent.before.batches;
    let average = recent.average_ms(|sample| sample.batch_seconds, |sample| sample.batches);
    let title = "From taking a batch to all its trades counted, on average over the last 10 s";
    tile("Batch", title, milliseconds(batches, average), bound(state.metrics.slowest_s().0))
}

fn write(state: &State) -> Tile {
    let recent = state.metrics.recent();
    let calls = recent.now.store_calls - recent.before.store_calls;
    let average = recent.average_ms(|sample| sample.store_seconds, |sample| sample.store_calls);
    let failed = 100.0 - recent.success_percent();
    let title = "One call of the store, on average over the last 10 s";
    let usual = tile("Write", title, milliseconds(calls, average), bound(state.metrics.slowest_s().1));
    match failed > 0.0 {
        true => Tile { sub: format!("{failed:.1} % failed"), tone: "bad", ..usual },
        false => usual,
    }
}

fn lag(state: &State) -> Tile {
    let partitions = state.board.partitions();
    let known: Vec<i64> = partitions.values().filter_map(|status| status.lag()).collect();
    let behind = partitions.values().filter(|status| status.state == "behind").count();
    let sub = match (partitions.len(), behind) {
        (0, _) => "no partition".to_owned(),
        (all, 0) => format!("{all} partitions, all live"),
        (all, behind) => format!("{behind} of {all} partitions behind"),
    };
    let sum: i64 = known.iter().sum();
    let value = if known.is_empty() { NONE.to_owned() } else { figure::count(sum.unsigned_abs()) };
    let title = "Records that are not yet aggregated and written";
    Tile { tone: if behind > 0 { "warn" } else { "" }, ..tile("Lag", title, value, sub) }
}

fn clock(state: &State) -> Tile {
    let shards = state.board.shards();
    let behind = |ms: i64| state.behind_seconds(ms);
    let slowest = shards.values().filter_map(|shard| shard.clock_ms.map(behind)).reduce(f64::max);
    let title = "How far the clock of the slowest shard, by which its windows move, is behind the wall clock";
    let value = slowest.map_or_else(|| NONE.to_owned(), figure::span);
    let late = slowest.is_some_and(|seconds| seconds > CLOCK_BEHIND_S);
    let sub = format!("{} shards", shards.len());
    Tile { tone: if late { "warn" } else { "" }, ..tile("Clock behind", title, value, sub) }
}

fn checkpoint(state: &State) -> Tile {
    let shards = state.board.shards();
    let oldest = shards.values().filter_map(|shard| state.checkpoint_age_seconds(shard)).reduce(f64::max);
    let last = state.board.checkpoints().into_iter().next();
    let sub = last.map_or_else(
        || "none yet".to_owned(),
        |last| format!("last: {} in {} ms", figure::bytes(last.bytes), last.took_ms),
    );
    let title = "Age of the oldest checkpoint of a plugin in a shard: how far back a restart begins at most";
    tile("Checkpoint", title, oldest.map_or_else(|| NONE.to_owned(), figure::span), sub)
}

fn pressure(state: &State) -> Tile {
    let pressure = &state.metrics.pressure;
    let now = pressure.now();
    let busiest = pressure.busy().into_iter().fold(0.0, f64::max);
    let title =
        "The busiest worker over the last 2 s: OK below 60 %, LOW pressure from there, HIGH from 90 % on";
    let sub = format!("busiest worker {:.0} %", busiest * 100.0);
    Tile { tone: tone(now), ..tile("Back-pressure", title, now.as_str().to_owned(), sub) }
}

/// How a back-pressure is coloured.
pub(super) fn tone(pressure: Backpressure) -> &'static str {
    match pressure {
        Backpressure::Ok => "good",
        Backpressure::Low => "warn",
        Backpressure::High => "bad",
    }
}

fn tokens(state: &State) -> Tile {
    let rows = state.metrics.recent().per_second(|sample| sample.rows);
    let sub = format!("{} rows/s written", figure::rate(rows));
    tile("Tokens", "Tokens that are alive", figure::count(state.active_tokens() as u64), sub)
}

fn memory(state: &State) -> Tile {
    let plugins: usize = state.board.shards().values().map(|shard| shard.memory_bytes).sum();
    let sub = format!("{} kept for plugins", figure::bytes(plugins as u64));
    tile("Memory", "Resident memory of the process", figure::bytes(Process::read().resident_bytes), sub)
}

fn rejected(state: &State) -> Tile {
    let by_reason = Reason::ALL.map(|reason| (state.metrics.rejected(reason).get(), reason.as_str()));
    let all: u64 = by_reason.iter().map(|(count, _)| count).sum();
    let sub = match by_reason.into_iter().max() {
        Some((count, reason)) if count > 0 => format!("most: {reason}"),
        _ => "none".to_owned(),
    };
    tile("Rejected", "Records that no window counts, since the start", figure::count(all), sub)
}

fn milliseconds(events: u64, average_ms: f64) -> String {
    if events > 0 { figure::short_span(average_ms * 1e6) } else { NONE.to_owned() }
}

fn bound(slowest_s: Option<f64>) -> String {
    match slowest_s {
        None => "none in 10 s".to_owned(),
        Some(bound) if bound.is_infinite() => "some took over 10 s".to_owned(),
        Some(bound) => format!("99 % within {}", figure::short_span(bound * 1e9)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_happened_is_no_zero() {
        assert_eq!((milliseconds(0, 0.0), milliseconds(2, 0.5)), (NONE.to_owned(), "500 µs".to_owned()));
        assert_eq!(bound(None), "none in 10 s");
        assert_eq!(bound(Some(0.005)), "99 % within 5.00 ms");
        assert_eq!(bound(Some(f64::INFINITY)), "some took over 10 s");
    }
}
