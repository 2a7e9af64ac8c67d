//! `aggregator plugin test`: the contract's laws and recorded trades, on the service's engine.
//!
//! Invariant: a check that fails says which law, with which seed, and the others are made all the same.

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use aggregator_sdk::testing as laws;
use clap::Args;
use serde::Serialize;

use super::failure::Failure;
use super::on_engine::{self, OnEngine};
use super::workbench::{self, Loaded};
use super::{building, recorded};
use crate::config::Config;

/// A law, as the SDK checks it with a configuration and a seed.
type Law = fn(&str, u64);

/// The laws of the contract.
const LAWS: [(&str, Law); 4] = [
    ("split", laws::split::<OnEngine>),
    ("carry", laws::carry::<OnEngine>),
    ("determinism", laws::determinism::<OnEngine>),
    ("flush", laws::flush::<OnEngine>),
];

/// Checks a plugin.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// The component, or a crate's directory, which is built first.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The plugin's configuration. Without it: the .json beside the component, where there is one.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Recorded trades: a line for each message, as it stands on the topic.
    #[arg(long)]
    trades: Option<PathBuf>,
    /// Writes the results of the recorded trades beside them; later runs are compared with that file.
    #[arg(long, requires = "trades")]
    bless: bool,
    /// How many generated markets each law is checked with.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
}

/// What came of all checks.
#[derive(Serialize)]
pub(super) struct Report {
    plugin: String,
    version: String,
    digest: String,
    checks: Vec<Check>,
}

/// What came of one check.
#[derive(Serialize)]
pub(super) struct Check {
    name: &'static str,
    passed: bool,
    /// What was checked, or what is wrong.
    words: String,
}

impl Check {
    pub(super) fn of(name: &'static str, outcome: Result<String, String>) -> Self {
        let passed = outcome.is_ok();
        Self { name, passed, words: outcome.unwrap_or_else(|words| words) }
    }
}

impl Report {
    /// Fails where a check did.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let failed = self.checks.iter().filter(|check| !check.passed).count();
        match failed {
            0 => Ok(()),
            _ => Err(Failure::Verdict(format!("{failed} of {} checks did not pass", self.checks.len()))),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}, {}", self.plugin, self.version, &self.digest)?;
        for check in &self.checks {
            let word = if check.passed { "ok" } else { "FAILED" };
            writeln!(f, "  {:<12} {word:<7} {}", check.name, check.words)?;
        }
        Ok(())
    }
}

impl Test {
    pub(super) fn run(&self, config: &Config) -> Result<Report, Failure> {
        let file = component(&self.path)?;
        let loaded = workbench::load(config, &file, self.config.as_deref())?;
        let mut checks = self.laws(&loaded);
        if let Some(trades) = &self.trades {
            checks.extend(recorded::check(&loaded.running, trades, self.bless)?);
        }
        Ok(Report {
            plugin: loaded.running.name().to_owned(),
            version: loaded.running.plugin.description().version.clone(),
            digest: loaded.running.digest.to_string(),
            checks,
        })
    }

    fn laws(&self, loaded: &Loaded) -> Vec<Check> {
        let configuration = &*loaded.running.configuration;
        let check = |(name, law): (&'static str, Law)| {
            let broken = (0..self.seeds).find_map(|seed| caught(|| law(configuration, seed)).err());
            let outcome = broken.map_or_else(|| Ok(format!("{} generated markets", self.seeds)), Err);
            Check::of(name, outcome)
        };
        on_engine::with(&loaded.running.plugin, || LAWS.into_iter().map(check).collect())
    }
}

/// The component that is meant: a file as it is, a directory's after building it.
pub(super) fn component(path: &Path) -> Result<PathBuf, Failure> {
    if path.is_dir() { Ok(building::build(path)?.file) } else { Ok(path.to_owned()) }
}

/// Runs a check of the SDK, which panics where it fails; gives its words.
fn caught(check: impl FnOnce()) -> Result<(), String> {
    let hook = panic::take_hook();
    // The words are in the report; nobody needs them twice.
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(AssertUnwindSafe(check));
    panic::set_hook(hook);
    outcome.map_err(|panicked| words(&*panicked))
}

fn words(panicked: &(dyn Any + Send)) -> String {
    let text = panicked.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panicked.downcast_ref::<&str>().copied());
    crate::plugin::printable(text.unwrap_or("the check failed without a word"), 2_000)
}
