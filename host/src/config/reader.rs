//! Reads values from a map and gathers everything that is wrong with them.
//!
//! Invariant: a value that could not be given has left a problem behind, so that a caller may go on
//! with `None` and every problem is found in one go.

use std::collections::BTreeMap;

use super::error::{ConfigErrors, Problem, shown};
use super::setting;
use super::warning::{self, Warning};

/// The variables that are being read, with what was found wrong so far.
pub(super) struct Reader<'a> {
    map: &'a BTreeMap<String, String>,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl<'a> Reader<'a> {
    /// A reader that has found nothing wrong yet.
    pub(super) fn new(map: &'a BTreeMap<String, String>) -> Self {
        Self { map, problems: Vec::new(), warnings: warning::of_names(map) }
    }

    /// Gives a variable's text as it was set; an empty one counts as not set.
    pub(super) fn given(&self, name: &str) -> Option<&'a str> {
        let text = self.map.get(name)?.as_str();
        // Blanks may belong to a secret.
        let text = if is_secret(name) { text } else { text.trim() };
        (!text.is_empty()).then_some(text)
    }

    /// Reads a setting that has a default.
    pub(super) fn value<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let default = setting::find(name).map_or("", |setting| setting.default);
        let text = self.given(name).unwrap_or(default);
        match parse(text) {
            Ok(value) => Some(value),
            Err(allowed) => {
                self.refuse(name, allowed);
                None
            }
        }
    }

    /// Reads a setting that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.given(name)?;
        self.value(name, parse)
    }

    /// Notes that a variable's value, or its absence, is wrong.
    pub(super) fn refuse(&mut self, name: &str, allowed: impl Into<String>) {
        let value = self.given(name).map(|text| shown(text, is_secret(name)));
        self.problems.push(Problem { variable: name.to_owned(), value, allowed: allowed.into() });
    }

    /// Notes something that an operator should know and that stops nothing.
    pub(super) fn warn(&mut self, name: &str, text: impl Into<String>) {
        self.warnings.push(Warning { variable: name.to_owned(), text: text.into() });
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Gives all problems when there was one.
    pub(super) fn finish(self) -> Result<Vec<Warning>, ConfigErrors> {
        if self.problems.is_empty() {
            return Ok(self.warnings);
        }
        Err(ConfigErrors { problems: self.problems })
    }
}

fn is_secret(name: &str) -> bool {
    setting::find(name).is_some_and(|setting| setting.secret)
}
