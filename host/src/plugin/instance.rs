//! One instance of a component: every call with its deadline, every failure in words.
//!
//! Invariant: an instance that trapped is never called again by wasmtime's own rule (its store is
//! locked); the cell that owns it replaces it.

use std::time::Duration;

use wasmtime::{Store, Trap};

use super::Instance;
use super::contract::{
    Batch, Description, EntriesParam, NewToken, Page, Plugin, PluginPre, RemovalsParam, Settings, Table,
};
use super::engine::Limits;
use super::error::{FaultKind, PluginError, Stage};
use super::guest::Guest;

/// How many bytes of lists and strings one call may hand to the host.
const ANSWER_BYTES: usize = 64 << 20;

/// An instance with its store.
pub(super) struct ComponentInstance {
    plugin: String,
    store: Store<Guest>,
    exports: Plugin,
    ticks: u64,
    deadline: Duration,
}

impl ComponentInstance {
    /// Makes an instance in a store of its own, within its limits from the first instruction on.
    pub(super) fn new(pre: &PluginPre<Guest>, limits: Limits, plugin: &str) -> Result<Self, PluginError> {
        let mut store = Store::new(pre.engine(), Guest::new(plugin, limits.memory_bytes));
        store.limiter(|guest| guest);
        store.set_epoch_deadline(limits.ticks());
        store.set_hostcall_fuel(ANSWER_BYTES);
        match pre.instantiate(&mut store) {
            Ok(exports) => Ok(Self {
                plugin: plugin.to_owned(),
                store,
                exports,
                ticks: limits.ticks(),
                deadline: limits.deadline,
            }),
            Err(error) => Err(failure(plugin, Stage::Instantiate, &error, store.data(), limits.deadline)),
        }
    }

    /// Asks the plugin what it is.
    pub(super) fn describe(&mut self) -> Result<Description, PluginError> {
        self.call(Stage::Describe, |exports, store| {
            exports.aggregator_plugin_aggregator().call_describe(store)
        })
    }

    /// Gives the plugin its configuration.
    pub(super) fn configure(&mut self, json: &str) -> Result<Settings, PluginError> {
        self.call(Stage::Configure, |exports, store| {
            exports.aggregator_plugin_aggregator().call_configure(store, json)
        })?
        .map_err(|words| PluginError::new(&self.plugin, Stage::Configure, words))
    }

    fn call<R>(
        &mut self,
        stage: Stage,
        call: impl FnOnce(&Plugin, &mut Store<Guest>) -> wasmtime::Result<R>,
    ) -> Result<R, PluginError> {
        self.store.data_mut().begin_call();
        self.store.set_epoch_deadline(self.ticks);
        call(&self.exports, &mut self.store)
            .map_err(|error| failure(&self.plugin, stage, &error, self.store.data(), self.deadline))
    }
}

/// Puts a failed call into words, with what the guest said while dying.
fn failure(
    plugin: &str,
    stage: Stage,
    error: &wasmtime::Error,
    guest: &Guest,
    deadline: Duration,
) -> PluginError {
    let (kind, mut reason) = if let Some(wanted) = guest.refused_memory {
        let words =
            format!("needs more memory than PLUGIN_MEMORY_MB allows ({} MiB asked for)", wanted >> 20);
        (FaultKind::Memory, words)
    } else if matches!(error.downcast_ref::<Trap>(), Some(Trap::Interrupt)) {
        (FaultKind::Deadline, format!("took longer than PLUGIN_DEADLINE ({deadline:?})"))
    } else {
        (FaultKind::Trap, error.root_cause().to_string())
    };
    if let Some(words) = &guest.last_error {
        reason = format!("{words} ({reason})");
    }
    PluginError { row: guest.fault_row, kind, ..PluginError::new(plugin, stage, reason) }
}

impl Instance for ComponentInstance {
    fn process(&mut self, batch: Batch<'_>) -> Result<(), PluginError> {
        self.call(Stage::Process, |exports, store| {
            exports.aggregator_plugin_aggregator().call_process(store, batch)
        })
    }

    fn flush(&mut self, clock_ms: i64, max_rows: u32) -> Result<Table, PluginError> {
        self.call(Stage::Flush, |exports, store| {
            exports.aggregator_plugin_aggregator().call_flush(store, clock_ms, max_rows)
        })
    }

    fn touch(&mut self, tokens: Option<&[u32]>) -> Result<(), PluginError> {
        self.call(Stage::Touch, |exports, store| {
            exports.aggregator_plugin_aggregator().call_touch(store, tokens)
        })
    }

    fn export_state(&mut self, since: u64, cursor: u64, max_bytes: u32) -> Result<Page, PluginError> {
        self.call(Stage::Export, |exports, store| {
            exports.aggregator_plugin_aggregator().call_export_state(store, since, cursor, max_bytes)
        })
    }

    fn trim(&mut self, generation: u64) -> Result<(), PluginError> {
        self.call(Stage::Export, |exports, store| {
            exports.aggregator_plugin_aggregator().call_trim(store, generation)
        })
    }

    fn import_state(
        &mut self,
        state_version: u32,
        new_tokens: &[NewToken<'_>],
        entries: EntriesParam<'_>,
        removed: RemovalsParam<'_>,
    ) -> Result<(), PluginError> {
        self.call(Stage::Import, |exports, store| {
            exports.aggregator_plugin_aggregator().call_import_state(
                store,
                state_version,
                new_tokens,
                entries,
                removed,
            )
        })?
        .map_err(|words| PluginError::new(&self.plugin, Stage::Import, words))
    }

    fn forget(&mut self, tokens: &[u32]) -> Result<(), PluginError> {
        self.call(Stage::Forget, |exports, store| {
            exports.aggregator_plugin_aggregator().call_forget(store, tokens)
        })
    }

    fn memory_bytes(&self) -> usize {
        self.store.data().memory_bytes
    }
}
