//! The default plugin linked natively behind the host's plugin interface: what the price of a component is measured
//! against.
//!
//! Not for tests: it runs the very engine that tests must judge. The invariant: the same calls in the same order as a
//! component gets, with no deadline and no memory limit.

use aggregator::plugin::contract::{
    Batch, Column, Counter, Description, EntriesParam, EntriesResult, Field, Fold, Gauge, Kind, NewToken,
    OptionalColumns, Page, RemovalsParam, RemovalsResult, Settings, Table, TextColumn,
};
use aggregator::plugin::{Instance, Plugin, PluginError, Stage};
use aggregator_sdk::{PanePlugin, Plugin as _, contract as sdk};
use sliding_window::Candle;

type Engine = PanePlugin<Candle>;

const NAME: &str = "sliding-window";

/// The default plugin as a loaded one.
pub struct NativePlugin {
    description: Description,
}

impl NativePlugin {
    /// Describes the plugin.
    pub fn new() -> Self {
        Self { description: description(Engine::describe()) }
    }
}

impl Default for NativePlugin {
    fn default() -> Self {
        Self::new()
    }
}

impl Plugin for NativePlugin {
    fn description(&self) -> &Description {
        &self.description
    }

    fn instantiate(&self, configuration: &str) -> Result<(Box<dyn Instance>, Settings), PluginError> {
        let configured = Engine::configure(configuration);
        let (engine, said) = configured.map_err(|words| PluginError::new(NAME, Stage::Configure, words))?;
        Ok((Box::new(NativeInstance { engine, batch: sdk::Batch::default() }), settings(said)))
    }
}

struct NativeInstance {
    engine: Engine,
    /// The columns of one batch; kept for their memory, as a component's are.
    batch: sdk::Batch,
}

impl Instance for NativeInstance {
    fn process(&mut self, batch: Batch<'_>) -> Result<(), PluginError> {
        fn column<T: Copy>(from: &[T], to: &mut Vec<T>) {
            to.clear();
            to.extend_from_slice(from);
        }
        let own = &mut self.batch;
        own.new_tokens = new_tokens(batch.new_tokens);
        column(batch.tokens, &mut own.tokens);
        column(batch.times_ms, &mut own.times_ms);
        column(batch.sides, &mut own.sides);
        column(batch.natives, &mut own.natives);
        column(batch.amounts, &mut own.amounts);
        column(batch.prices, &mut own.prices);
        self.engine.process(own);
        Ok(())
    }

    fn flush(&mut self, clock_ms: i64, max_rows: u32) -> Result<Table, PluginError> {
        Ok(table(self.engine.flush(clock_ms, max_rows)))
    }

    fn touch(&mut self, tokens: Option<&[u32]>) -> Result<(), PluginError> {
        self.engine.touch(tokens);
        Ok(())
    }

    fn export_state(&mut self, since: u64, cursor: u64, max_bytes: u32) -> Result<Page, PluginError> {
        let page = self.engine.export_state(since, cursor, max_bytes);
        let sdk::Entries { tokens, slots, ends, bytes } = page.entries;
        let removed = RemovalsResult { tokens: page.removed.tokens, slots: page.removed.slots };
        let entries = EntriesResult { tokens, slots, ends, bytes };
        Ok(Page { entries, removed, next: page.next, generation: page.generation })
    }

    fn trim(&mut self, generation: u64) -> Result<(), PluginError> {
        self.engine.trim(generation);
        Ok(())
    }

    fn import_state(
        &mut self,
        state_version: u32,
        introduced: &[NewToken<'_>],
        entries: EntriesParam<'_>,
        removed: RemovalsParam<'_>,
    ) -> Result<(), PluginError> {
        let entries = sdk::Entries {
            tokens: entries.tokens.to_vec(),
            slots: entries.slots.to_vec(),
            ends: entries.ends.to_vec(),
            bytes: entries.bytes.to_vec(),
        };
        let removed = sdk::Removals { tokens: removed.tokens.to_vec(), slots: removed.slots.to_vec() };
        let imported = self.engine.import_state(state_version, &new_tokens(introduced), &entries, &removed);
        imported.map_err(|words| PluginError::new(NAME, Stage::Import, words))
    }

    fn forget(&mut self, tokens: &[u32]) -> Result<(), PluginError> {
        self.engine.forget(tokens);
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

fn new_tokens(introduced: &[NewToken<'_>]) -> Vec<sdk::NewToken> {
    introduced.iter().map(|token| sdk::NewToken { id: token.id, text: token.text.to_owned() }).collect()
}

/// A table in the host's types; columns are moved, not copied.
pub fn table(table: sdk::Table) -> Table {
    let texts = |texts: sdk::TextColumn| TextColumn { bytes: texts.bytes, ends: texts.ends };
    let column = |column| match column {
        sdk::Column::Integers(values) => Column::Integers(values),
        sdk::Column::Decimals(values) => Column::Decimals(values),
        sdk::Column::Floats(values) => Column::Floats(values),
        sdk::Column::Texts(values) => Column::Texts(texts(values)),
    };
    Table {
        tokens: table.tokens,
        columns: table.columns.into_iter().map(column).collect(),
        forgotten: table.forgotten,
        more: table.more,
        gauges: table.gauges,
        counters: table.counters,
    }
}

/// A description in the host's types.
pub fn description(said: sdk::Description) -> Description {
    let kind = |kind| match kind {
        sdk::Kind::Integer => Kind::Integer,
        sdk::Kind::Decimal(places) => Kind::Decimal(places),
        sdk::Kind::Float => Kind::Float,
        sdk::Kind::Text => Kind::Text,
        sdk::Kind::Clock => Kind::Clock,
    };
    let gauge = |gauge: sdk::Gauge| Gauge {
        name: gauge.name,
        help: gauge.help,
        fold: if gauge.fold == sdk::Fold::Max { Fold::Max } else { Fold::Sum },
    };
    let field = |field: sdk::Field| Field { name: field.name, kind: kind(field.kind) };
    Description {
        name: said.name,
        version: said.version,
        state_version: said.state_version,
        // The default plugin reads no optional column.
        columns: OptionalColumns::empty(),
        result_key: said.result_key,
        fields: said.fields.into_iter().map(field).collect(),
        gauges: said.gauges.into_iter().map(gauge).collect(),
        counters: said
            .counters
            .into_iter()
            .map(|counter| Counter { name: counter.name, help: counter.help })
            .collect(),
    }
}

/// Settings in the host's types.
pub fn settings(said: sdk::Settings) -> Settings {
    Settings { groups: said.groups, horizon_ms: said.horizon_ms, step_ms: said.step_ms }
}
