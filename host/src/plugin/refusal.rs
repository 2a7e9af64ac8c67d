//! Why a candidate does not become a running plugin: stage, reason, remedy.
//!
//! Not for faults of a plugin that runs; those are [`PluginError`]s. Invariant: every cause has a remedy
//! that says who does what, and guest text in a reason is cut and escaped.

use std::fmt;

use super::error::{FaultKind, PluginError, Stage, printable};

/// What is wrong, from a closed set: the remedy and a metric's label follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The file or the directory cannot be read.
    Unreadable,
    /// The directory is read-only.
    ReadOnly,
    /// The directory takes nothing, for another reason.
    Unwritable,
    /// The file has a name that no plugin can have, or not the plugin's.
    FileName,
    /// Two files are one plugin.
    Twin,
    /// The component is larger than allowed.
    TooLarge,
    /// The bytes are not those that were announced.
    DigestMismatch,
    /// The bytes end too early.
    Incomplete,
    /// It is no component at all.
    NotAComponent,
    /// It was not made for this contract.
    NoContract,
    /// It was made for a contract that this host does not know.
    OtherContract,
    /// Its exports are not those of the contract's world.
    OtherWorld,
    /// It imports what the host does not have.
    UnknownImport,
    /// Its code is not valid.
    DoesNotCompile,
    /// Compiling takes too long.
    CompileTooLong,
    /// Compiling takes too much memory.
    CompileTooLarge,
    /// The compiler could not do its work.
    CompilerFailed,
    /// It trapped before it was configured.
    Trapped,
    /// A call took too long.
    Deadline,
    /// It needs more memory than it may have.
    Memory,
    /// What it says of itself breaks a rule.
    Description,
    /// Its results cannot be written.
    Schema,
    /// Another plugin writes under its result key.
    ResultKeyTaken,
    /// It does not take its configuration.
    Configuration,
    /// The service ends.
    Ending,
}

impl Cause {
    /// The cause as a word for metrics and HTTP.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::ReadOnly => "read_only",
            Self::Unwritable => "unwritable",
            Self::FileName => "file_name",
            Self::Twin => "twin",
            Self::TooLarge => "too_large",
            Self::DigestMismatch => "digest_mismatch",
            Self::Incomplete => "incomplete",
            Self::NotAComponent => "not_a_component",
            Self::NoContract => "no_contract",
            Self::OtherContract => "other_contract",
            Self::OtherWorld => "other_world",
            Self::UnknownImport => "unknown_import",
            Self::DoesNotCompile => "does_not_compile",
            Self::CompileTooLong => "compile_too_long",
            Self::CompileTooLarge => "compile_too_large",
            Self::CompilerFailed => "compiler_failed",
            Self::Trapped => "trapped",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Description => "description",
            Self::Schema => "schema",
            Self::ResultKeyTaken => "result_key_taken",
            Self::Configuration => "configuration",
            Self::Ending => "ending",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Unreadable => "give the service's user the right to read it",
            Self::ReadOnly => {
                "make PLUGINS_DIR writable for the service's user, or put the file where the directory comes from"
            }
            Self::Unwritable => "look at the disk and at PLUGINS_DIR, then try again",
            Self::Twin => "take one of the two files away: - and _ in a name are the same plugin",
            Self::FileName => "rename the file to the plugin's name, of a-z, 0-9, _ and -, with .wasm",
            Self::TooLarge => {
                "build it with optimisation and without debug information, or raise PLUGIN_UPLOAD_MAX"
            }
            Self::DigestMismatch => "send the file again, or correct the digest",
            Self::Incomplete => {
                "copy the file again, under another name first, and rename it when it is complete"
            }
            Self::NotAComponent | Self::DoesNotCompile => {
                "build it with: cargo build --release --target wasm32-wasip2"
            }
            Self::NoContract | Self::OtherWorld => {
                "build it with the guest SDK, whose export_plugin! does the rest"
            }
            Self::OtherContract => "build it with the guest SDK of this host's version, or update the host",
            Self::UnknownImport => {
                "remove what needs the import: a plugin may import aggregator:plugin/host only"
            }
            Self::CompileTooLong => "make the component smaller, or raise PLUGIN_COMPILE_TIMEOUT",
            Self::CompileTooLarge => "make the component smaller",
            Self::CompilerFailed => "look at memory and limits of the machine, then try again",
            Self::Trapped => "correct the plugin: it must not fail before its first trade",
            Self::Deadline => "correct the plugin, or raise PLUGIN_DEADLINE",
            Self::Memory => "correct the plugin, or raise PLUGIN_MEMORY_MB",
            Self::Description | Self::Schema => {
                "correct what the plugin declares; wit/plugin.wit has the rules"
            }
            Self::ResultKeyTaken => "give the plugin another result key, or remove the other plugin first",
            Self::Configuration => "correct the .json beside the component, or remove it for the defaults",
            Self::Ending => "try again when the service has started",
        }
    }
}

/// A candidate that was refused; whatever ran before goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The plugin's name, or its file's.
    pub plugin: String,
    /// The digest of the component; empty where it was not read.
    pub digest: String,
    /// How far it came.
    pub stage: Stage,
    /// What is wrong.
    pub cause: Cause,
    /// What is wrong, in words.
    pub reason: String,
}

impl Refusal {
    /// Refuses a candidate.
    pub fn new(plugin: &str, stage: Stage, cause: Cause, reason: impl fmt::Display) -> Self {
        Self {
            plugin: printable(plugin, 64),
            digest: String::new(),
            stage,
            cause,
            reason: printable(&reason.to_string(), 2_000),
        }
    }

    /// Refuses a candidate for what it did in a call.
    #[must_use]
    pub fn of_fault(error: &PluginError) -> Self {
        let cause = match (error.kind, error.stage) {
            (FaultKind::Deadline, _) => Cause::Deadline,
            (FaultKind::Memory, _) => Cause::Memory,
            (FaultKind::Trap, _) => Cause::Trapped,
            (FaultKind::Answer, Stage::Configure) => Cause::Configuration,
            (FaultKind::Answer, _) => Cause::Schema,
        };
        Self::new(&error.plugin, error.stage, cause, &error.reason)
    }

    /// The same with the digest of what was refused.
    #[must_use]
    pub fn with_digest(self, digest: &str) -> Self {
        Self { digest: digest.to_owned(), ..self }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.cause.remedy()
    }

    /// Says it in the log, for whoever operates the service.
    pub fn log(&self) {
        tracing::warn!(
            plugin = %self.plugin,
            digest = %self.digest,
            stage = %self.stage,
            cause = self.cause.as_str(),
            reason = %self.reason,
            remedy = self.remedy(),
            "Plugin refused"
        );
    }

    /// Whether the same candidate may do another time: it was not the candidate that failed.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self.cause,
            Cause::Unreadable | Cause::CompilerFailed | Cause::ResultKeyTaken | Cause::Ending
        )
    }
}

/// `plugin vwap, check: built for contract 0.2.0, this host has 0.1.0; build it ...`
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {}, {}: {}; {}", self.plugin, self.stage, self.reason, self.remedy())
    }
}
