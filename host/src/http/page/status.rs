//! How the service is, at one glance: a word, what it depends on, and why not, if not.
//!
//! Invariant: the word is the one of `/health` and `/health/ready`.

use std::fmt::Display;

use super::markup::{append, cut, escaped};
use crate::clock::rfc3339;
use crate::config::Partitioning;
use crate::figure;
use crate::http::{State, health};

/// How many reasons are shown, and how long each may be.
const REASONS: usize = 5;
const REASON_LENGTH: usize = 160;

/// Draws it; `notice` is what could not be read for the rest of the page.
pub(super) fn draw(state: &State, notice: Option<String>) -> String {
    let mut reasons = health::reasons(state);
    let (word, tone) = word(state.started(), &reasons);
    // A store that is away is among the reasons already, in the same words.
    reasons.extend(notice.filter(|notice| !reasons.iter().any(|reason| reason.contains(notice.as_str()))));
    let mut out = String::new();
    append(
        &mut out,
        format_args!(
            "<div class=\"card band {tone}\" role=\"status\" data-title=\"{word} · aggregator\">\
             <span class=\"word\">{word}</span><ul class=\"checks\">"
        ),
    );
    for (part, check) in state.health.checks() {
        let tone = if check.ok { "good" } else { "bad" };
        let name = format!("{part:?}");
        let reason = cut(&check.reason, REASON_LENGTH);
        append(
            &mut out,
            format_args!("<li class=\"{tone}\" title=\"{}\">{}</li>", escaped(&reason), escaped(&name)),
        );
    }
    out.push_str("</ul><dl class=\"facts\">");
    fact(&mut out, "up", figure::span(state.uptime().as_secs_f64().floor()));
    fact(&mut out, "partitioning", partitioning(state.layout.partitioning));
    fact(&mut out, "tuned for", format!("{:?}", state.tuning.mode()).to_lowercase());
    fact(&mut out, "UTC", &rfc3339::text(state.clock.now_ms())[11..19]);
    out.push_str("</dl>");
    if !reasons.is_empty() {
        out.push_str("<ul class=\"reasons\">");
        for reason in reasons.iter().take(REASONS) {
            append(&mut out, format_args!("<li>{}</li>", escaped(&cut(reason, REASON_LENGTH))));
        }
        if reasons.len() > REASONS {
            append(&mut out, format_args!("<li>and {} more</li>", reasons.len() - REASONS));
        }
        out.push_str("</ul>");
    }
    out.push_str("</div>");
    out
}

fn word(started: bool, reasons: &[String]) -> (&'static str, &'static str) {
    match (started, reasons.is_empty()) {
        (true, true) => ("Healthy", "good"),
        (false, _) if reasons.iter().any(|reason| reason.contains("standing by")) => ("Standing by", "warn"),
        (false, _) => ("Starting", "warn"),
        (true, false) => ("Unhealthy", "bad"),
    }
}

/// As the setting is written.
fn partitioning(by: Partitioning) -> &'static str {
    match by {
        Partitioning::Shuffle => "shuffle",
        Partitioning::ByToken => "by-token",
        Partitioning::Repartition => "repartition",
    }
}

fn fact(out: &mut String, name: &str, value: impl Display) {
    append(out, format_args!("<div><dt>{name}</dt><dd>{value}</dd></div>"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_says_whether_somebody_must_act() {
        let reasons = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        assert_eq!(word(true, &[]), ("Healthy", "good"));
        assert_eq!(word(true, &reasons(&["redis: no route"])), ("Unhealthy", "bad"));
        assert_eq!(word(false, &[]), ("Starting", "warn"));
        assert_eq!(word(false, &reasons(&["kafka: standing by: host-a serves"])), ("Standing by", "warn"));
    }
}
