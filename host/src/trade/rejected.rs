//! Why a message or an element does not count, and where it stood.
//!
//! Invariant: the labels are a public contract (metrics, dead letters, HTTP); a new reason is appended to `ALL`.

use super::Column;

/// The reason of a rejection; of several that apply the first that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The message is not exactly one JSON value in valid UTF-8, or is nested too deeply.
    NotJson,
    /// The element is no object, or a field has a type that cannot be read.
    WrongType,
    /// A field is absent, null or empty.
    MissingField,
    /// The side is neither `buy` nor `sell`.
    BadSide,
    /// A number is negative or no decimal.
    BadNumber,
    /// A number or a text is beyond its limit.
    OutOfRange,
    /// The time is not RFC 3339 or no date of the calendar.
    BadTime,
    /// The trade is too far ahead of the record's own time.
    InFuture,
    /// No window could hold the trade any more; judged by the cell, not while decoding.
    TooLate,
    /// The message is longer than the limit and was not parsed.
    TooLarge,
}

impl Reason {
    /// All reasons, each at its [`Reason::index`].
    pub const ALL: [Self; 10] = [
        Self::NotJson,
        Self::WrongType,
        Self::MissingField,
        Self::BadSide,
        Self::BadNumber,
        Self::OutOfRange,
        Self::BadTime,
        Self::InFuture,
        Self::TooLate,
        Self::TooLarge,
    ];

    /// Returns the label that metrics, dead letters and HTTP show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::WrongType => "wrong_type",
            Self::MissingField => "missing_field",
            Self::BadSide => "bad_side",
            Self::BadNumber => "bad_number",
            Self::OutOfRange => "out_of_range",
            Self::BadTime => "bad_time",
            Self::InFuture => "in_future",
            Self::TooLate => "too_late",
            Self::TooLarge => "too_large",
        }
    }

    /// Returns the place of the reason in [`Reason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// One rejection. Kept small: a hostile message of 8 MiB can hold four million of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// Why it does not count.
    pub reason: Reason,
    /// The field that was judged, where it was one.
    pub column: Option<Column>,
    /// Whether the whole message was rejected and not one element of it.
    pub whole: bool,
    /// The index of the message in its batch.
    pub record: u32,
    /// The index of the element in its array; 0 for a single value and for a whole message.
    pub element: u32,
}

impl Rejected {
    /// Rejects a whole message.
    pub(crate) const fn message(reason: Reason, record: u32) -> Self {
        Self { reason, column: None, whole: true, record, element: 0 }
    }

    /// Returns the wire name of the field that was judged, or nothing where it was the element or the message.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        self.column.map_or("", Column::wire_name)
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_stands_at_its_index() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }
}
