//! Where partitions, workers and shards stand.
//!
//! Invariant: no list takes more than its bytes; one with more than [`MANY`] entries begins with those that need a
//! look.

use super::markup::{append, cut, escaped, fitting, head, note};
use super::numbers::tone;
use crate::figure;
use crate::http::State;
use crate::http::positions::{checkpoint_age, clock_ms, fed};
use crate::metrics::pressure::Backpressure;
use crate::pipeline::board::{CellStatus, PartitionStatus, ShardStatus};

/// From so many on, a list is sorted by need.
const MANY: usize = 24;
/// How many bytes the rows of each list may take.
const PARTITIONS_BYTES: usize = 10_000;
const SOURCES_BYTES: usize = 4_000;
const WORKERS_BYTES: usize = 4_000;
const SHARDS_BYTES: usize = 8_000;
const WORDS: usize = 160;

/// Draws the partitions: lag, and of the shards that each feeds the slowest clock, the oldest checkpoint and the
/// busiest worker.
pub(super) fn partitions(state: &State) -> String {
    let (all, shards) = (state.board.partitions(), state.board.shards());
    let busy = state.metrics.pressure.busy();
    let mut sorted: Vec<(&i32, &PartitionStatus)> = all.iter().collect();
    if all.len() > MANY {
        sorted.sort_by_key(|(id, status)| {
            (status.problem.is_none(), std::cmp::Reverse(status.lag().unwrap_or(i64::MAX)), **id)
        });
    }
    let row = |(id, status): (&i32, &PartitionStatus)| {
        partition(state, *id, status, &fed(&state.layout, *id, &shards), &busy)
    };
    let (rows, shown) = fitting(sorted.into_iter().map(row), PARTITIONS_BYTES);
    let mut out = head("Partitions", &note(all.len(), shown, "/partitions"));
    if all.is_empty() {
        out.push_str("<p>This host has no partition.</p></section>");
        return out;
    }
    append(
        &mut out,
        format_args!(
            "<div class=\"scroll\"><table class=\"sticky\"><thead><tr><th scope=\"col\">Partition</th>\
             <th scope=\"col\" class=\"left\">State</th><th scope=\"col\">Lag</th>\
             <th scope=\"col\" class=\"wide\">Written up to</th><th scope=\"col\" class=\"wide\">End</th>\
             <th scope=\"col\">Newest trade</th><th scope=\"col\">Clock behind</th>\
             <th scope=\"col\">Checkpoint</th><th scope=\"col\">Pressure</th></tr></thead>\
             <tbody>{rows}</tbody></table></div></section>"
        ),
    );
    sources(state, &mut out);
    out
}

fn partition(state: &State, id: i32, status: &PartitionStatus, fed: &[&ShardStatus], busy: &[f64]) -> String {
    let clock_ms = clock_ms(fed);
    let saved = checkpoint_age(state, fed);
    let busiest = fed.iter().filter_map(|shard| busy.get(shard.worker)).copied().fold(0.0, f64::max);
    format!(
        "<tr><th scope=\"row\">{id}</th>{}{}<td class=\"wide\">{}</td><td class=\"wide\">{}</td><td>{}</td>\
         <td>{}</td><td>{}</td>{}</tr>{}",
        progress(status),
        lag(status.lag()),
        number(status.processed),
        // The end is looked up less often than it is passed.
        number(status.end.max(status.processed)),
        age(state, status.newest_ms),
        clock_ms.map_or_else(none, |ms| figure::span(state.behind_seconds(ms))),
        saved.map_or_else(none, figure::span),
        word(busiest),
        problem(status, 9),
    )
}

/// The partitions of a repartitioned feed's source.
fn sources(state: &State, out: &mut String) {
    let all = state.sources.partitions();
    if all.is_empty() {
        return;
    }
    let row = |(id, status): (&i32, &PartitionStatus)| {
        format!(
            "<tr><th scope=\"row\">{id}</th>{}{}<td>{}</td><td>{}</td><td>{}</td></tr>{}",
            progress(status),
            lag(status.undecoded()),
            number(Some(status.decoded)),
            number(status.end),
            age(state, status.newest_ms),
            problem(status, 6),
        )
    };
    let (rows, shown) = fitting(all.iter().map(row), SOURCES_BYTES);
    out.push_str(&head("Partitions of the source", &note(all.len(), shown, "/partitions")));
    append(
        out,
        format_args!(
            "<div class=\"scroll\"><table class=\"sticky\"><thead><tr><th scope=\"col\">Partition</th>\
             <th scope=\"col\" class=\"left\">State</th><th scope=\"col\">Not handed on</th>\
             <th scope=\"col\">Handed on up to</th><th scope=\"col\">End</th>\
             <th scope=\"col\">Newest trade</th></tr></thead><tbody>{rows}</tbody></table></div></section>"
        ),
    );
}

/// Draws the workers.
pub(super) fn workers(state: &State) -> String {
    let (shards, busy, wedged) = (state.board.shards(), state.metrics.pressure.busy(), state.wedged());
    let row = |worker: usize| {
        let share = busy.get(worker).copied().unwrap_or(0.0);
        let own = shards.values().filter(|shard| shard.worker == worker);
        self::worker(worker, share, wedged.contains(&worker), own)
    };
    let (rows, shown) = fitting((0..state.layout.workers).map(row), WORKERS_BYTES);
    let mut out = head("Workers", &note(state.layout.workers, shown, "/partitions"));
    append(
        &mut out,
        format_args!(
            "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Worker</th>\
             <th scope=\"col\" class=\"left\">Busy</th><th scope=\"col\">Pressure</th>\
             <th scope=\"col\">Shards</th><th scope=\"col\">Tokens</th></tr></thead>\
             <tbody>{rows}</tbody></table></div></section>"
        ),
    );
    out
}

