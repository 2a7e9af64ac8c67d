//! Plugins: the aggregation logic as WebAssembly components behind the contract in `wit/`.
//!
//! The way of a component: it lies in the [`directory`], is a [`Candidate`], and the [`Loader`] makes it a
//! running plugin or a [`Refusal`]; [`compile`] turns it into machine code in a process of its own. While
//! the service runs this happens in the [`workshop`].
//!
//! A [`Plugin`] is loaded once and makes an [`Instance`] for each cell. The pipeline sees only these
//! two traits and the data of [`contract`]; wasmtime is named nowhere outside this folder, and a
//! plugin linked natively (for comparison and for simulation) is one more implementation.
//! Invariant: a guest can neither block a worker beyond its deadline nor take more memory than its
//! limit, whatever it does; it ends in a [`PluginError`], never in a panic.

mod candidate;
pub mod catalog;
pub mod compile;
mod component;
pub mod contract;
pub mod directory;
mod engine;
mod error;
mod guest;
mod instance;
mod loader;
mod outline;
mod refusal;
mod wasi;
pub mod workshop;

pub use candidate::{Candidate, canonical, identity, is_name, same_name};
pub use component::CONTRACT_VERSION;
pub use engine::{Engine, Limits};
pub(crate) use error::printable;
pub use error::{FaultKind, PluginError, Stage};
pub use loader::{Loaded, Loader, MAX_CONFIGURATION_BYTES, ResultKeys};
pub use outline::{Outline, outline, stamp};
pub use refusal::{Cause, Refusal};

use contract::{Batch, Description, EntriesParam, NewToken, Page, RemovalsParam, Settings, Table};

/// A loaded plugin, ready to make instances.
pub trait Plugin: Send + Sync {
    /// What it says of itself.
    fn description(&self) -> &Description;
    /// Makes an instance and gives it the configuration.
    fn instantiate(&self, configuration: &str) -> Result<(Box<dyn Instance>, Settings), PluginError>;
}

/// One cell's instance of a plugin. Calls are the contract's; each ends within the deadline.
pub trait Instance: Send {
    /// Adds trades.
    fn process(&mut self, batch: Batch<'_>) -> Result<(), PluginError>;
    /// Gives changed rows.
    fn flush(&mut self, clock_ms: i64, max_rows: u32) -> Result<Table, PluginError>;
    /// Counts tokens as changed; all of them without names.
    fn touch(&mut self, tokens: Option<&[u32]>) -> Result<(), PluginError>;
    /// Gives one page of the state.
    fn export_state(&mut self, since: u64, cursor: u64, max_bytes: u32) -> Result<Page, PluginError>;
    /// Lets the plugin forget removals up to a generation.
    fn trim(&mut self, generation: u64) -> Result<(), PluginError>;
    /// Replaces pieces of state.
    fn import_state(
        &mut self,
        state_version: u32,
        new_tokens: &[NewToken<'_>],
        entries: EntriesParam<'_>,
        removed: RemovalsParam<'_>,
    ) -> Result<(), PluginError>;
    /// Drops tokens.
    fn forget(&mut self, tokens: &[u32]) -> Result<(), PluginError>;
    /// The size of its linear memory in bytes.
    fn memory_bytes(&self) -> usize;
}
