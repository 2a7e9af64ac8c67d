//! The busiest tokens: price, its way over five minutes, and the values of a window of one's choice.
//!
//! All windows are in the table; which one shows is chosen by radio buttons and style rules alone, so it works without
//! a script. Invariant: as many tokens as there is room for ([`BYTES`]), read once for all who look, and listed by the
//! workers the less often the more tokens there are.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::timeout;

use super::markup::{append, cut, escaped, fitting, segment};
use super::parts::PATIENCE;
use super::trail::{self, Trails};
use crate::figure;
use crate::http::State;
use crate::pipeline::status::{Sort, TokenStatus};
use crate::results::LEADING_KEY;

/// How many windows can be chosen; the page of a token has all.
pub(super) const MOST_WINDOWS: usize = 12;
/// How many tokens are asked for, and how many bytes their rows may take.
const TOKENS: usize = 10;
const BYTES: usize = 24_000;
/// Workers list this many tokens a second, for this page, at the most.
const LISTED_PER_SECOND: usize = 50_000;

/// The columns of a window: heading, field, form.
const COLUMNS: [(&str, &str, Kind); 8] = [
    ("Buys", "buy_count", Kind::Count),
    ("Sells", "sell_count", Kind::Count),
    ("Volume", "total_volume", Kind::Amount),
    ("Volume $", "volume_usd", Kind::Amount),
    ("Change", "price_change", Kind::Percent),
    ("High", "high_price", Kind::Price),
    ("Low", "low_price", Kind::Price),
    ("VWAP", "vwap", Kind::Price),
];

/// How a figure is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Count,
    Amount,
    Price,
    Percent,
}

impl Kind {
    fn write(self, value: f64) -> String {
        match self {
            Self::Count => figure::count(value as u64),
            Self::Amount => figure::amount(value),
            Self::Price => figure::price(value),
            Self::Percent => figure::percent(value),
        }
    }
}

/// The busiest tokens as they were read last.
#[derive(Debug, Default)]
pub(super) struct Busiest {
    listed: Option<Instant>,
    shown: Vec<Shown>,
    trails: Trails,
}

/// A token and its windows.
#[derive(Debug)]
struct Shown {
    status: TokenStatus,
    /// Window name to values; null before the first flush.
    results: Value,
}

impl Busiest {
    /// Reads them again; says what keeps some from being read.
    pub(super) async fn refresh(&mut self, state: &State) -> Option<String> {
        let every = Duration::from_secs((state.active_tokens() / LISTED_PER_SECOND) as u64);
        if self.listed.is_none_or(|at| at.elapsed() >= every) {
            match timeout(PATIENCE, state.live_tokens(TOKENS, Sort::Trades)).await {
                Ok(Ok(tokens)) => self.list(tokens),
                Ok(Err(problem)) => return Some(problem.error().to_owned()),
                Err(_) => return Some("the workers do not list their tokens".to_owned()),
            }
        }
        match timeout(PATIENCE, self.read(state)).await {
            Ok(notice) => notice,
            Err(_) => Some("the store does not give results".to_owned()),
        }
    }

    fn list(&mut self, tokens: Vec<TokenStatus>) {
        let mut before = std::mem::take(&mut self.shown);
        self.shown = tokens
            .into_iter()
            .map(|status| {
                let known = before.iter_mut().find(|shown| shown.status.token == status.token);
                let results = known.map_or(Value::Null, |shown| shown.results.take());
                Shown { status, results }
            })
            .collect();
        let tokens = self.shown.iter().map(|shown| shown.status.token.as_str()).collect::<HashSet<_>>();
        self.trails.keep(&tokens);
        self.listed = Some(Instant::now());
    }

    async fn read(&mut self, state: &State) -> Option<String> {
        let key: [Arc<str>; 1] = [LEADING_KEY.into()];
        let windows = windows(state);
        for shown in &mut self.shown {
            match state.store.token(&shown.status.token, &key).await {
                Ok(Some(mut found)) => {
                    shown.results = found.results.remove(LEADING_KEY).unwrap_or(Value::Null);
                    let price = windows.iter().find_map(|window| price(&shown.results, window));
                    if let Some(price) = price {
                        self.trails.push(&shown.status.token, Instant::now(), price);
                    }
                }
                Ok(None) => shown.results = Value::Null,
                // The next one would only wait as long for the same answer.
                Err(error) => return Some(error.to_string()),
            }
        }
        None
    }
}

/// The names of the windows, in configured order.
pub(super) fn windows(state: &State) -> Vec<String> {
    let shape = state.results().into_iter().find(|shape| *shape.key == *LEADING_KEY);
    shape.map_or_else(Vec::new, |shape| shape.groups)
}

/// The price of the last trade in a window; none where it is empty.
pub(super) fn price(results: &Value, window: &str) -> Option<f64> {
    number(&results[window]["end_price"]).filter(|price| *price > 0.0)
}

/// Draws them.
pub(super) fn draw(state: &State, busiest: &Busiest) -> String {
    let windows = windows(state);
    let now = Instant::now();
    let lengths = trail::lengths(&windows);
    let line = |shown: &Shown| busiest.trails.line(&shown.status.token, &lengths, &shown.results, now);
    let rows: Vec<(&Shown, String)> = busiest.shown.iter().map(|shown| (shown, line(shown))).collect();
    table(&windows, &rows, state.active_tokens())
}

