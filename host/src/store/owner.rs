//! Who may write a shard.
//!
//! Invariant: two claims never give the same owner, so that equality of the whole record decides.

use std::fmt;

/// An owner of a shard: the number of its claim and the random number of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Rises with every claim; the first one has 1.
    pub epoch: u64,
    /// The random number of the process.
    pub id: u128,
}

impl Owner {
    /// Owns nothing: no claim gives it.
    pub const NOBODY: Self = Self { epoch: 0, id: 0 };

    /// Whether another one has claimed the shard since `own` did.
    pub(super) fn follows(self, own: Self) -> bool {
        self.id != own.id && self.epoch >= own.epoch
    }

    /// Reads a record; none where it is not one.
    #[must_use]
    pub fn parse(record: &str) -> Option<Self> {
        let (epoch, id) = record.split_once(':')?;
        Some(Self { epoch: epoch.parse().ok()?, id: u128::from_str_radix(id, 16).ok()? })
    }
}

/// The record: `7:00112233445566778899aabbccddeeff`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:032x}", self.epoch, self.id)
    }
}
