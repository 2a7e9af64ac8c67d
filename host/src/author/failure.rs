//! Why a command of an author did not do what was asked, and who acts.
//!
//! Invariant: a check that did not pass is told from everything that kept it from being made, so that a build
//! server can rely on the exit code.

use std::fmt::Display;

use crate::plugin::Refusal;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A check was made and did not pass; the plugin's author acts: exit 1.
    #[error("{0}")]
    Verdict(String),
    /// The plugin, its crate, or what the command was given cannot be used: exit 64.
    #[error("{0}")]
    Unusable(String),
    /// A file, a program or a host does not answer: exit 69.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of this program or of the machine: exit 70.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Verdict(_) => 1,
            Self::Unusable(_) => 64,
            Self::Unavailable(_) => 69,
            Self::Internal(_) => 70,
        }
    }

    /// A fault of this program or of the machine.
    pub(crate) fn internal(error: impl Display) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Unusable(refusal.to_string())
    }
}
