//! What is drawn: the host's health, its numbers, workers, partitions, plugins and busiest tokens.
//!
//! Invariant: every text that comes from the host passes [`clean`], so that none of it can move the cursor; and where
//! there is little room, what matters least is left out.

use std::collections::VecDeque;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Sparkline, Table, Widget};
use serde_json::Value;

use super::reading::Reading;
use super::tiles::{self, NONE, none};
use crate::author::Failure;
use crate::figure;
use crate::results::LEADING_KEY;

/// How many trade rates are kept for the line; none is wider.
const RATES: usize = 300;
/// How many reasons, partitions, plugins and tokens are drawn at most.
const REASONS: usize = 4;
const PARTITIONS: usize = 16;
const PLUGINS: usize = 8;
/// Numbers stand in so many columns, and each takes so many lines: name, value, what belongs to it, nothing.
const COLUMNS: usize = 5;
const TILE_LINES: u16 = 4;

/// Everything that is drawn.
pub(super) struct Screen {
    url: String,
    reading: Reading,
    /// Why the last question was not answered.
    failure: Option<String>,
    rates: VecDeque<u64>,
}

impl Screen {
    /// An empty one.
    pub(super) fn new(url: &str) -> Self {
        Self { url: clean(url, 60), reading: Reading::default(), failure: None, rates: VecDeque::new() }
    }

    /// Takes what the host said, or why it did not.
    pub(super) fn take(&mut self, answer: Result<Reading, Failure>) {
        match answer {
            Ok(reading) => {
                let rate = reading.metrics["trade_processing"]["processing_rate_per_sec"].as_f64();
                if self.rates.len() == RATES {
                    self.rates.pop_front();
                }
                self.rates.push_back(rate.unwrap_or(0.0).round() as u64);
                self.reading = reading;
                self.failure = None;
            }
            Err(failure) => self.failure = Some(clean(&failure.to_string(), 200)),
        }
    }

    /// How many lines all of it needs.
    pub(super) fn height(&self) -> u16 {
        self.sections().iter().map(|(lines, _)| lines).sum()
    }

    /// What is drawn, from top to bottom: how many lines it needs, and what it is.
    fn sections(&self) -> Vec<(u16, Section<'_>)> {
        let partitions = Reading::list(&self.reading.partitions, "partitions").len().min(PARTITIONS);
        let plugins = Reading::list(&self.reading.plugins, "plugins").len().min(PLUGINS);
        let lines = |rows: usize| rows as u16 + 2;
        vec![
            (1, Section::Head),
            (self.reasons().len() as u16 + 1, Section::Reasons),
            (2 * TILE_LINES, Section::Numbers),
            (3, Section::Rates),
            (2, Section::Workers),
            (lines(partitions), Section::Table(Box::new(self.partitions()))),
            (lines(plugins), Section::Table(Box::new(self.plugins()))),
            (lines(self.reading.tokens.len()), Section::Table(Box::new(self.tokens()))),
        ]
    }

    /// Draws as much as there is room for.
    pub(super) fn draw(&self, area: Rect, buffer: &mut Buffer) {
        let mut rest = area;
        for (lines, section) in self.sections() {
            let height = lines.min(rest.height);
            let (own, below) = (Rect { height, ..rest }, rest.y + height);
            rest = Rect { y: below, height: rest.height - height, ..rest };
            match section {
                Section::Head => self.head().render(own, buffer),
                Section::Reasons => {
                    for (row, reason) in own.rows().zip(self.reasons()) {
                        Line::from(reason).red().render(row, buffer);
                    }
                }
                Section::Numbers => self.numbers(own, buffer),
                Section::Rates => self.line_of_rates(own, buffer),
                Section::Workers => self.workers().render(own, buffer),
                Section::Table(table) => table.render(own, buffer),
            }
        }
    }

