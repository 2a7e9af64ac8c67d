//! Output: the form of results in Redis.

use super::parse;
use super::reader::Reader;
use super::setting::Setting;

/// The settings of this concern.
pub(super) const SETTINGS: &[Setting] =
    &[Setting::new("OUTPUT_ENCODING", "json", "The form of results in Redis: json or msgpack.")];

/// In which form results are written.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The encoding of result values in Redis.
    pub encoding: Encoding,
}

/// The encoding of result values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// JSON text.
    Json,
    /// MessagePack.
    Msgpack,
}

const ENCODINGS: &[(&str, Encoding)] = &[("json", Encoding::Json), ("msgpack", Encoding::Msgpack)];

impl Output {
    /// Reads this part.
    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let encoding = from.value("OUTPUT_ENCODING", parse::choice(ENCODINGS));
        Some(Self { encoding: encoding? })
    }
}
