//! What is odd about a configuration without stopping the start: names without a meaning here.

use std::collections::BTreeMap;
use std::fmt;

use super::setting;

/// Settings of the ancestor that this service has no use for.
const WITHOUT_MEANING: [&str; 12] = [
    "GC_TARGET_PERCENTAGE",
    "MAX_TOKEN_PROCESSORS",
    "REDIS_MAX_RETRIES",
    "REDIS_RETRY_DELAY",
    "REDIS_PIPELINE_SIZE",
    "REDIS_IDLE_TIMEOUT",
    "REDIS_MAX_CONN_AGE",
    "TRADE_BUFFER_SIZE",
    "PROCESSOR_CHANNEL_SIZE",
    "WORKER_QUEUE_SIZE",
    "BATCH_PROCESSING_SIZE",
    "AGGREGATE_PUBLISH_INTERVAL",
];

/// Beginnings of names that belong to this service alone. `KAFKA_` and `REDIS_` are none: container
/// platforms put variables like `REDIS_PORT` into every environment.
const OWN_PREFIXES: [&str; 4] = ["PLUGIN_", "KAFKA_SASL_", "KAFKA_SSL_", "REDIS_TLS"];

/// Names shorter than this are not compared with settings; too many words are like them.
const COMPARED_LENGTH: usize = 8;

/// Names longer than this are no misspelling; it bounds the comparison.
const LONGEST_COMPARED: usize = 64;

/// Something that an operator should know and that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The variable.
    pub variable: String,
    /// What is odd about it.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.variable, self.text)
    }
}

/// Gives a warning for each name that looks like a setting and is none.
pub(super) fn of_names(map: &BTreeMap<String, String>) -> Vec<Warning> {
    map.iter()
        .filter(|(name, value)| !value.is_empty() && setting::find(name).is_none())
        .filter_map(|(name, _)| Some(Warning { variable: name.clone(), text: oddity(name)? }))
        .collect()
}

fn oddity(name: &str) -> Option<String> {
    if WITHOUT_MEANING.contains(&name) {
        return Some("has no meaning in this service and is ignored".to_owned());
    }
    if let Some(near) = nearest(name) {
        return Some(format!("is no setting and is ignored; did you mean {near}?"));
    }
    OWN_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix))
        .then(|| "is no setting and is ignored".to_owned())
}

/// Finds the setting that a name is a misspelling of.
fn nearest(name: &str) -> Option<&'static str> {
    if !(COMPARED_LENGTH..=LONGEST_COMPARED).contains(&name.len()) {
        return None;
    }
    setting::all()
        .map(|setting| (distance(name.as_bytes(), setting.name.as_bytes()), setting.name))
        .filter(|(edits, _)| *edits <= 2)
        .min()
        .map(|(_, near)| near)
}

/// Levenshtein's distance: the least number of letters to insert, remove or replace.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, from) in a.iter().enumerate() {
        let mut diagonal = at;
        let mut left = at + 1;
        for (to, slot) in b.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *slot;
            left = replaced.min(*slot + 1).min(left + 1);
            *slot = left;
        }
        row[0] = at + 1;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(name: &str) -> Option<String> {
        let map = BTreeMap::from([(name.to_owned(), "1".to_owned())]);
        of_names(&map).first().map(ToString::to_string)
    }

    #[test]
    fn each_name_of_the_ancestor_without_a_meaning_draws_one_warning() {
        let map = WITHOUT_MEANING.iter().map(|n| ((*n).to_owned(), "1".to_owned())).collect();
        assert_eq!(of_names(&map).len(), WITHOUT_MEANING.len());
    }

    #[test]
    fn a_misspelled_name_draws_a_warning_that_names_the_setting() {
        let text = warned("FLUSH_INTERVALL").unwrap_or_default();
        assert!(text.contains("did you mean FLUSH_INTERVAL?"), "{text}");
        assert!(warned("PLUGIN_TIMEOUT").is_some());
        assert!(warned("KAFKA_SSL_CERT").is_some());
    }

    #[test]
    fn names_of_others_draw_no_warning() {
        for name in [
            "PATH",
            "HOME",
            "LANG",
            "KAFKA_PORT",
            "REDIS_PORT",
            "REDIS_SERVICE_HOST",
            "LC_TIME",
            "KAFKA_PORT_9092_TCP_ADDR",
            "HOSTNAME",
            "RUST_LOG",
            "RUST_BACKTRACE",
            "BLOCK",
        ] {
            assert_eq!(warned(name), None, "{name}");
        }
    }

    #[test]
    fn distance_counts_the_edits() {
        for (a, b, edits) in [("", "abc", 3), ("kitten", "sitting", 3), ("abc", "abc", 0)] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), edits, "{a} {b}");
        }
    }
}
