//! What can go wrong with a plugin, and at which stage.
//!
//! Invariant: every error says the stage, the reason and, where there is one, the remedy; guest text
//! in it is cut and free of control characters.

use std::fmt;

/// Where in a plugin's life something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The file could not be read.
    Read,
    /// It is no component of the contract's world and version.
    Check,
    /// It could not be compiled.
    Compile,
    /// An instance could not be made.
    Instantiate,
    /// `describe` failed, or what it said is not allowed.
    Describe,
    /// The configuration was refused.
    Configure,
    /// `process` failed.
    Process,
    /// `flush` failed, or its table is not what the schema says.
    Flush,
    /// `touch` failed.
    Touch,
    /// `export-state` or `trim` failed.
    Export,
    /// `import-state` failed or refused the state.
    Import,
    /// `forget` failed.
    Forget,
}

impl Stage {
    /// The stages in which an instance that runs can fail.
    pub const OF_AN_INSTANCE: [Self; 7] = [
        Self::Instantiate,
        Self::Process,
        Self::Flush,
        Self::Touch,
        Self::Export,
        Self::Import,
        Self::Forget,
    ];

    /// The stage as a word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Check => "check",
            Self::Compile => "compile",
            Self::Instantiate => "instantiate",
            Self::Describe => "describe",
            Self::Configure => "configure",
            Self::Process => "process",
            Self::Flush => "flush",
            Self::Touch => "touch",
            Self::Export => "export-state",
            Self::Import => "import-state",
            Self::Forget => "forget",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of failure it was, from a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The guest trapped, by itself or by a call that it may not make.
    Trap,
    /// A call took longer than it may.
    Deadline,
    /// The guest wanted more memory than it may have.
    Memory,
    /// What the guest answered breaks a rule, or is a refusal in words.
    Answer,
}

impl FaultKind {
    /// The kind as a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Answer => "answer",
        }
    }
}

/// A plugin that cannot be used, or cannot be used any longer.
///
/// Who must act: the plugin's author; the operator may put another file in its place.
#[derive(Debug, Clone, thiserror::Error)]
#[error("plugin {plugin}, {stage}: {reason}")]
pub struct PluginError {
    /// The plugin's name, or its file's while it has none.
    pub plugin: String,
    /// Where it failed.
    pub stage: Stage,
    /// What kind of failure it was.
    pub kind: FaultKind,
    /// What happened, in words, with the remedy where there is one.
    pub reason: String,
    /// The row of the batch that the plugin named while dying.
    pub row: Option<u32>,
}

impl PluginError {
    /// An answer that breaks a rule, or a refusal in words.
    pub fn new(plugin: &str, stage: Stage, reason: impl fmt::Display) -> Self {
        Self {
            plugin: printable(plugin, 64),
            stage,
            kind: FaultKind::Answer,
            reason: printable(&reason.to_string(), 2_000),
            row: None,
        }
    }
}

/// Text of a guest, fit for a log or a terminal: control characters escaped, and cut to a length.
pub(crate) fn printable(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= max {
            out.push('…');
            break;
        }
        if c.is_control() && c != '\n' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_text_is_cut_and_escaped() {
        assert_eq!(printable("a\u{1b}[31m", 100), "a\\u{1b}[31m");
        assert_eq!(printable("abcdef", 3), "abc…");
    }
}
