//! A plugin that misbehaves as it is told, and counts trades like any other where it is not.
//!
//! Its configuration is that of a pane's plugin, and in `does` what it does beside: at which call, after
//! how many of them, at which token. What it says of itself before it is configured stands in a
//! [`manifest`], which a test writes over in the finished component. Never for anything but tests. The
//! invariant: without a word of its misdeeds it obeys all four laws.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is one of the things it does")]

mod count;
mod deed;
pub mod manifest;

use std::collections::HashMap;

use aggregator_sdk::contract::{
    Batch, Column, Description, Entries, NewToken, OptionalColumns, Page, Removals, Settings, Table,
};
use aggregator_sdk::windows::Windows;
use aggregator_sdk::{Engine, Plugin, export_plugin, fault};
use serde::Deserialize;

use count::Count;
pub use deed::Does;
use deed::{At, Deed};
use manifest::Manifest;

/// The configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// As of a pane's plugin.
    windows: Option<serde_json::Value>,
    /// As of a pane's plugin.
    resolution: Option<String>,
    /// What it does beside.
    #[serde(default)]
    does: Vec<Deed>,
    /// Whether it uses what the standard library has and a plugin should not need: a randomly seeded map
    /// and standard output.
    #[serde(default)]
    talks: bool,
}

/// The plugin.
pub struct Hostile {
    engine: Engine<Count>,
    deeds: Vec<Deed>,
    /// Token numbers by address, as far as deeds name them.
    numbers: HashMap<String, u32>,
    /// Trades by token, where it talks. What is in it never reaches a result.
    talk: Option<HashMap<u32, u64>>,
}

impl Hostile {
    /// Does what is due at a call.
    fn act(&mut self, at: At) {
        for deed in self.deeds.iter_mut().filter(|deed| deed.at == at && deed.token.is_none()) {
            if deed.is_due() {
                deed.does.act();
            }
        }
    }

    /// Does what is due for the tokens of a batch.
    fn act_on(&mut self, batch: &Batch) {
        for deed in &mut self.deeds {
            let number = deed.token.as_ref().and_then(|token| self.numbers.get(token));
            let Some(number) = number.filter(|_| deed.at == At::Process) else {
                continue;
            };
            if let Some(row) = batch.tokens.iter().position(|token| token == number) {
                if deed.report {
                    fault::at_row(row as u32);
                }
                if deed.is_due() {
                    deed.does.act();
                }
                fault::clear();
            }
        }
    }

    fn note(&mut self, new_tokens: &[NewToken]) {
        for token in new_tokens {
            if self.deeds.iter().any(|deed| deed.token.as_ref() == Some(&token.text)) {
                self.numbers.insert(token.text.clone(), token.id);
            }
        }
    }

    /// Spoils a table as the deeds of `flush` say.
    fn spoil(&mut self, table: &mut Table) {
        for deed in self.deeds.iter_mut().filter(|deed| deed.at == At::Flush) {
            if deed.is_due() {
                deed.does.spoil(table);
                if deed.does == Does::Again {
                    self.engine.touch(None);
                }
            }
        }
    }
}

impl Plugin for Hostile {
    fn describe() -> Description {
        let manifest = Manifest::read();
        if let Some(does) = manifest.describe {
            does.act();
        }
        let mut description = aggregator_sdk::PanePlugin::<Count>::describe();
        description.name = manifest.name;
        description.result_key = manifest.result_key;
        description.state_version = manifest.state_version;
        description.columns = OptionalColumns::empty();
        description.gauges.clear();
        description.counters.clear();
        if manifest.describe == Some(Does::Huge) {
            let field = description.fields[0].clone();
            description.fields = vec![field; 3_000_000];
        }
        description
    }

    fn configure(json: &str) -> Result<(Self, Settings), String> {
        let config: Config = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut own = serde_json::Map::new();
        own.extend(config.windows.map(|windows| ("windows".to_owned(), windows)));
        own.extend(config.resolution.map(|text| ("resolution".to_owned(), text.into())));
        let own = serde_json::Value::Object(own).to_string();
        let windows = Windows::from_json(&own).map_err(|error| error.to_string())?;
        let mut settings = Settings {
            groups: windows.list().iter().map(|window| window.name.clone()).collect(),
            horizon_ms: windows.longest_ms(),
            step_ms: windows.resolution_ms(),
        };
        let talk = config.talks.then(HashMap::new);
        let mut plugin =
            Self { engine: Engine::new(&windows), deeds: config.does, numbers: HashMap::new(), talk };
        let refusal = plugin.deeds.iter().find(|deed| deed.at == At::Configure && deed.does == Does::Refuse);
        if refusal.is_some() {
            return Err("refused, as it was told".to_owned());
        }
        if plugin.deeds.iter().any(|deed| deed.at == At::Configure && deed.does == Does::Huge) {
            settings.groups = (0..3_000_000).map(|number| format!("group {number}")).collect();
        }
        plugin.act(At::Configure);
        Ok((plugin, settings))
    }

    fn process(&mut self, batch: &Batch) {
        self.note(&batch.new_tokens);
        self.act(At::Process);
        self.act_on(batch);
        if let Some(talk) = &mut self.talk {
            batch.tokens.iter().for_each(|&token| *talk.entry(token).or_default() += 1);
            println!("{} trades, {} tokens so far", batch.tokens.len(), talk.len());
            eprintln!("and this on the other stream");
        }
        self.engine.process(batch);
    }

    fn flush(&mut self, clock_ms: i64, max_rows: u32) -> Table {
        let mut table = self.engine.flush(clock_ms, max_rows);
        self.act(At::Flush);
        self.spoil(&mut table);
        table
    }

    fn touch(&mut self, tokens: Option<&[u32]>) {
        self.act(At::Touch);
        self.engine.touch(tokens);
    }

    fn export_state(&mut self, since: u64, cursor: u64, max_bytes: u32) -> Page {
        self.act(At::ExportState);
        let mut page = self.engine.export(since, cursor, max_bytes);
        for deed in self.deeds.iter_mut().filter(|deed| deed.at == At::ExportState) {
            if deed.is_due() {
                deed.does.spoil_page(&mut page);
            }
        }
        page
    }

    fn trim(&mut self, generation: u64) {
        self.act(At::Trim);
        self.engine.trim(generation);
    }

    fn import_state(
        &mut self,
        state_version: u32,
        new_tokens: &[NewToken],
        entries: &Entries,
        removed: &Removals,
    ) -> Result<(), String> {
        let own = Manifest::read().state_version;
        self.act(At::ImportState);
        let refuses = self.deeds.iter().any(|deed| deed.at == At::ImportState && deed.does == Does::Refuse);
        // Later versions read what earlier ones wrote: a pane says in which form it is packed.
        if refuses || state_version > own {
            return Err(format!("reads state up to version {own}, not version {state_version}"));
        }
        self.note(new_tokens);
        self.engine.import(new_tokens, entries, removed)
    }

    fn forget(&mut self, tokens: &[u32]) {
        self.act(At::Forget);
        self.engine.forget(tokens);
    }
}

/// The first column of a table, which is one of integers.
fn integers(table: &mut Table) -> Option<&mut Vec<i64>> {
    table.columns.iter_mut().find_map(|column| match column {
        Column::Integers(values) => Some(values),
        _ => None,
    })
}

export_plugin!(Hostile);
