//! The log: which lines, in which form.

use super::parse;
use super::reader::Reader;
use super::setting::Setting;

/// The settings of this concern.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("LOG_LEVEL", "info", "The least important lines: debug, info, warn, error or fatal."),
    Setting::new("LOG_FORMAT", "json", "json (one object a line) or text (for people at a terminal)."),
];

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// The least important lines.
    pub level: Level,
    /// The form of a line.
    pub format: Format,
}

/// How important a line is, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For those who look for a fault.
    Debug,
    /// What the service does.
    Info,
    /// What is odd and was dealt with.
    Warn,
    /// What went wrong.
    Error,
    /// What ends the service.
    Fatal,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// For people at a terminal.
    Text,
}

const LEVELS: &[(&str, Level)] = &[
    ("debug", Level::Debug),
    ("info", Level::Info),
    ("warn", Level::Warn),
    ("error", Level::Error),
    ("fatal", Level::Fatal),
];

const FORMATS: &[(&str, Format)] = &[("json", Format::Json), ("text", Format::Text)];

impl Log {
    /// Reads this part.
    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let level = from.value("LOG_LEVEL", parse::choice(LEVELS));
        let format = from.value("LOG_FORMAT", parse::choice(FORMATS));
        Some(Self { level: level?, format: format? })
    }
}
