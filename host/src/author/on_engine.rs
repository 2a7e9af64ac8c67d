//! A component on the host's real engine, as the SDK sees a plugin: so its laws can be checked on it.
//!
//! Not for serving trades: a call that fails panics, as the SDK's checks do, and whoever checks catches it.
//! Invariant: every call crosses the component's boundary.

use std::cell::RefCell;
use std::sync::Arc;

use aggregator_sdk::{Plugin, contract as sdk};

use crate::plugin::contract as host;
use crate::plugin::{Instance, PluginError};

thread_local! {
    /// The plugin that this thread's [`OnEngine`] is; the SDK's trait knows plugins by type.
    static LOADED: RefCell<Option<Arc<dyn crate::plugin::Plugin>>> = const { RefCell::new(None) };
}

/// An instance of the component that this thread runs.
pub struct OnEngine(Box<dyn Instance>);

/// Lets [`OnEngine`] be this plugin while `check` runs.
pub fn with<R>(plugin: &Arc<dyn crate::plugin::Plugin>, check: impl FnOnce() -> R) -> R {
    LOADED.set(Some(Arc::clone(plugin)));
    let result = check();
    LOADED.set(None);
    result
}

fn loaded() -> Arc<dyn crate::plugin::Plugin> {
    match LOADED.with_borrow(Clone::clone) {
        Some(plugin) => plugin,
        None => panic!("no plugin was given to this thread"),
    }
}

fn taken<T>(result: Result<T, PluginError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

impl Plugin for OnEngine {
    fn describe() -> sdk::Description {
        description(loaded().description())
    }

    fn configure(json: &str) -> Result<(Self, sdk::Settings), String> {
        let (instance, said) = loaded().instantiate(json).map_err(|error| error.reason)?;
        let settings =
            sdk::Settings { groups: said.groups, horizon_ms: said.horizon_ms, step_ms: said.step_ms };
        Ok((Self(instance), settings))
    }

    fn process(&mut self, batch: &sdk::Batch) {
        taken(self.0.process(host::Batch {
            new_tokens: &new_tokens(&batch.new_tokens),
            tokens: &batch.tokens,
            times_ms: &batch.times_ms,
            sides: &batch.sides,
            natives: &batch.natives,
            amounts: &batch.amounts,
            prices: &batch.prices,
            wallets: texts(&batch.wallets),
            wallet_hashes: &batch.wallet_hashes,
            tx_hashes: texts(&batch.tx_hashes),
        }));
    }

    fn flush(&mut self, clock_ms: i64, max_rows: u32) -> sdk::Table {
        table(taken(self.0.flush(clock_ms, max_rows)))
    }

    fn touch(&mut self, tokens: Option<&[u32]>) {
        taken(self.0.touch(tokens));
    }

    fn export_state(&mut self, since: u64, cursor: u64, max_bytes: u32) -> sdk::Page {
        let page = taken(self.0.export_state(since, cursor, max_bytes));
        let host::EntriesResult { tokens, slots, ends, bytes } = page.entries;
        sdk::Page {
            entries: sdk::Entries { tokens, slots, ends, bytes },
            removed: sdk::Removals { tokens: page.removed.tokens, slots: page.removed.slots },
            next: page.next,
            generation: page.generation,
        }
    }

    fn trim(&mut self, generation: u64) {
        taken(self.0.trim(generation));
    }

    fn import_state(
        &mut self,
        state_version: u32,
        introduced: &[sdk::NewToken],
        entries: &sdk::Entries,
        removed: &sdk::Removals,
    ) -> Result<(), String> {
        let entries = host::EntriesParam {
            tokens: &entries.tokens,
            slots: &entries.slots,
            ends: &entries.ends,
            bytes: &entries.bytes,
        };
        let removed = host::RemovalsParam { tokens: &removed.tokens, slots: &removed.slots };
        let imported = self.0.import_state(state_version, &new_tokens(introduced), entries, removed);
        imported.map_err(|error| error.to_string())
    }

    fn forget(&mut self, tokens: &[u32]) {
        taken(self.0.forget(tokens));
    }
}

fn new_tokens(introduced: &[sdk::NewToken]) -> Vec<host::NewToken<'_>> {
    introduced.iter().map(|token| host::NewToken { id: token.id, text: &token.text }).collect()
}

fn texts(texts: &sdk::TextColumn) -> host::TextColumnParam<'_> {
    host::TextColumnParam { bytes: &texts.bytes, ends: &texts.ends }
}

fn table(table: host::Table) -> sdk::Table {
    let texts = |texts: host::TextColumn| sdk::TextColumn { bytes: texts.bytes, ends: texts.ends };
    let column = |column| match column {
        host::Column::Integers(values) => sdk::Column::Integers(values),
        host::Column::Decimals(values) => sdk::Column::Decimals(values),
        host::Column::Floats(values) => sdk::Column::Floats(values),
        host::Column::Texts(values) => sdk::Column::Texts(texts(values)),
    };
    sdk::Table {
        tokens: table.tokens,
        columns: table.columns.into_iter().map(column).collect(),
        forgotten: table.forgotten,
        more: table.more,
        gauges: table.gauges,
        counters: table.counters,
    }
}

fn description(said: &host::Description) -> sdk::Description {
    let kind = |kind| match kind {
        host::Kind::Integer => sdk::Kind::Integer,
        host::Kind::Decimal(places) => sdk::Kind::Decimal(places),
        host::Kind::Float => sdk::Kind::Float,
        host::Kind::Text => sdk::Kind::Text,
        host::Kind::Clock => sdk::Kind::Clock,
    };
    let fold = |fold| if fold == host::Fold::Max { sdk::Fold::Max } else { sdk::Fold::Sum };
    let gauge = |gauge: &host::Gauge| sdk::Gauge {
        name: gauge.name.clone(),
        help: gauge.help.clone(),
        fold: fold(gauge.fold),
    };
    let counter =
        |counter: &host::Counter| sdk::Counter { name: counter.name.clone(), help: counter.help.clone() };
    sdk::Description {
        name: said.name.clone(),
        version: said.version.clone(),
        state_version: said.state_version,
        columns: columns(said.columns),
        result_key: said.result_key.clone(),
        fields: said
            .fields
            .iter()
            .map(|field| sdk::Field { name: field.name.clone(), kind: kind(field.kind) })
            .collect(),
        gauges: said.gauges.iter().map(gauge).collect(),
        counters: said.counters.iter().map(counter).collect(),
    }
}

fn columns(asked: host::OptionalColumns) -> sdk::OptionalColumns {
    let mut columns = sdk::OptionalColumns::empty();
    for (one, other) in [
        (host::OptionalColumns::WALLET, sdk::OptionalColumns::WALLET),
        (host::OptionalColumns::WALLET_HASH, sdk::OptionalColumns::WALLET_HASH),
        (host::OptionalColumns::TX_HASH, sdk::OptionalColumns::TX_HASH),
    ] {
        if asked.contains(one) {
            columns |= other;
        }
    }
    columns
}
