//! `aggregator plugin inspect`: everything that a component says of itself, without a host.
//!
//! Invariant: it is what the service would learn when it loads the same file with the same configuration.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::building::spelled_out;
use super::failure::Failure;
use super::workbench::{self, Loaded};
use crate::config::Config;
use crate::plugin::contract::{Description, Fold, Kind, OptionalColumns};

/// Shows what a component says of itself.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The component.
    file: PathBuf,
    /// Its configuration. Without it: the .json beside the component, where there is one.
    #[arg(long)]
    config: Option<PathBuf>,
}

/// What a component says of itself.
#[derive(Serialize)]
pub(super) struct Manifest {
    file: PathBuf,
    name: String,
    version: String,
    contract: String,
    state_version: u32,
    result_key: String,
    columns: Vec<&'static str>,
    groups: Vec<String>,
    horizon_ms: u64,
    step_ms: u64,
    fields: Vec<Field>,
    gauges: Vec<Gauge>,
    counters: Vec<Counter>,
    imports: Vec<String>,
    bytes: usize,
    digest: String,
}

#[derive(Serialize)]
struct Field {
    name: String,
    kind: &'static str,
    /// The places of a decimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    places: Option<u32>,
}

#[derive(Serialize)]
struct Gauge {
    name: String,
    help: String,
    fold: &'static str,
}

#[derive(Serialize)]
struct Counter {
    name: String,
    help: String,
}

impl Inspect {
    pub(super) fn run(&self, config: &Config) -> Result<Manifest, Failure> {
        Ok(Manifest::of(workbench::load(config, &self.file, self.config.as_deref())?))
    }
}

impl Manifest {
    fn of(loaded: Loaded) -> Self {
        let said = loaded.running.plugin.description();
        let settings = &loaded.running.settings;
        let gauges = said.gauges.iter().map(|gauge| Gauge {
            name: gauge.name.clone(),
            help: gauge.help.clone(),
            fold: if gauge.fold == Fold::Max { "max" } else { "sum" },
        });
        let counters = said
            .counters
            .iter()
            .map(|counter| Counter { name: counter.name.clone(), help: counter.help.clone() });
        Self {
            file: loaded.file,
            name: said.name.clone(),
            version: said.version.clone(),
            contract: loaded.outline.contract,
            state_version: said.state_version,
            result_key: said.result_key.clone(),
            columns: columns(said.columns),
            groups: settings.groups.clone(),
            horizon_ms: settings.horizon_ms,
            step_ms: settings.step_ms,
            fields: fields(said),
            gauges: gauges.collect(),
            counters: counters.collect(),
            imports: loaded.outline.imports,
            bytes: loaded.bytes,
            digest: loaded.running.digest.to_string(),
        }
    }
}

fn columns(asked: OptionalColumns) -> Vec<&'static str> {
    let named = [
        (OptionalColumns::WALLET, "wallet"),
        (OptionalColumns::WALLET_HASH, "wallet-hash"),
        (OptionalColumns::TX_HASH, "tx-hash"),
    ];
    named.into_iter().filter(|(column, _)| asked.contains(*column)).map(|(_, name)| name).collect()
}

fn fields(said: &Description) -> Vec<Field> {
    let field = |field: &crate::plugin::contract::Field| {
        let (kind, places) = match field.kind {
            Kind::Integer => ("integer", None),
            Kind::Decimal(places) => ("decimal", Some(places)),
            Kind::Float => ("float", None),
            Kind::Text => ("text", None),
            Kind::Clock => ("clock", None),
        };
        Field { name: field.name.clone(), kind, places }
    };
    said.fields.iter().map(field).collect()
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.name, self.version)?;
        writeln!(f, "  writes    token:{{address}}:{}", self.result_key)?;
        writeln!(f, "  groups    {}", self.groups.join(" "))?;
        let fields = self.fields.iter().map(|field| match field.places {
            Some(places) => format!("{} ({}, {places} places)", field.name, field.kind),
            None => format!("{} ({})", field.name, field.kind),
        });
        writeln!(f, "  fields    {}", fields.collect::<Vec<_>>().join(", "))?;
        writeln!(f, "  horizon   {} ms, in steps of {} ms", self.horizon_ms, self.step_ms)?;
        for gauge in &self.gauges {
            writeln!(f, "  gauge     {} ({}): {}", gauge.name, gauge.fold, gauge.help)?;
        }
        for counter in &self.counters {
            writeln!(f, "  counter   {}: {}", counter.name, counter.help)?;
        }
        let columns = if self.columns.is_empty() { "none".to_owned() } else { self.columns.join(", ") };
        writeln!(f, "  columns   {columns} besides those that every plugin gets")?;
        writeln!(f, "  state     version {}", self.state_version)?;
        writeln!(f, "  contract  {}", self.contract)?;
        writeln!(f, "  imports   {}", spelled_out(&self.imports))?;
        writeln!(f, "  size      {} bytes", self.bytes)?;
        write!(f, "  digest    {}", self.digest)
    }
}
