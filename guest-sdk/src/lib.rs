//! Write a metric for the trade aggregator as a WebAssembly plugin.
//!
//! Not the host, and nothing here reads a clock, a file or the network: a plugin is a function of its
//! input. The invariant: natively and as a component the same code runs on the same types.
//!
//! # A metric in 25 lines
//!
//! A metric over sliding windows is a [`Pane`]: what the trades of a stretch of time come to. You say
//! how a trade is added, how a later stretch is merged into an earlier one, and what is written. Windows
//! of every length, late trades, decay when trades leave, and state that can be saved and handed on are
//! the SDK's.
//!
//! ```
//! use aggregator_sdk::field::Declared;
//! use aggregator_sdk::{Pane, Row, Trade, export_pane, float, integer};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Whales {
//!     trades: i64,
//!     largest_usd: f64,
//! }
//!
//! impl Pane for Whales {
//!     const NAME: &'static str = "whales";
//!     const FIELDS: &'static [Declared] = &[integer("trades"), float("largest_usd")];
//!
//!     fn add(&mut self, trade: &Trade) {
//!         let usd = trade.price * trade.amount;
//!         self.trades += i64::from(usd >= 10_000.0);
//!         self.largest_usd = self.largest_usd.max(usd);
//!     }
//!
//!     fn merge(&mut self, later: &Self) {
//!         self.trades += later.trades;
//!         self.largest_usd = self.largest_usd.max(later.largest_usd);
//!     }
//!
//!     fn write(&self, row: &mut Row) {
//!         row.integer(self.trades);
//!         row.float(self.largest_usd);
//!     }
//! }
//!
//! export_pane!(Whales);
//! # fn main() {
//! # use aggregator_sdk::{PanePlugin, testing};
//! # testing::laws::<PanePlugin<Whales>>("{}", 1);
//! # testing::windows_equal_oracle::<Whales>("{}", 1);
//! # }
//! ```
//!
//! `cargo build --release --target wasm32-wasip2` makes the component. The host runs what lies in
//! `PLUGINS_DIR`, which it watches; the results are under `token:{address}:whales`.
//!
//! # Four things to know about panes
//!
//! - A pane is one step of the resolution (a second, unless configured otherwise) of one token. Trades
//!   reach a pane in any order of time; [`Trade::offset_ms`] tells the order within it.
//! - `merge` gets the earlier stretch as `self` and the later one as argument. It must be associative, and an
//!   empty (default) pane on either side must change nothing: first and last prices need no more, but ask whether
//!   there is a trade on that side.
//! - Sums of floats drift with their order. [`Fixed`] does not: it is exact, so that the same trades give
//!   the same windows whatever their order.
//! - The order in which a hash map is walked must not reach a result; [`Map`] says why.
//!
//! A pane that derives serde's traits is packed as MessagePack. One that shall be smaller implements
//! [`Pack`] itself:
//!
//! ```
//! use aggregator_sdk::Pack;
//!
//! #[derive(Clone, Default)]
//! struct Count(u32);
//!
//! impl Pack for Count {
//!     fn pack(&self, out: &mut Vec<u8>) {
//!         out.extend_from_slice(&self.0.to_le_bytes());
//!     }
//!
//!     fn unpack(bytes: &mut &[u8]) -> Option<Self> {
//!         let (count, rest) = bytes.split_first_chunk()?;
//!         *bytes = rest;
//!         Some(Self(u32::from_le_bytes(*count)))
//!     }
//! }
//! ```
//!
//! # Configuration
//!
//! A pane's plugin takes `{"windows": ["1min", "90s", "4h"], "resolution": "1s"}`. Both may be left out;
//! [`windows`] says what a window's text may be.
//!
//! # The raw level
//!
//! A metric that is no window (a rank over tokens, a state machine) implements [`Plugin`]: the contract
//! itself, one method for each of its functions, exported by [`export_plugin!`]. It keeps four laws,
//! which [`testing::laws`](fn@testing::laws) checks without any Wasm.

pub mod bindings;
pub mod component;
pub mod contract;
pub mod duration;
mod engine;
mod export;
pub mod fault;
pub mod field;
mod fixed;
mod map;
mod pane;
mod pane_plugin;
mod plugin;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod trade;
pub mod windows;

pub use engine::{Engine, MOST_TOKENS};
pub use field::{Row, clock, decimal, float, integer, text};
pub use fixed::Fixed;
pub use map::{FastHasher, Map, Set};
pub use pane::{Pack, Pane};
pub use pane_plugin::PanePlugin;
pub use plugin::Plugin;
pub use trade::{Side, Trade, trades};