    fn head(&self) -> Line<'_> {
        let ready = &self.reading.ready;
        let (word, color) = match (ready["status"].as_str(), ready["started"].as_bool()) {
            _ if self.failure.is_some() => ("no answer", Color::Red),
            (Some("ready"), _) => ("healthy", Color::Green),
            (_, Some(false)) => ("not started", Color::Yellow),
            _ => ("unhealthy", Color::Red),
        };
        let uptime = self.reading.metrics["uptime_seconds"].as_f64();
        let mode = self.reading.performance["tuning"]["mode"].as_str().unwrap_or(NONE);
        Line::from(vec![
            "aggregator ".bold(),
            Span::from(self.url.as_str()).dim(),
            Span::styled(format!("  ● {word}"), Style::new().fg(color).add_modifier(Modifier::BOLD)),
            Span::from(format!(
                "  up {}",
                uptime.map_or_else(|| NONE.to_owned(), |s| figure::span(s.floor()))
            )),
            Span::from(format!("  tuned for {}  q quits", clean(mode, 16))).dim(),
        ])
    }

    fn reasons(&self) -> Vec<String> {
        let told = Reading::list(&self.reading.ready, "reasons").iter().filter_map(Value::as_str);
        let told = told.map(|reason| clean(reason, 160));
        self.failure.clone().into_iter().chain(told).take(REASONS).collect()
    }

    fn numbers(&self, area: Rect, buffer: &mut Buffer) {
        for (index, tile) in tiles::of(&self.reading).iter().enumerate() {
            let (row, column) = (index / COLUMNS, index % COLUMNS);
            let columns: [Rect; COLUMNS] =
                Layout::horizontal([Constraint::Ratio(1, COLUMNS as u32); COLUMNS]).areas(area);
            let value = match tile.color {
                Some(color) => Span::from(tile.value.as_str()).bold().fg(color),
                None => Span::from(tile.value.as_str()).bold(),
            };
            let lines = [Line::from(tile.name).dim(), Line::from(value), Line::from(tile.sub.as_str()).dim()];
            for (place, line) in (row as u16 * TILE_LINES..).zip(lines) {
                if place < area.height {
                    line.render(Rect { y: area.y + place, height: 1, ..columns[column] }, buffer);
                }
            }
        }
    }

    fn line_of_rates(&self, area: Rect, buffer: &mut Buffer) {
        let room = usize::from(area.width);
        let shown: Vec<u64> =
            self.rates.iter().skip(self.rates.len().saturating_sub(room)).copied().collect();
        let line = Rect { height: area.height.min(2), ..area };
        Sparkline::default().data(shown).style(Style::new().fg(Color::Blue)).render(line, buffer);
    }

    fn workers(&self) -> Line<'_> {
        let busy = Reading::list(&self.reading.performance["runtime"], "worker_utilisation");
        let mut spans = vec!["Workers ".dim()];
        for (worker, share) in busy.iter().enumerate() {
            let share = share.as_f64().unwrap_or(0.0).clamp(0.0, 1.0);
            let full = (share * 10.0).round() as usize;
            spans.push(Span::from(format!(" {worker} ")));
            spans.push("█".repeat(full).blue());
            spans.push("░".repeat(10 - full).dim());
            spans.push(Span::from(format!(" {:.0} % ", share * 100.0)));
        }
        Line::from(spans)
    }

    fn partitions(&self) -> Table<'_> {
        let rows = Reading::list(&self.reading.partitions, "partitions").iter().take(PARTITIONS);
        let rows = rows.map(|partition| {
            let state = partition["state"].as_str().unwrap_or(NONE);
            let color = if state == "behind" { Color::Yellow } else { Color::Reset };
            let count = |name: &str| partition[name].as_u64().map_or_else(none, figure::count);
            Row::new([
                Cell::from(partition["partition"].to_string()),
                Cell::from(clean(state, 10)).style(color),
                Cell::from(count("lag")),
                Cell::from(count("processed")),
                Cell::from(count("end")),
                Cell::from(clean(partition["newest"].as_str().unwrap_or(NONE), 24)),
                Cell::from(clean(partition["problem"].as_str().unwrap_or(""), 60)).style(Color::Red),
            ])
        });
        let widths = [9, 8, 14, 16, 16, 25, 24].map(Constraint::Min);
        table(["Partition", "State", "Lag", "Written up to", "End", "Newest trade", ""], rows, widths)
    }

    fn plugins(&self) -> Table<'_> {
        let rows = Reading::list(&self.reading.plugins, "plugins").iter().take(PLUGINS);
        let rows = rows.map(|plugin| {
            let text = |name: &str, most| clean(plugin[name].as_str().unwrap_or(NONE), most);
            let cost =
                plugin["cost"]["running"]["ns_per_trade"].as_f64().map_or_else(none, figure::short_span);
            let counts = &plugin["counts"];
            let count = |name: &str| counts[name].as_u64().unwrap_or(0);
            let bad = |count: u64| if count > 0 { Color::Red } else { Color::Reset };
            Row::new([
                Cell::from(text("name", 24)),
                Cell::from(text("version", 10)),
                Cell::from(text("digest", 12).replace('…', "")),
                Cell::from(clean(plugin["trial"]["phase"].as_str().unwrap_or("runs"), 12)),
                Cell::from(cost),
                Cell::from(plugin["memory_bytes"].as_u64().map_or_else(none, figure::bytes)),
                Cell::from(figure::count(count("faults"))).style(bad(count("faults"))),
                Cell::from(figure::count(count("quarantined"))).style(bad(count("quarantined"))),
                Cell::from(last_change(plugin)),
            ])
        });
        let widths = [16, 9, 13, 11, 10, 10, 7, 9, 22].map(Constraint::Min);
        let names = [
            "Plugin",
            "Version",
            "Digest",
            "State",
            "Per trade",
            "Memory",
            "Faults",
            "Left out",
            "Last change",
        ];
        table(names, rows, widths)
    }

    fn tokens(&self) -> Table<'_> {
        let plugins = Reading::list(&self.reading.plugins, "plugins");
        let leading = plugins.iter().find(|plugin| plugin["result_key"] == LEADING_KEY);
        let window = leading.and_then(|plugin| plugin["groups"][0].as_str());
        let heading = |name: &str| match window {
            Some(window) => format!("{name} {}", clean(window, 8)),
            None => name.to_owned(),
        };
        let rows = self.reading.tokens.iter().map(|(token, answer)| {
            let values = window.map(|window| &answer["results"][LEADING_KEY][window]);
            let value = |name: &str| values.and_then(|values| values[name].as_f64());
            let count = |name: &str| value(name).map_or_else(none, |count| figure::count(count as u64));
            let change = value("price_change").unwrap_or(0.0);
            let color = match change {
                0.0 => Color::Reset,
                ..0.0 => Color::Red,
                _ => Color::Green,
            };
            Row::new([
                Cell::from(clean(token, 46)),
                Cell::from(value("end_price").filter(|price| *price > 0.0).map_or_else(none, figure::price)),
                Cell::from(figure::percent(change)).style(color),
                Cell::from(count("buy_count")),
                Cell::from(count("sell_count")),
                Cell::from(value("volume_usd").map_or_else(none, figure::amount)),
            ])
        });
        let names = [
            "Token".to_owned(),
            "Price $".to_owned(),
            heading("Change"),
            "Buys".to_owned(),
            "Sells".to_owned(),
            "Volume $".to_owned(),
        ];
        table(names, rows, [46, 18, 14, 10, 10, 12].map(Constraint::Min))
    }
}

enum Section<'a> {
    Head,
    Reasons,
    Numbers,
    Rates,
    Workers,
    Table(Box<Table<'a>>),
}

/// A table with its heading; an empty line follows it.
fn table<'a, const N: usize>(
    names: [impl Into<String>; N],
    rows: impl Iterator<Item = Row<'a>>,
    widths: [Constraint; N],
) -> Table<'a> {
    let heading =
        Row::new(names.map(|name| Cell::from(name.into()))).style(Style::new().add_modifier(Modifier::DIM));
    Table::new(rows, widths).header(heading).column_spacing(1)
}

fn last_change(plugin: &Value) -> String {
    let Some(last) = Reading::list(plugin, "history").first() else {
        return NONE.to_owned();
    };
    let result = clean(last["result"].as_str().unwrap_or(NONE), 12).replace('_', " ");
    match last["stage"].as_str() {
        Some(stage) => format!("{result} at {}", clean(stage, 12)),
        None => result,
    }
}

/// A text of the host without anything that a terminal would obey.
pub(super) fn clean(text: &str, most: usize) -> String {
    crate::plugin::printable(text, most).replace('\n', " ")
}

#[cfg(test)]
mod tests;
