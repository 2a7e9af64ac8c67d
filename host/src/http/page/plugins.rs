//! The plugins: what runs and what it costs, what is tried, and what was changed.
//!
//! Invariant: lists are bounded; digests are shown by their beginning, and whole in the title.

use super::markup::{append, cut, escaped, fitting, head, note, segment};
use super::{chart, hosts, numbers};
use crate::figure;
use crate::http::State;
use crate::pipeline::board::CellStatus;
use crate::pipeline::cost::Cost;
use crate::plugin::canonical;
use crate::swap::{PluginStatus, Swap, TrialStatus};

/// How many bytes the rows may take, and how many changes of each plugin are shown.
const BYTES: usize = 14_000;
const CHANGES: usize = 5;
const DIGITS: usize = 12;
const WORDS: usize = 200;
const COLUMNS: usize = 10;

/// Draws them.
pub(super) fn draw(state: &State, plugins: &[PluginStatus]) -> String {
    let shards = state.board.shards();
    let row = |status: &PluginStatus| {
        let cells = shards.values().flat_map(|shard| &shard.cells);
        let own: Vec<&CellStatus> = cells.filter(|cell| canonical(&cell.plugin) == status.name).collect();
        plugin(state, status, &own)
    };
    let (rows, shown) = fitting(plugins.iter().map(row), BYTES);
    let head = head("Plugins", &note(plugins.len(), shown, "/plugins"));
    let mut out = String::new();
    append(
        &mut out,
        format_args!(
            "{head}\
             <div class=\"scroll\"><table class=\"sticky\"><thead><tr><th scope=\"col\">Plugin</th>\
             <th scope=\"col\" class=\"left\">Version</th><th scope=\"col\" class=\"left\">Digest</th>\
             <th scope=\"col\" class=\"left\">State</th><th scope=\"col\">Per trade</th>\
             <th scope=\"col\">Per row</th><th scope=\"col\">Memory</th><th scope=\"col\">Faults</th>\
             <th scope=\"col\">Trades left out</th><th scope=\"col\">Changes</th></tr></thead>\
             <tbody>{rows}</tbody></table></div></section>"
        ),
    );
    out.push_str(&hosts::draw(&state.members));
    out
}

/// A plugin's row, and what is to be said below it.
fn plugin(state: &State, status: &PluginStatus, cells: &[&CellStatus]) -> String {
    let (hidden, own): (Vec<&CellStatus>, Vec<&CellStatus>) =
        cells.iter().copied().partition(|cell| cell.state == "hidden");
    let counts = state.metrics.plugin_events.counts(&status.name);
    let cost = cost(&own);
    let memory: usize = own.iter().map(|cell| cell.memory_bytes).sum();
    let (word, tone) = word(&own);
    let mut out = String::new();
    append(
        &mut out,
        format_args!(
            "<tr><th scope=\"row\"><a href=\"/plugins/{}\">{}</a></th><td class=\"left\">{}</td>\
             <td class=\"left\">{}</td><td class=\"left {tone}\">{word}</td><td>{}</td><td>{}</td><td>{}</td>",
            segment(&status.name),
            escaped(&cut(&status.name, 64)),
            escaped(&cut(status.version.as_deref().unwrap_or("–"), 32)),
            digest(status.digest.as_deref()),
            nanos(cost.ns_per_trade()),
            nanos(cost.ns_per_row()),
            figure::bytes(memory as u64),
        ),
    );
    for count in [counts.faults, counts.quarantined] {
        let class = if count > 0 { "bad" } else { "soft" };
        append(&mut out, format_args!("<td class=\"{class}\">{}</td>", figure::count(count)));
    }
    let changes = counts.swapped + counts.refused + counts.rolled_back;
    append(&mut out, format_args!("<td>{}</td></tr>", figure::count(changes)));
    if let Some(fault) = own.iter().find_map(|cell| cell.fault.as_deref()) {
        let words = escaped(&cut(fault, WORDS)).to_string();
        more(&mut out, &format!("<span class=\"bad\">Last fault:</span> {words}"));
    }
    if let Some(trial) = &status.trial {
        more(&mut out, &under_way(trial, &hidden, &own));
    }
    history(state, status, &mut out);
    out
}

/// A further line of a plugin.
fn more(out: &mut String, words: &str) {
    append(
        out,
        format_args!(
            "<tr class=\"more\"><td colspan=\"{COLUMNS}\"><div class=\"line\">{words}</div></td></tr>"
        ),
    );
}

/// How the cells of the running version are, in one word and its colour.
fn word(cells: &[&CellStatus]) -> (String, &'static str) {
    let many = |state: &str| cells.iter().filter(|cell| cell.state == state).count();
    for (state, tone) in
        [("suspended", "bad"), ("failed", "bad"), ("catching-up", "warn"), ("withheld", "warn")]
    {
        match many(state) {
            0 => {}
            some if some == cells.len() => return (state.replace('-', " "), tone),
            some => {
                return (format!("{} in {some} of {} shards", state.replace('-', " "), cells.len()), tone);
            }
        }
    }
    if cells.is_empty() { ("in no shard".to_owned(), "soft") } else { ("shown".to_owned(), "good") }
}

