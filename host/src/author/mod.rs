//! `aggregator plugin`: the way of a plugin's author, from an empty directory to a running metric.
//!
//! One file for each command or pair of commands. All but `remote` need no Kafka, no Redis and no host: a plugin
//! is loaded by the service's own loader and runs on its engine. Invariant: nothing here is part of the running
//! service, which never calls this folder.

mod bench;
mod building;
mod client;
mod doctor;
mod failure;
mod inspect;
mod languages;
mod logs;
mod manifest;
mod new;
pub mod on_engine;
mod recorded;
mod remote;
mod tap;
mod testing;
mod watch;
mod workbench;

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::config::Config;
use crate::plugin::catalog::DEFAULT_COMPONENT;
pub(crate) use client::Client;
pub use failure::Failure;
pub use tap::Tap;

/// What an author asks for.
#[derive(Debug, Args)]
pub struct Author {
    #[command(subcommand)]
    command: Command,
    /// How the answer is written.
    #[arg(short, long, value_enum, global = true, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a folder for a new plugin.
    New(new::New),
    /// Builds a plugin and shows what came of it.
    Build(building::Build),
    /// Shows what a component says of itself.
    Inspect(inspect::Inspect),
    /// Checks the four laws, and recorded trades, on the service's engine.
    Test(testing::Test),
    /// Measures what a trade and a flushed row cost on the service's engine.
    Bench(bench::Bench),
    /// Sends a component to a running host, which swaps it in.
    Deploy(remote::Deploy),
    /// Shows the plugins of a running host.
    List(remote::List),
    /// Shows what a running host's log says about plugins.
    Logs(logs::Logs),
    /// Has a running host go back to the version before.
    Rollback(remote::Rollback),
    /// Builds whenever a source file changes, and hands the component on.
    Watch(watch::Watch),
    /// Says what is missing on this machine, and how to get it.
    Doctor(doctor::Doctor),
    /// Writes the default plugin's component to a file.
    ExportDefault {
        /// The file, for example plugins.d/sliding-window.wasm.
        file: PathBuf,
    },
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Does what is asked.
///
/// # Errors
/// Says what is wrong and who acts.
pub fn run(author: Author, configure: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    let output = author.output;
    match author.command {
        Command::New(new) => say(output, &new.run()?),
        Command::Build(build) => say(output, &build.run()?),
        Command::Inspect(inspect) => say(output, &inspect.run(&configure()?)?),
        Command::Test(test) => {
            let report = test.run(&configure()?)?;
            say(output, &report)?;
            report.verdict()
        }
        Command::Bench(bench) => {
            let report = bench.run(&configure()?)?;
            say(output, &report)?;
            report.verdict()
        }
        Command::Deploy(deploy) => say(output, &deploy.run(&configure()?)?),
        Command::List(list) => say(output, &list.run(&configure()?)?),
        Command::Logs(logs) => logs.run(&configure()?, output),
        Command::Rollback(rollback) => say(output, &rollback.run(&configure()?)?),
        Command::Watch(watch) => watch.run(&configure()?, |step| say(output, step)),
        Command::Doctor(doctor) => {
            let report = doctor.run(&configure()?)?;
            say(output, &report)?;
            report.verdict()
        }
        Command::ExportDefault { file } => say(output, &export_default(file)?),
    }
}

/// A file that was written.
#[derive(Serialize)]
struct Written {
    file: PathBuf,
    bytes: usize,
}

impl Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} bytes", self.file.display(), self.bytes)
    }
}

fn export_default(file: PathBuf) -> Result<Written, Failure> {
    std::fs::write(&file, DEFAULT_COMPONENT)
        .map_err(|error| Failure::Unavailable(format!("cannot write {}: {error}", file.display())))?;
    Ok(Written { file, bytes: DEFAULT_COMPONENT.len() })
}

/// Writes an answer for whoever ran the command.
fn say(output: Format, answer: &(impl Display + Serialize)) -> Result<(), Failure> {
    let text = match output {
        Format::Text => answer.to_string(),
        Format::Json => serde_json::to_string(answer).map_err(Failure::internal)?,
    };
    writeln!(std::io::stdout(), "{}", text.trim_end_matches('\n')).map_err(Failure::internal)
}
