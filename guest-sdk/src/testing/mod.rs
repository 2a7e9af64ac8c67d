//! Checks for plugins that need no Wasm: the four laws, and windows against a naive oracle.
//!
//! Not for speed, and absent from components. The invariant: every check is replayed by its seed.
//!
//! In a plugin's own tests:
//!
//! ```
//! # use aggregator_sdk::{Pane, PanePlugin, Row, Trade, field::Declared, integer, testing};
//! # #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
//! # struct Count(i64);
//! # impl Pane for Count {
//! #     const NAME: &'static str = "count";
//! #     const FIELDS: &'static [Declared] = &[integer("count")];
//! #     fn add(&mut self, _trade: &Trade) { self.0 += 1 }
//! #     fn merge(&mut self, later: &Self) { self.0 += later.0 }
//! #     fn write(&self, row: &mut Row) { row.integer(self.0) }
//! # }
//! for seed in 0..3 {
//!     testing::laws::<PanePlugin<Count>>("{}", seed);
//!     testing::windows_equal_oracle::<Count>("{}", seed);
//! }
//! ```

mod host;
mod laws;
mod market;
mod oracle;
mod random;
mod value;

pub use host::Host;
pub use laws::{carry, determinism, flush, laws, split};
pub use market::{Market, Sample};
pub use oracle::{Oracle, in_a_market, windows_equal_oracle};
pub use random::Random;
pub use value::{Groups, Value, rows_are_close};