fn table(windows: &[String], tokens: &[(&Shown, String)], alive: usize) -> String {
    let offered = &windows[..windows.len().min(MOST_WINDOWS)];
    let (rows, shown) = fitting(tokens.iter().map(|(shown, line)| row(offered, shown, line)), BYTES);
    let mut out = String::new();
    append(
        &mut out,
        format_args!(
            "<section class=\"card tokens\"><div class=\"head\"><h2>Busiest tokens</h2>\
             <span class=\"note\">{shown} of {} alive</span>",
            figure::count(alive as u64)
        ),
    );
    choices(offered, &mut out);
    out.push_str("</div>");
    if tokens.is_empty() {
        out.push_str("<p>No token has traded yet.</p></section>");
        return out;
    }
    out.push_str(
        "<div class=\"scroll\"><table class=\"sticky\"><thead><tr><th scope=\"col\">Token</th>\
         <th scope=\"col\">Price $</th><th scope=\"col\">5 min</th>",
    );
    for (heading, _, _) in COLUMNS {
        append(&mut out, format_args!("<th scope=\"col\">{heading}</th>"));
    }
    append(&mut out, format_args!("</tr></thead><tbody>{rows}</tbody></table></div></section>"));
    out
}

/// The choice of a window.
fn choices(windows: &[String], out: &mut String) {
    if windows.is_empty() {
        return;
    }
    out.push_str("<fieldset aria-label=\"Window\">");
    for (index, window) in windows.iter().enumerate() {
        let checked = if index == 0 { " checked" } else { "" };
        append(
            out,
            format_args!(
                "<input type=\"radio\" name=\"w\" id=\"w{index}\"{checked}><label for=\"w{index}\">{}</label>",
                escaped(&cut(window, 16))
            ),
        );
    }
    out.push_str("</fieldset>");
}

fn row(windows: &[String], shown: &Shown, line: &str) -> String {
    let mut out = String::new();
    let token = &shown.status.token;
    let price = windows.iter().find_map(|window| price(&shown.results, window));
    append(
        &mut out,
        format_args!(
            "<tr><th scope=\"row\"><a class=\"mono\" href=\"/token/{}\" title=\"{}\">{}</a></th>\
             <td>{}</td><td>{line}</td>",
            segment(token),
            escaped(token),
            escaped(&short(token)),
            price.map_or_else(|| "–".to_owned(), figure::price),
        ),
    );
    for (_, field, kind) in COLUMNS {
        for (index, window) in windows.iter().enumerate() {
            cell(index, number(&shown.results[window.as_str()][field]), kind, &mut out);
        }
    }
    out.push_str("</tr>");
    out
}

fn cell(window: usize, value: Option<f64>, kind: Kind, out: &mut String) {
    let text = value.map_or_else(|| "–".to_owned(), |value| kind.write(value));
    let mood = match (kind, value) {
        (Kind::Percent, Some(change)) if change > 0.0 => " up",
        (Kind::Percent, Some(change)) if change < 0.0 => " down",
        _ => "",
    };
    append(out, format_args!("<td class=\"w w{window}{mood}\">{text}</td>"));
}

/// Reads a number, which a plugin may also have written as text.
pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// The two ends of a long address.
pub(super) fn short(token: &str) -> String {
    let characters: Vec<char> = token.chars().collect();
    if characters.len() <= 12 {
        return token.to_owned();
    }
    let (begin, end) = (&characters[..5], &characters[characters.len() - 5..]);
    begin.iter().chain(std::iter::once(&'…')).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(token: &str, results: Value) -> Shown {
        let status = TokenStatus { token: token.to_owned(), last_trade_ms: 0, trades: 1, shard: 0 };
        Shown { status, results }
    }

    #[test]
    fn a_token_shows_its_price_and_a_cell_for_each_window_and_column() {
        let results = json!({
            "1min": {"buy_count": 1200, "price_change": -2.5, "vwap": 0.0000012345, "end_price": 0},
            "1hour": {"end_price": 0.5},
        });
        let shown = shown("abc", results);
        let out = table(&["1min".to_owned(), "1hour".to_owned()], &[(&shown, String::new())], 7);
        assert_eq!(out.matches("<td class=\"w ").count(), 2 * COLUMNS.len());
        for part in [
            "<td class=\"w w0\">1\u{202f}200</td>",
            "<td class=\"w w0 down\">-2.50 %</td>",
            "<td class=\"w w0\">0.0000012345</td>",
            "<td>0.50000</td>",
            "1 of 7 alive",
        ] {
            assert!(out.contains(part), "{part} is missing in\n{out}");
        }
    }

    #[test]
    fn a_hostile_address_or_window_stays_text() {
        let token = "\"><script>alert(1)</script>";
        let shown = shown(token, Value::Null);
        let out = table(&["<b>".to_owned()], &[(&shown, String::new())], 1);
        assert!(!out.contains("<script") && !out.contains("<b>"), "{out}");
        assert!(out.contains("title=\"&quot;&gt;&lt;script&gt;"));
    }

    #[test]
    fn long_addresses_show_both_ends() {
        assert_eq!(short("So11111111111111111111111111111111111111112"), "So111…11112");
        assert_eq!(short("abc"), "abc");
    }
}
