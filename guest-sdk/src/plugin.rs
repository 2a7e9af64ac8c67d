//! The raw level: the contract as a trait.
//!
//! Not needed for a metric over windows (see [`crate::Pane`]). The invariant: one method for each
//! export of `wit/plugin.wit`, with the same types, so that a host can also link a plugin natively.

use crate::contract::{Batch, Description, Entries, NewToken, Page, Removals, Settings, Table};

/// A metrics plugin, by the contract of `wit/plugin.wit`.
///
/// It obeys four laws, which [`crate::testing`] checks: *split* (`process(a + b)` is `process(a)`, then
/// `process(b)`), *carry* (an importer behaves like the exporter), *determinism* (the same calls give
/// the same bytes), *flush* (more flushes with earlier clocks change no later result).
pub trait Plugin: Sized {
    /// Says what the plugin is; the same at every call.
    fn describe() -> Description;

    /// Makes an instance from a JSON object.
    ///
    /// # Errors
    /// Says in words what is wrong with the configuration.
    fn configure(json: &str) -> Result<(Self, Settings), String>;

    /// Adds trades; its cost depends on the trades alone.
    fn process(&mut self, batch: &Batch);

    /// Gives the rows that changed, at most `max_rows` of them. The clock is event time in unix
    /// milliseconds and never goes back.
    fn flush(&mut self, clock_ms: i64, max_rows: u32) -> Table;

    /// Counts these tokens, or all, as changed.
    fn touch(&mut self, tokens: Option<&[u32]>);

    /// Gives a page of the state that changed after generation `since`.
    fn export_state(&mut self, since: u64, cursor: u64, max_bytes: u32) -> Page;

    /// Lets the plugin forget removals up to a generation; nothing to do where none are kept.
    fn trim(&mut self, _generation: u64) {}

    /// Replaces the given pieces, then deletes the removed ones; all imported tokens count as changed.
    ///
    /// # Errors
    /// Says in words why the state is refused.
    fn import_state(
        &mut self,
        state_version: u32,
        new_tokens: &[NewToken],
        entries: &Entries,
        removed: &Removals,
    ) -> Result<(), String>;

    /// Drops all state of these tokens and reports their pieces as removed.
    fn forget(&mut self, tokens: &[u32]);
}
