//! What is wrong with a configuration, as one report.

use std::fmt;

/// How much of a wrong value is shown, in characters.
const SHOWN_CHARS: usize = 80;

/// One wrong value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable.
    pub variable: String,
    /// Its value, made safe to show; none when it is not set.
    pub value: Option<String>,
    /// What is allowed, or what is missing.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable, value, allowed } = self;
        match value {
            Some(value) => write!(f, "{variable}={value}: {allowed}"),
            None => write!(f, "{variable} is not set: {allowed}"),
        }
    }
}

/// Every problem of a configuration; the start is refused with exit code 64.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigErrors {
    /// The problems in the order in which they were found.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "the configuration has {count} problem{plural}:")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Makes a value safe to show: secrets masked, control characters escaped, cut where it is long.
pub(super) fn shown(value: &str, secret: bool) -> String {
    if secret {
        return "***".to_owned();
    }
    // A login that was pasted into an address stands before an `@`.
    let (login, rest) = value.rsplit_once('@').map_or(("", value), |(_, rest)| ("***@", rest));
    let cut: String = rest.chars().take(SHOWN_CHARS).collect();
    let more = if cut.len() < rest.len() { "..." } else { "" };
    format!("\"{login}{}{more}\"", cut.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_a_line_for_each_problem() {
        let problem = |variable: &str, value: Option<&str>| Problem {
            variable: variable.to_owned(),
            value: value.map(|v| shown(v, false)),
            allowed: "allowed is a word".to_owned(),
        };
        let errors = ConfigErrors { problems: vec![problem("A", Some("1\n2")), problem("B", None)] };
        assert_eq!(
            errors.to_string(),
            "the configuration has 2 problems:\n  A=\"1\\n2\": allowed is a word\n  \
             B is not set: allowed is a word"
        );
    }

    #[test]
    fn a_login_in_an_address_is_not_shown() {
        assert_eq!(shown("redis://me:pa@ss@host:1", false), "\"***@host:1\"");
        assert_eq!(shown("word", true), "***");
    }
}
