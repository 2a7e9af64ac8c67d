//! What can be wrong with a plugin's declarations and with its tables.
//!
//! Both are faults of the plugin: the first refuses it before it runs, the second is treated like a
//! trap of its `flush`. Invariant: text that a guest chose is quoted with escapes and cut.

/// Why a plugin's results cannot be written at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The result key is not one.
    #[error("result key {0} is not allowed: it has 1 to 32 of a-z, 0-9, _ and -, and is not last_update")]
    ResultKey(String),
    /// A field's name is not one.
    #[error("field name {0} is not allowed: it has 1 to 64 of a-z, 0-9 and _")]
    FieldName(String),
    /// Two fields share a name.
    #[error("two fields are called {0}")]
    FieldTwice(String),
    /// A group's name is not one.
    #[error("group name {0} is not allowed: it has 1 to 64 bytes and no control characters")]
    GroupName(String),
    /// Two groups share a name.
    #[error("two groups are called {0}")]
    GroupTwice(String),
    /// There is nothing to write, or too much of it.
    #[error("{what}: {found} declared, 1 to {limit} are allowed")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A decimal has more places than its 128 bits have digits.
    #[error("field {field} is a decimal with {places} places, at most {limit} are allowed")]
    Places {
        /// The field.
        field: String,
        /// Its declared places.
        places: u32,
        /// The most there may be.
        limit: u32,
    },
    /// The Kafka output needs a field that is not there.
    #[error("the Kafka output needs the field {field} of kind {kind}, which the plugin does not declare")]
    NoField {
        /// The missing field.
        field: &'static str,
        /// The kind that it needs.
        kind: &'static str,
    },
}

/// How a table breaks what its plugin declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A list has not as many elements as it must.
    #[error("{what}: {found} given, {expected} expected")]
    Length {
        /// The list.
        what: String,
        /// How many elements it has.
        found: usize,
        /// How many it must have.
        expected: usize,
    },
    /// A list has more elements than it may.
    #[error("{what}: {found} given, at most {limit} are allowed")]
    TooMany {
        /// The list.
        what: &'static str,
        /// How many elements it has.
        found: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A column holds values of another kind.
    #[error("field {field} is declared as {declared}, its column holds {found}")]
    Kind {
        /// The field.
        field: String,
        /// Its declared kind.
        declared: &'static str,
        /// What the column holds.
        found: &'static str,
    },
    /// The ends of a text column do not divide its bytes into texts.
    #[error("field {field}: text {index} does not end where a text can end")]
    TextEnd {
        /// The field.
        field: String,
        /// Which text.
        index: usize,
    },
    /// The bytes of a text column are no UTF-8.
    #[error("field {field}: its texts are not valid UTF-8")]
    NotUtf8 {
        /// The field.
        field: String,
    },
    /// There is more to come, but nothing comes: who asks again would ask for ever.
    #[error("a table without a row says that there is more")]
    MoreOfNothing,
    /// A forgotten token has no last row.
    #[error("token {0} is forgotten in a table that has no row for it")]
    ForgottenWithoutRow(u32),
}
