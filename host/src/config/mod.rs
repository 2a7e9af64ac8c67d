//! The configuration: text from the environment becomes typed, checked values.
//!
//! [`read`] gathers the environment and `.env` into a map; it is the only place in the program that
//! reads either. [`Config::from_map`] turns such a map into values, or into [`ConfigErrors`], which
//! lists every problem at once. Each part of the program takes its own part of [`Config`].
//!
//! One file per concern holds its structure, its reading and its settings; [`SETTINGS`] is all of
//! them, and [`example`] writes them out as `.env.example`.
//!
//! Not here: anything that opens a file, a socket or a connection.
//!
//! Invariant: a secret never gets into `Debug`, into `Display` or into an error.

mod environment;
mod error;
mod example;
mod http;
mod kafka;
mod log;
mod maintenance;
mod output;
mod parse;
mod pipeline;
mod plugins;
mod reader;
mod redis;
mod redis_url;
mod secret;
mod security;
mod setting;
mod traces;
mod warning;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use environment::read;
pub use error::{ConfigErrors, Problem};
pub use example::example;
pub use http::{Http, reached_at};
pub use kafka::{Kafka, StartFrom};
pub use log::{Format, Level, Log};
pub use maintenance::Maintenance;
pub use output::{Encoding, Output};
pub use pipeline::{ClockMode, Partitioning, Pipeline};
pub use plugins::Plugins;
pub use redis::Redis;
pub use secret::Secret;
pub use security::{KafkaSecurity, SaslMechanism, SecurityProtocol};
pub use setting::{Group, SETTINGS, Setting};
pub use traces::{Endpoint, Traces};
pub use warning::Warning;

use reader::Reader;

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where trades come from.
    pub kafka: Kafka,
    /// Where results and checkpoints go.
    pub redis: Redis,
    /// How trades flow from one to the other.
    pub pipeline: Pipeline,
    /// What plugins are loaded and what they may use.
    pub plugins: Plugins,
    /// In which form results are written.
    pub output: Output,
    /// The HTTP listener.
    pub http: Http,
    /// The log.
    pub log: Log,
    /// Spans for a collector.
    pub traces: Traces,
    /// Regular upkeep.
    pub maintenance: Maintenance,
}

impl Config {
    /// Reads all settings from a map of variables.
    ///
    /// A variable that is empty counts as not set.
    ///
    /// # Errors
    /// Lists every problem of the map, not only the first.
    pub fn from_map(map: &BTreeMap<String, String>) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let mut from = Reader::new(map);
        let pipeline = Pipeline::read(&mut from);
        // An unreadable pipeline is a problem of its own; defaults then let the other checks go on.
        let clock = pipeline.as_ref().map_or(ClockMode::Wall, |p| p.clock);
        let partitioning = pipeline.as_ref().map_or(Partitioning::Shuffle, |p| p.partitioning);
        let max_message_bytes = pipeline.as_ref().map_or(0, |p| p.max_message_bytes);
        let kafka = Kafka::read(&mut from, clock, partitioning, max_message_bytes);
        let redis = Redis::read(&mut from);
        let plugins = Plugins::read(&mut from);
        let output = Output::read(&mut from);
        let http = Http::read(&mut from);
        let log = Log::read(&mut from);
        let traces = Traces::read(&mut from);
        let maintenance = Maintenance::read(&mut from);
        let parts = (kafka, redis, pipeline, plugins, output, http, log, traces, maintenance);
        let warnings = from.finish()?;
        let (
            Some(kafka),
            Some(redis),
            Some(pipeline),
            Some(plugins),
            Some(output),
            Some(http),
            Some(log),
            Some(traces),
            Some(maintenance),
        ) = parts
        else {
            // A part is missing only with a problem, and with one `finish` has returned.
            return Err(ConfigErrors::default());
        };
        let config = Self { kafka, redis, pipeline, plugins, output, http, log, traces, maintenance };
        Ok((config, warnings))
    }
}
