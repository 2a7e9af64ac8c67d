//! The pane level: what an author writes for a metric over sliding windows.
//!
//! Not the windows themselves (see [`crate::Engine`]). The invariant: merging is associative and
//! panes in time order merge into what one pane would hold, so windows may be cut anywhere.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::contract::OptionalColumns;
use crate::field::{Declared, Row};
use crate::trade::Trade;

/// A metric over a stretch of time: what the trades of one pane, or of many merged, come to.
///
/// The default value is the pane without a trade; what it writes is the result of an empty window.
pub trait Pane: Pack + Default + Clone + 'static {
    /// The plugin's name: `[a-z0-9_-]{1,64}`.
    const NAME: &'static str;

    /// The plugin's version, for people: `env!("CARGO_PKG_VERSION")` is a good one.
    const VERSION: &'static str = "0.1.0";

    /// The last part of the Redis key of a result: `[a-z0-9_-]{1,32}`.
    const RESULT_KEY: &'static str = Self::NAME;

    /// The version of the packed form; raised when [`Pack`] changes: state of another version is
    /// refused, never misread.
    const STATE_VERSION: u32 = 1;

    /// The values of a result, in the order in which [`Pane::write`] writes them.
    const FIELDS: &'static [Declared];

    /// Optional columns that [`Pane::add`] reads.
    const COLUMNS: OptionalColumns = OptionalColumns::empty();

    /// Adds a trade. Trades come in any order of time.
    fn add(&mut self, trade: &Trade);

    /// Adds everything that a pane later in time holds. Associative; the default pane on either side changes nothing.
    fn merge(&mut self, later: &Self);

    /// Writes the values of one window.
    fn write(&self, row: &mut Row);
}

/// How a pane is packed for checkpoints and swaps.
///
/// Whatever serde can serialize is packed as MessagePack. A pane that shall be smaller or faster
/// implements this itself and derives nothing.
pub trait Pack: Sized {
    /// Appends the packed form, the same for the same value.
    fn pack(&self, out: &mut Vec<u8>);

    /// Reads what [`Pack::pack`] appended and moves `bytes` behind it; none where the bytes are no
    /// packed form. The bytes may be anything: never panics.
    fn unpack(bytes: &mut &[u8]) -> Option<Self>;
}

impl<T: Serialize + DeserializeOwned> Pack for T {
    fn pack(&self, out: &mut Vec<u8>) {
        if let Err(error) = rmp_serde::encode::write(out, self) {
            panic!("a pane cannot be packed as MessagePack: {error}");
        }
    }

    fn unpack(bytes: &mut &[u8]) -> Option<Self> {
        rmp_serde::from_read(bytes).ok()
    }
}
