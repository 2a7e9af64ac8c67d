//! What is written at once: the rows of one plugin and flush.
//!
//! Invariant: the ends of the rows rise and lie within the values.

use std::sync::Arc;

use super::owner::Owner;

/// Rows of one shard and plugin, at most 256, and tokens that leave the active list.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The shard; its owner record is compared.
    pub shard: u32,
    /// Who writes.
    pub owner: Owner,
    /// The last part of the keys.
    pub result_key: Arc<str>,
    /// Whether these rows carry `last_update` and the active list; one plugin's do.
    pub leading: bool,
    /// The clock T of the flush.
    pub clock_ms: i64,
    /// How long a key lives; none for ever.
    pub ttl_ms: Option<u64>,
    /// One row for each token.
    pub rows: Vec<Row>,
    /// The values of all rows, one behind the other.
    pub values: Vec<u8>,
    /// Tokens that leave the active list, after the rows are written.
    pub forgotten: Vec<Arc<str>>,
}

/// One token's part of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The token.
    pub token: Arc<str>,
    /// When it was last traded, unix milliseconds.
    pub last_trade_ms: i64,
    /// Where its value ends in the chunk's values; it begins where the one before it ended.
    pub end: usize,
}

impl Default for Chunk {
    fn default() -> Self {
        Self::new(0, "".into(), false, 0, None)
    }
}

impl Chunk {
    /// Makes a chunk without rows and without an owner.
    #[must_use]
    pub fn new(shard: u32, result_key: Arc<str>, leading: bool, clock_ms: i64, ttl_ms: Option<u64>) -> Self {
        Self {
            shard,
            owner: Owner::NOBODY,
            result_key,
            leading,
            clock_ms,
            ttl_ms,
            rows: Vec::new(),
            values: Vec::new(),
            forgotten: Vec::new(),
        }
    }

    /// Each row with its value.
    pub fn values(&self) -> impl Iterator<Item = (&Row, &[u8])> {
        let mut start = 0;
        self.rows.iter().map(move |row| {
            let value = self.values.get(start..row.end).unwrap_or_default();
            start = row.end;
            (row, value)
        })
    }
}
