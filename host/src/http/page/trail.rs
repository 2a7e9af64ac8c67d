//! The way of a token's price over the last five minutes, as a small line.
//!
//! The host keeps no prices. So a line is made of what the windows say (the price at the beginning of each that is no
//! longer than five minutes) and, for as long as somebody has been looking, of the price at each drawing. Invariant:
//! a bounded number of points for a bounded number of tokens.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use aggregator_sdk::windows::Windows;
use serde_json::Value;

use super::markup::append;
use super::tokens::number;
use crate::metrics::history::SPAN;

/// Points are so far apart in time, and reach over the five minutes.
const APART: Duration = Duration::from_secs(5);
const POINTS: usize = 60;
const WIDTH: f64 = 100.0;
const HEIGHT: f64 = 24.0;

/// Prices seen while somebody looked.
#[derive(Debug, Default)]
pub(super) struct Trails {
    seen: HashMap<String, VecDeque<(Instant, f64)>>,
}

impl Trails {
    /// Notes a token's price.
    pub(super) fn push(&mut self, token: &str, at: Instant, price: f64) {
        if !self.seen.contains_key(token) {
            self.seen.insert(token.to_owned(), VecDeque::new());
        }
        let Some(points) = self.seen.get_mut(token) else {
            return;
        };
        if points.back().is_some_and(|(last, _)| at.duration_since(*last) < APART) {
            return;
        }
        if points.len() == POINTS {
            points.pop_front();
        }
        points.push_back((at, price));
        while points.front().is_some_and(|(then, _)| at.duration_since(*then) > SPAN) {
            points.pop_front();
        }
    }

    /// Forgets all other tokens.
    pub(super) fn keep(&mut self, tokens: &HashSet<&str>) {
        self.seen.retain(|token, _| tokens.contains(token.as_str()));
    }

    /// A token's line.
    pub(super) fn line(
        &self,
        token: &str,
        windows: &[(String, f64)],
        results: &Value,
        now: Instant,
    ) -> String {
        let seen = self.seen.get(token).into_iter().flatten();
        let seen: Vec<(f64, f64)> =
            seen.map(|(at, price)| (now.duration_since(*at).as_secs_f64(), *price)).collect();
        draw(&points(windows, results, &seen))
    }
}

/// The names of windows with their lengths in seconds; those whose names say no length are left out.
pub(super) fn lengths(windows: &[String]) -> Vec<(String, f64)> {
    let length = |name: &String| {
        let parsed = Windows::from_names([name.as_str()], 1).ok()?;
        Some((name.clone(), parsed.longest_ms() as f64 / 1e3))
    };
    windows.iter().filter_map(length).collect()
}

/// Age in seconds and price, oldest first: what windows say until prices were seen, those, and the last price.
fn points(windows: &[(String, f64)], results: &Value, seen: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let price = |window: &str, field: &str| number(&results[window][field]).filter(|price| *price > 0.0);
    let before = seen.first().map_or(0.0, |(age, _)| *age);
    let starts = windows.iter().filter(|(_, length)| *length <= SPAN.as_secs_f64() && *length > before);
    let mut points: Vec<(f64, f64)> =
        starts.filter_map(|(name, length)| Some((*length, price(name, "start_price")?))).collect();
    points.extend(seen);
    points.extend(windows.iter().find_map(|(name, _)| Some((0.0, price(name, "end_price")?))));
    points.sort_by(|one, other| other.0.total_cmp(&one.0));
    points
}

/// Draws points as a line.
fn draw(points: &[(f64, f64)]) -> String {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return String::new();
    };
    let (low, high) = points
        .iter()
        .fold((f64::INFINITY, 0.0_f64), |(low, high), (_, price)| (low.min(*price), high.max(*price)));
    let class = match last.1.total_cmp(&first.1) {
        std::cmp::Ordering::Less => "spark down",
        std::cmp::Ordering::Equal => "spark",
        std::cmp::Ordering::Greater => "spark up",
    };
    let mut out = format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"price over five minutes\"><path d=\""
    );
    for (index, (age, price)) in points.iter().enumerate() {
        let x = WIDTH - age / SPAN.as_secs_f64() * WIDTH;
        let y = if high > low {
            HEIGHT - 2.0 - (price - low) / (high - low) * (HEIGHT - 4.0)
        } else {
            HEIGHT / 2.0
        };
        append(&mut out, format_args!("{}{x:.0} {y:.1}", if index == 0 { 'M' } else { 'L' }));
    }
    out.push_str("\"/></svg>");
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_begins_with_what_windows_say_and_goes_on_with_what_was_seen() {
        let windows = lengths(&["1min".to_owned(), "5min".to_owned(), "1hour".to_owned(), "odd".to_owned()]);
        assert_eq!(windows.len(), 3);
        let results = json!({
            "1min": {"start_price": 2.0, "end_price": 3.0}, "5min": {"start_price": 1.0}, "1hour": {"start_price": 9.0}
        });
        assert_eq!(points(&windows, &results, &[]), [(300.0, 1.0), (60.0, 2.0), (0.0, 3.0)]);
        let seen = [(100.0, 5.0), (1.0, 4.0)];
        let all = [(300.0, 1.0), (100.0, 5.0), (1.0, 4.0), (0.0, 3.0)];
        assert_eq!(points(&windows, &results, &seen), all);
        let line = draw(&points(&windows, &results, &[]));
        assert!(
            line.contains("class=\"spark up\"") && line.contains("d=\"M0 22.0L80 12.0L100 2.0\""),
            "{line}"
        );
        assert_eq!(draw(&[]), "");
    }

    #[test]
    fn trails_are_bounded_and_forget_who_is_not_shown() {
        let (mut trails, began) = (Trails::default(), Instant::now());
        for second in 0..1_000 {
            trails.push("a", began + Duration::from_secs(second), 1.0);
        }
        trails.push("b", began, 1.0);
        assert!(trails.seen["a"].len() <= POINTS);
        trails.keep(&HashSet::from(["a"]));
        assert_eq!(trails.seen.len(), 1);
    }
}