fn cost(cells: &[&CellStatus]) -> Cost {
    cells.iter().fold(Cost::default(), |sum, cell| sum.and(&cell.cost))
}

/// A change under way: how far it is, and what the two versions cost.
fn under_way(trial: &TrialStatus, hidden: &[&CellStatus], shown: &[&CellStatus]) -> String {
    let mut out = String::new();
    append(
        &mut out,
        format_args!(
            "<b class=\"warn\">{}</b> {}: {}",
            escaped(trial.phase),
            kind(trial.kind),
            digest(Some(&trial.digest))
        ),
    );
    if let Some(left_ms) = trial.probation_left_ms {
        append(&mut out, format_args!(", {} left", figure::span((left_ms / 1_000) as f64)));
    }
    for (stage, shards) in &trial.shards {
        append(&mut out, format_args!(", {shards} shards {}", stage.replace('_', " ")));
    }
    if trial.carried_bytes > 0 {
        append(&mut out, format_args!(", {} of state carried", figure::bytes(trial.carried_bytes)));
    }
    if let (Some(hidden), Some(shown)) = (cost(hidden).ns_per_trade(), cost(shown).ns_per_trade()) {
        append(
            &mut out,
            format_args!(
                ", hidden {} a trade, shown {}",
                figure::short_span(hidden),
                figure::short_span(shown)
            ),
        );
    }
    if let Some(found) = &trial.comparison {
        append(
            &mut out,
            format_args!(
                ", rows: {} equal, {} different, {} unmatched",
                figure::count(found.equal_rows),
                figure::count(found.different_rows),
                figure::count(found.unmatched_rows)
            ),
        );
    }
    out
}

/// The last changes, folded up behind the last one.
fn history(state: &State, status: &PluginStatus, out: &mut String) {
    let mut changes = status.history.iter().take(CHANGES);
    let Some(last) = changes.next() else {
        return;
    };
    let mut words = format!("<details><summary>{}</summary><ul class=\"history\">", change(state, last));
    let mut others = 0;
    for swap in changes {
        append(&mut words, format_args!("<li>{}</li>", change(state, swap)));
        others += 1;
    }
    if others == 0 {
        words.push_str("<li>No change before it in this process.</li>");
    }
    words.push_str("</ul></details>");
    more(out, &words);
}

/// A change that has ended, in one line.
fn change(state: &State, swap: &Swap) -> String {
    let tone = if matches!(swap.result, "refused" | "rolled_back") { "bad" } else { "good" };
    let ago = state.behind_seconds(chart::switched_ms(swap)).max(0.0).floor();
    let mut out = String::new();
    append(
        &mut out,
        format_args!(
            "<b class=\"{tone}\">{}</b> {} ago, {}: ",
            swap.result.replace('_', " "),
            figure::span(ago),
            kind(swap.kind),
        ),
    );
    if let Some(from) = &swap.from {
        append(&mut out, format_args!("{} → ", digest(Some(from))));
    }
    out.push_str(&digest(Some(&swap.to)));
    let phases = &swap.phases_ms;
    for (name, phase) in [("loaded", phases.load), ("prepared", phases.prepare), ("shown", phases.show)] {
        if let Some(ms) = phase {
            append(&mut out, format_args!(", {name} in {ms} ms"));
        }
    }
    if swap.carried_bytes > 0 {
        append(&mut out, format_args!(", {} of state carried", figure::bytes(swap.carried_bytes)));
    }
    for (word, text) in [("", &swap.stage), ("", &swap.reason), ("to do: ", &swap.remedy)] {
        if let Some(text) = text {
            append(&mut out, format_args!("; {word}{}", escaped(&cut(text, WORDS))));
        }
    }
    out
}

fn kind(kind: crate::swap::Kind) -> String {
    format!("{kind:?}").to_lowercase()
}

pub(super) fn digest(digest: Option<&str>) -> String {
    let Some(digest) = digest else { return "–".to_owned() };
    let short: String = digest.chars().take(DIGITS).collect();
    format!("<code title=\"{}\">{}</code>", escaped(&cut(digest, 80)), escaped(&short))
}

fn nanos(value: Option<f64>) -> String {
    value.map_or_else(|| numbers::NONE.to_owned(), figure::short_span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(state: &'static str) -> CellStatus {
        CellStatus {
            plugin: "vwap".into(),
            digest: "ab".into(),
            state,
            memory_bytes: 0,
            cost: Cost::default(),
            fault: None,
        }
    }

    #[test]
    fn the_worst_state_of_a_plugin_is_named_with_its_share() {
        let (shown, failed, behind) = (cell("shown"), cell("failed"), cell("catching-up"));
        assert_eq!(word(&[&shown, &shown]).0, "shown");
        assert_eq!(word(&[&shown, &behind, &failed]), ("failed in 1 of 3 shards".to_owned(), "bad"));
        assert_eq!(word(&[&behind]), ("catching up".to_owned(), "warn"));
        assert_eq!(word(&[]).0, "in no shard");
    }

    #[test]
    fn a_digest_is_short_and_its_title_whole() {
        let whole = "0123456789abcdef";
        assert_eq!(digest(Some(whole)), "<code title=\"0123456789abcdef\">0123456789ab</code>");
        assert_eq!(digest(None), "–");
    }
}
