//! The last five minutes as lines: trades, latency, lag; with a mark where a plugin was changed.
//!
//! A chart is 300 units wide, one for each second, and stretched by the browser. Invariant: the script reads values
//! back from the lines (`assets/page.js`), which are 92 units high at the value in `data-max`.

use std::time::Instant;

use super::markup::{append, cut, escaped};
use crate::figure;
use crate::http::State;
use crate::metrics::history::{Moment, SPAN};
use crate::swap::{PluginStatus, Swap};

/// Width and height of the lines' own units, and the height that is used.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 100.0;
const USED: f64 = 92.0;
/// A line goes on over a gap of so many seconds.
const GAP: f64 = 5.0;
/// How many changes are marked, latest first.
const MARKS: usize = 12;

/// One chart.
struct Chart<'a> {
    name: &'static str,
    unit: &'static str,
    /// Its lines, by name.
    lines: &'a [(&'static str, Line<'a>)],
    /// Whether the first line is filled.
    filled: bool,
    /// Whether marks have words here.
    labelled: bool,
}

type Line<'a> = &'a dyn Fn(&Moment) -> Option<f64>;

/// A change of a plugin.
struct Mark {
    /// Its place, in percent from the left.
    at: f64,
    label: String,
    words: String,
    bad: bool,
}

/// Draws the charts.
pub(super) fn draw(state: &State, plugins: &[PluginStatus]) -> String {
    let moments = state.metrics.history.moments();
    let marks = marks(plugins, state.clock.now_ms());
    let charts = [
        Chart {
            name: "Trades per second",
            unit: "/s",
            lines: &[("", &|moment: &Moment| Some(moment.trades_per_second))],
            filled: true,
            labelled: true,
        },
        Chart {
            name: "Latency",
            unit: " ms",
            lines: &[
                ("batch", &|moment: &Moment| moment.batch_ms),
                ("write", &|moment: &Moment| moment.store_ms),
            ],
            filled: false,
            labelled: false,
        },
        Chart {
            name: "Lag in records",
            unit: "",
            lines: &[("", &|moment: &Moment| Some(moment.lag as f64))],
            filled: true,
            labelled: false,
        },
    ];
    let mut out = "<div class=\"charts\">".to_owned();
    let now = Instant::now();
    charts.iter().for_each(|chart| chart.draw(&moments, now, &marks, &mut out));
    out.push_str("</div>");
    out
}

impl Chart<'_> {
    fn draw(&self, moments: &[Moment], now: Instant, marks: &[Mark], out: &mut String) {
        let values = |line: Line<'_>| moments.iter().filter_map(line).fold(0.0, f64::max);
        let max = ceiling(self.lines.iter().map(|(_, line)| values(*line)).fold(0.0, f64::max));
        append(out, format_args!("<figure class=\"card chart\"><figcaption>{}", self.name));
        for (index, (name, _)) in self.lines.iter().enumerate().filter(|(_, (name, _))| !name.is_empty()) {
            let class = if index > 0 { "key two" } else { "key" };
            append(out, format_args!("<span class=\"{class}\">{name}</span>"));
        }
        append(
            out,
            format_args!(
                "<span class=\"read\"></span></figcaption>\
                 <svg class=\"plot\" role=\"img\" aria-label=\"{}, last five minutes, up to {}{}\" \
                 data-max=\"{max}\" data-unit=\"{}\">",
                self.name,
                axis(max),
                self.unit,
                self.unit,
            ),
        );
        for y in [100.0 - USED, 100.0 - USED / 2.0, 100.0] {
            append(out, format_args!("<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y}%\" y2=\"{y}%\"/>"));
        }
        append(
            out,
            format_args!(
                "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" width=\"100%\" \
                 height=\"100%\" overflow=\"visible\">"
            ),
        );
        for (index, (_, line)) in self.lines.iter().enumerate() {
            let points: Vec<(f64, f64)> = moments
                .iter()
                .filter_map(|moment| {
                    let x = WIDTH - now.duration_since(moment.at).as_secs_f64();
                    (x >= 0.0).then_some(())?;
                    Some((x, HEIGHT - line(moment)? / max * USED))
                })
                .collect();
            if self.filled && index == 0 {
                append(out, format_args!("<path class=\"area\" d=\"{}\"/>", area(&points)));
            }
            let class = if index > 0 { "two" } else { "one" };
            append(out, format_args!("<path class=\"{class}\" d=\"{}\"/>", path(&points)));
        }
        out.push_str("</svg>");
        self.draw_marks(marks, out);
        append(
            out,
            format_args!(
                "<text x=\"0\" y=\"{}%\" dy=\"-4\">{}{}</text></svg>\
                 <div class=\"axis\"><span>5 min ago</span><span>now</span></div></figure>",
                100.0 - USED,
                axis(max),
                self.unit
            ),
        );
    }

    fn draw_marks(&self, marks: &[Mark], out: &mut String) {
        for (index, Mark { at, label, words, bad }) in marks.iter().enumerate() {
            let class = if *bad { "mark bad" } else { "mark" };
            append(
                out,
                format_args!(
                    "<g class=\"{class}\"><title>{}</title>\
                     <line x1=\"{at:.1}%\" x2=\"{at:.1}%\" y1=\"0\" y2=\"100%\"/>",
                    escaped(words)
                ),
            );
            if self.labelled {
                let (anchor, dx) = if *at > 70.0 { ("end", -5) } else { ("start", 5) };
                // Changes at the same time stand below each other.
                let dy = 16 + index % 4 * 13;
                append(
                    out,
                    format_args!(
                        "<text x=\"{at:.1}%\" y=\"{dy}\" dx=\"{dx}\" text-anchor=\"{anchor}\">{}</text>",
                        escaped(label)
                    ),
                );
            }
            out.push_str("</g>");
        }
    }
}

