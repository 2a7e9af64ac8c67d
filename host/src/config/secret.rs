//! A text that must not be shown.

use std::fmt;

/// A password or token: shown as `***` wherever it is formatted.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Gives the text itself, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in a time that depends on the candidate's length only, so that an answer's delay tells
    /// nothing about the secret.
    #[must_use]
    pub fn matches(&self, candidate: &str) -> bool {
        let own = self.0.as_bytes();
        let mut difference = u8::from(own.len() != candidate.len());
        for (at, byte) in candidate.bytes().enumerate() {
            difference |= byte ^ own.get(at).copied().unwrap_or(!byte);
        }
        difference == 0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_formatted() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "*** *** ***");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn only_the_same_text_matches() {
        let secret = Secret::new("hunter2");
        assert!(secret.matches("hunter2"));
        for other in ["", "hunter", "hunter3", "hunter22"] {
            assert!(!secret.matches(other), "{other}");
        }
        assert!(Secret::new("").matches(""));
    }
}
