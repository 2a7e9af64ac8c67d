//! A metric over windows as a plugin: the contract's calls on a window engine.
//!
//! Not for window logic (see [`crate::Engine`]). The invariant: nothing is decided here, so that the
//! engine linked natively gives what the component gives.

use crate::contract::{
    Batch, Counter, Description, Entries, Fold, Gauge, NewToken, Page, Removals, Settings, Table,
};
use crate::engine::Engine;
use crate::field;
use crate::pane::Pane;
use crate::plugin::Plugin;
use crate::windows::Windows;

/// The plugin that an author's [`Pane`] becomes.
pub struct PanePlugin<P> {
    engine: Engine<P>,
}

impl<P: Pane> Plugin for PanePlugin<P> {
    fn describe() -> Description {
        let counter = |name: &str, help: &str| Counter { name: name.to_owned(), help: help.to_owned() };
        Description {
            name: P::NAME.to_owned(),
            version: P::VERSION.to_owned(),
            state_version: P::STATE_VERSION,
            columns: P::COLUMNS,
            result_key: P::RESULT_KEY.to_owned(),
            fields: field::described(P::FIELDS),
            gauges: vec![Gauge {
                name: "tokens".to_owned(),
                help: "Tokens with trades in the longest window.".to_owned(),
                fold: Fold::Sum,
            }],
            counters: vec![
                counter("late_trades", "Trades that came when the longest window had passed them."),
                counter("unknown_trades", "Trades of tokens that were not introduced."),
            ],
        }
    }

    fn configure(json: &str) -> Result<(Self, Settings), String> {
        let windows = Windows::from_json(json).map_err(|error| error.to_string())?;
        let settings = Settings {
            groups: windows.list().iter().map(|w| w.name.clone()).collect(),
            horizon_ms: windows.longest_ms(),
            step_ms: windows.resolution_ms(),
        };
        let engine = Engine::new(&windows);
        Ok((Self { engine }, settings))
    }

    fn process(&mut self, batch: &Batch) {
        self.engine.process(batch);
    }

    fn flush(&mut self, clock_ms: i64, max_rows: u32) -> Table {
        let mut table = self.engine.flush(clock_ms, max_rows);
        table.gauges = vec![self.engine.tokens() as f64];
        table.counters = vec![self.engine.take_late_trades(), self.engine.take_unknown_trades()];
        table
    }

    fn touch(&mut self, tokens: Option<&[u32]>) {
        self.engine.touch(tokens);
    }

    fn export_state(&mut self, since: u64, cursor: u64, max_bytes: u32) -> Page {
        self.engine.export(since, cursor, max_bytes)
    }

    fn trim(&mut self, generation: u64) {
        self.engine.trim(generation);
    }

    fn import_state(
        &mut self,
        state_version: u32,
        new_tokens: &[NewToken],
        entries: &Entries,
        removed: &Removals,
    ) -> Result<(), String> {
        if state_version != P::STATE_VERSION {
            let (name, own) = (P::NAME, P::STATE_VERSION);
            return Err(format!("{name} reads state of version {own}, not of version {state_version}"));
        }
        self.engine.import(new_tokens, entries, removed)
    }

    fn forget(&mut self, tokens: &[u32]) {
        self.engine.forget(tokens);
    }
}