fn worker<'a>(
    worker: usize,
    share: f64,
    is_wedged: bool,
    own: impl Iterator<Item = &'a ShardStatus> + Clone,
) -> String {
    let tokens: usize = own.clone().map(|shard| shard.tokens).sum();
    let pressure = match is_wedged {
        true => "<td class=\"bad\">no progress</td>".to_owned(),
        false => word(share),
    };
    let class = match Backpressure::of(share) {
        Backpressure::Ok => "bar",
        Backpressure::Low => "bar warn",
        Backpressure::High => "bar bad",
    };
    let percent = share * 100.0;
    format!(
        "<tr><th scope=\"row\">{worker}</th><td class=\"left\">\
         <svg class=\"{class}\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect width=\"{percent:.0}\" height=\"6\"/></svg> {percent:.0} %</td>{pressure}<td>{}</td><td>{}</td></tr>",
        own.count(),
        figure::count(tokens as u64),
    )
}

/// Draws the shards, folded up.
pub(super) fn shards(state: &State) -> String {
    let all = state.board.shards();
    let quiet = |shard: &ShardStatus| shard.cells.iter().all(|cell| cell.state == "shown");
    let mut sorted: Vec<(&u32, &ShardStatus)> = all.iter().collect();
    if all.len() > MANY {
        sorted.sort_by_key(|(id, shard)| (quiet(shard), **id));
    }
    let row = |(id, status): (&u32, &ShardStatus)| shard(state, *id, status);
    let (rows, shown) = fitting(sorted.into_iter().map(row), SHARDS_BYTES);
    let told = match all.values().filter(|shard| !quiet(shard)).count() {
        0 => String::new(),
        loud => format!(" · {loud} with a plugin that is not just shown"),
    };
    let mut out = String::new();
    append(
        &mut out,
        format_args!(
            "<details class=\"card\"><summary class=\"head\"><h2>Shards</h2> <span class=\"note\">{}{told}</span>\
             </summary><div class=\"scroll\"><table class=\"sticky\"><thead><tr><th scope=\"col\">Shard</th>\
             <th scope=\"col\">Worker</th><th scope=\"col\">Clock behind</th><th scope=\"col\">Checkpoint</th>\
             <th scope=\"col\">Tokens</th><th scope=\"col\">Memory</th><th scope=\"col\">Epoch</th>\
             <th scope=\"col\" class=\"left\">Plugins</th></tr></thead><tbody>{rows}</tbody></table></div></details>",
            note(all.len(), shown, "/partitions")
        ),
    );
    out
}

fn shard(state: &State, id: u32, shard: &ShardStatus) -> String {
    format!(
        "<tr><th scope=\"row\">{id}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td class=\"left\">{}</td></tr>",
        shard.worker,
        shard.clock_ms.map_or_else(none, |ms| figure::span(state.behind_seconds(ms))),
        state.checkpoint_age_seconds(shard).map_or_else(none, figure::span),
        figure::count(shard.tokens as u64),
        figure::bytes(shard.memory_bytes as u64),
        shard.epoch.map_or_else(none, |epoch| epoch.to_string()),
        cells(&shard.cells),
    )
}

/// A shard's cells: how many are shown, and each that is not.
fn cells(cells: &[CellStatus]) -> String {
    const MOST: usize = 4;
    let shown = cells.iter().filter(|cell| cell.state == "shown").count();
    let mut out = format!("{shown} shown");
    for cell in cells.iter().filter(|cell| cell.state != "shown").take(MOST) {
        append(&mut out, format_args!(", {} {}", escaped(&cut(&cell.plugin, 32)), cell.state));
    }
    out
}

fn progress(status: &PartitionStatus) -> String {
    let class = match status.state {
        "live" => "good",
        "behind" => "warn",
        _ => "soft",
    };
    format!("<td class=\"left {class}\">{}</td>", status.state)
}

fn lag(lag: Option<i64>) -> String {
    let class = if lag.is_some_and(|lag| lag > 0) { "" } else { " class=\"soft\"" };
    format!("<td{class}>{}</td>", number(lag))
}

fn number(value: Option<i64>) -> String {
    value.map_or_else(none, |value| figure::count(value.max(0).unsigned_abs()))
}

fn age(state: &State, time_ms: Option<i64>) -> String {
    let ago = |ms: i64| {
        let seconds = state.behind_seconds(ms);
        if seconds < 0.0 { "ahead".to_owned() } else { format!("{} ago", figure::span(seconds)) }
    };
    time_ms.map_or_else(none, ago)
}

fn word(busy: f64) -> String {
    let pressure = Backpressure::of(busy);
    format!("<td class=\"{}\">{}</td>", tone(pressure), pressure.as_str())
}

fn problem(status: &PartitionStatus, columns: usize) -> String {
    let Some(problem) = &status.problem else {
        return String::new();
    };
    format!(
        "<tr class=\"more\"><td colspan=\"{columns}\" class=\"bad\"><div class=\"line\">{}</div></td></tr>",
        escaped(&cut(problem, WORDS))
    )
}

fn none() -> String {
    "–".to_owned()
}