/// What is changed and was in the last minutes.
fn marks(plugins: &[PluginStatus], now_ms: i64) -> Vec<Mark> {
    let ended = plugins.iter().flat_map(|plugin| plugin.history.iter().map(|swap| (&plugin.name, swap)));
    let ended = ended.map(|(name, swap)| {
        let bad = matches!(swap.result, "refused" | "rolled_back");
        let reason = swap.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
        (switched_ms(swap), name, swap.result.replace('_', " "), reason, bad)
    });
    let under_way = plugins.iter().filter_map(|plugin| {
        let trial = plugin.trial.as_ref()?;
        Some((trial.since_ms, &plugin.name, trial.phase.to_owned(), String::new(), false))
    });
    let mut all: Vec<_> = ended.chain(under_way).collect();
    all.sort_by_key(|(at_ms, ..)| std::cmp::Reverse(*at_ms));
    all.truncate(MARKS);
    let span_ms = SPAN.as_millis() as f64;
    let mark = |(at_ms, name, word, reason, bad): (i64, &String, String, String, bool)| {
        let age_ms = now_ms.saturating_sub(at_ms).max(0) as f64;
        (age_ms <= span_ms).then(|| Mark {
            at: 100.0 - age_ms / span_ms * 100.0,
            label: cut(&format!("{name} {word}"), 40),
            words: cut(&format!("{name} {word} {} ago{reason}", figure::span((age_ms / 1e3).floor())), 200),
            bad,
        })
    };
    all.into_iter().filter_map(mark).collect()
}

/// When a change could be seen: when it was shown, as far as it came.
pub(super) fn switched_ms(swap: &Swap) -> i64 {
    let phases = &swap.phases_ms;
    let took: u64 = [phases.load, phases.prepare, phases.show].into_iter().flatten().sum();
    swap.at_ms.saturating_add_unsigned(took)
}

/// A round number that is no less than a value.
fn ceiling(value: f64) -> f64 {
    if value <= 1.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.map(|step| step * power).into_iter().find(|step| *step >= value).unwrap_or(value)
}

fn axis(max: f64) -> String {
    if max < 10.0 && max.fract() != 0.0 { format!("{max:.1}") } else { figure::count(max as u64) }
}

/// A line through points, broken where seconds are missing.
fn path(points: &[(f64, f64)]) -> String {
    let mut out = String::with_capacity(points.len() * 12);
    let mut before = f64::NEG_INFINITY;
    for (index, &(x, y)) in points.iter().enumerate() {
        let begins = x - before > GAP;
        append(&mut out, format_args!("{}{x:.0} {y:.1}", if begins { 'M' } else { 'L' }));
        let ends = points.get(index + 1).is_none_or(|(next, _)| next - x > GAP);
        if begins && ends {
            // One point alone is a dot.
            append(&mut out, format_args!("L{x:.0} {y:.1}"));
        }
        before = x;
    }
    out
}

/// About the same line, closed along the bottom; every other point will do.
fn area(points: &[(f64, f64)]) -> String {
    let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else {
        return String::new();
    };
    let mut out = format!("M{first:.0} {HEIGHT}");
    for (x, y) in points.iter().step_by(2) {
        append(&mut out, format_args!("L{x:.0} {y:.1}"));
    }
    append(&mut out, format_args!("L{last:.0} {HEIGHT}Z"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swap::{Kind, Phases};

    #[test]
    fn a_line_breaks_where_seconds_are_missing() {
        assert_eq!(path(&[(1.0, 10.0), (2.0, 20.0), (30.0, 5.0)]), "M1 10.0L2 20.0M30 5.0L30 5.0");
        assert_eq!(area(&[(1.0, 10.0), (2.0, 20.0), (3.0, 9.0)]), "M1 100L1 10.0L3 9.0L3 100Z");
        assert_eq!((path(&[]), area(&[])), (String::new(), String::new()));
    }

    #[test]
    fn an_axis_ends_at_a_round_number() {
        for (value, top) in [(0.0, 1.0), (0.7, 1.0), (1.2, 1.5), (204.0, 250.0), (9_999.0, 10_000.0)] {
            assert_eq!(ceiling(value), top);
        }
        assert_eq!((axis(1.5), axis(2_500.0)), ("1.5".to_owned(), "2\u{202f}500".to_owned()));
    }

    fn swap(at_ms: i64, result: &'static str) -> Swap {
        Swap {
            at_ms,
            kind: Kind::Swap,
            from: None,
            to: "ab".to_owned(),
            result,
            stage: None,
            reason: Some("a trap".to_owned()),
            remedy: None,
            state: None,
            carried_bytes: 0,
            longest_pause_ms: 4,
            switch_pause_ms: 2,
            phases_ms: Phases { load: Some(10_000), prepare: Some(20_000), ..Phases::default() },
        }
    }

    #[test]
    fn changes_of_the_last_minutes_are_marked_where_they_showed() {
        let plugin = PluginStatus {
            name: "vwap".to_owned(),
            version: None,
            digest: None,
            configuration: None,
            result_key: None,
            groups: Vec::new(),
            horizon_ms: None,
            previous: None,
            trial: None,
            history: [swap(120_000, "rolled_back"), swap(-400_000, "swapped")].into(),
        };
        let marks = marks(&[plugin], 300_000);
        assert_eq!(marks.len(), 1);
        assert_eq!((marks[0].at, marks[0].bad), (50.0, true));
        assert_eq!(marks[0].words, "vwap rolled back 2 min 30 s ago: a trap");
    }
}
