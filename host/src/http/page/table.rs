//! The table of tokens and windows: one body for each token, one row for each window.
//!
//! Which window is shown is chosen by radio buttons and style rules alone, so it works without a
//! script. Invariant: the script fills the same cells in the same order (`page.js`).

use serde_json::Value;

use super::append;
use super::markup::{escaped, segment};
use crate::http::figure;
use crate::pipeline::status::TokenStatus;

/// A token and its windows.
pub(super) struct Shown {
    pub(super) status: TokenStatus,
    /// Window name to values; none before the first flush.
    pub(super) results: Option<Value>,
}

/// The columns: heading, field, form. `data-f` and `data-k` tell the script.
const COLUMNS: [(&str, &str, Kind); 11] = [
    ("Buys", "buy_count", Kind::Count),
    ("Sells", "sell_count", Kind::Count),
    ("Buy vol", "buy_volume", Kind::Amount),
    ("Sell vol", "sell_volume", Kind::Amount),
    ("Volume $", "volume_usd", Kind::Amount),
    ("Price $", "end_price", Kind::Price),
    ("Change", "price_change", Kind::Percent),
    ("High", "high_price", Kind::Price),
    ("Low", "low_price", Kind::Price),
    ("VWAP", "vwap", Kind::Price),
    ("Start", "start_price", Kind::Price),
];

/// How a figure is written.
#[derive(Clone, Copy)]
enum Kind {
    Count,
    Amount,
    Price,
    Percent,
}

impl Kind {
    /// The name of the script's function.
    fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Amount => "amount",
            Self::Price => "price",
            Self::Percent => "percent",
        }
    }

    fn write(self, value: f64) -> String {
        match self {
            Self::Count => figure::count(value as u64),
            Self::Amount => figure::amount(value),
            Self::Price => figure::price(value),
            Self::Percent => figure::percent(value),
        }
    }
}

/// The rules that show one window's rows only.
pub(super) fn choices_style(windows: &[String], out: &mut String) {
    for index in 0..windows.len() {
        append(out, format_args!("main:has(#w{index}:checked) tbody tr:not(.w{index}){{display:none}}\n"));
    }
}

/// The choice of a window.
pub(super) fn choices(windows: &[String], out: &mut String) {
    out.push_str("<fieldset><legend>Window</legend>");
    out.push_str("<input type=\"radio\" name=\"w\" id=\"all\" checked><label for=\"all\">all</label>");
    for (index, window) in windows.iter().enumerate() {
        append(
            out,
            format_args!(
                "<input type=\"radio\" name=\"w\" id=\"w{index}\"><label for=\"w{index}\">{}</label>",
                escaped(window)
            ),
        );
    }
    out.push_str("</fieldset>\n");
}

/// The table itself; `limit` tells the script how many tokens belong to it.
pub(super) fn table(windows: &[String], tokens: &[Shown], limit: usize, out: &mut String) {
    out.push_str("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Busiest tokens\">");
    append(
        out,
        format_args!(
            "<table data-limit=\"{limit}\"><thead><tr><th scope=\"col\">Token</th><th scope=\"col\">Window</th>"
        ),
    );
    for (heading, field, kind) in COLUMNS {
        let kind = kind.name();
        append(out, format_args!("<th scope=\"col\" data-f=\"{field}\" data-k=\"{kind}\">{heading}</th>"));
    }
    out.push_str("</tr></thead>\n");
    for token in tokens {
        body(windows, token, out);
    }
    let hidden = if tokens.is_empty() { "" } else { " hidden" };
    append(out, format_args!("</table></div><p id=\"empty\"{hidden}>No token has traded yet.</p>\n"));
}

fn body(windows: &[String], shown: &Shown, out: &mut String) {
    let token = &shown.status.token;
    let title = escaped(token);
    append(out, format_args!("<tbody title=\"{title}\">"));
    for (index, window) in windows.iter().enumerate() {
        append(
            out,
            format_args!(
                "<tr class=\"w{index}\"><th scope=\"row\">\
                 <a href=\"/tokens/{}\">{}</a></th><td>{}</td>",
                segment(token),
                escaped(&short(token)),
                escaped(window),
            ),
        );
        let values = shown.results.as_ref().and_then(|all| all.get(window));
        for (_, field, kind) in COLUMNS {
            let value = values.and_then(|values| number(values.get(field)?));
            cell(value, kind, out);
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n");
}

fn cell(value: Option<f64>, kind: Kind, out: &mut String) {
    let text = value.map_or_else(|| "–".to_owned(), |value| kind.write(value));
    let class = match (kind, value) {
        (Kind::Percent, Some(change)) if change > 0.0 => " class=\"up\"",
        (Kind::Percent, Some(change)) if change < 0.0 => " class=\"down\"",
        _ => "",
    };
    append(out, format_args!("<td{class}>{text}</td>"));
}

/// Reads a number, which a plugin may also have written as text.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// The two ends of a long address.
fn short(token: &str) -> String {
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

    fn shown(token: &str, results: Option<Value>) -> Shown {
        let status = TokenStatus { token: token.to_owned(), last_trade_ms: 0, trades: 1, shard: 0 };
        Shown { status, results }
    }

    #[test]
    fn a_token_shows_a_row_for_each_window() {
        let results = json!({"1min": {"buy_count": 1200, "price_change": -2.5, "vwap": 0.0000012345}});
        let mut out = String::new();
        let windows = ["1min".to_owned(), "1hour".to_owned()];
        table(&windows, &[shown("abc", Some(results))], 20, &mut out);
        assert_eq!(out.matches("<tr class=").count(), 2);
        for part in ["<td>1\u{202f}200</td>", "<td class=\"down\">-2.50 %</td>", "<td>0.0000012345</td>"] {
            assert!(out.contains(part), "{part} is missing in\n{out}");
        }
    }

    #[test]
    fn a_hostile_address_stays_text() {
        let mut out = String::new();
        let token = "\"><script>alert(1)</script>";
        table(&["1min".to_owned()], &[shown(token, None)], 20, &mut out);
        assert!(!out.contains("<script"));
        assert!(out.contains("title=\"&quot;&gt;&lt;script&gt;"));
    }

    #[test]
    fn long_addresses_show_both_ends() {
        assert_eq!(short("So11111111111111111111111111111111111111112"), "So111…11112");
        assert_eq!(short("abc"), "abc");
    }
}
