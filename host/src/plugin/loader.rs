//! From a candidate to a running plugin, or to a refusal that says stage, reason and remedy.
//!
//! The stages: read (size), check (version), compile, check (imports, world), instantiate, describe (name,
//! result key), configure, schema. Calls of the guest are under the deadline and the memory limit from
//! their first instruction on. Everything here may take long and blocks: not for a worker; see
//! [`super::workshop`]. Invariant: whatever a candidate is, it ends as one of the two.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::candidate::{Candidate, same_name};
use super::catalog::Running;
use super::compile::{CompileError, CompileRules, Compiler};
use super::component::{self, Component};
use super::refusal::{Cause, Refusal};
use super::{Engine, Limits, PluginError, Stage};
use crate::config;
use crate::digest;
use crate::results::{Ancestor, LEADING_KEY};

/// The longest configuration.
pub const MAX_CONFIGURATION_BYTES: usize = 256 << 10;

/// Result keys that are taken, each with the plugin that has it.
pub type ResultKeys = BTreeMap<String, String>;

/// A plugin that is ready to run, and what it took to get there.
#[derive(Clone)]
pub struct Loaded {
    /// The plugin.
    pub running: Running,
    /// How long it took to have machine code; next to nothing where the cache had it.
    pub compile: Duration,
    /// How long everything else took.
    pub check: Duration,
}

/// Loads candidates.
pub struct Loader {
    engine: Engine,
    compiler: Compiler,
    /// The largest component, in bytes.
    max_bytes: usize,
    /// Whether rows of the leading result key become messages of the Kafka output.
    messages: bool,
}

impl Loader {
    /// Makes an engine and a compiler. The program that compiles is the running one, unless a test has
    /// another.
    ///
    /// # Errors
    /// When the engine cannot be made.
    pub fn new(config: &config::Plugins, program: Option<PathBuf>) -> Result<Self, PluginError> {
        let limits = Limits { deadline: config.deadline, memory_bytes: config.memory_bytes };
        let rules =
            CompileRules { cache_dir: config.cache_dir.clone(), limit: config.compile_timeout, program };
        Ok(Self {
            engine: Engine::new(limits)?,
            compiler: Compiler::new(rules),
            max_bytes: config.upload_max,
            messages: false,
        })
    }

    /// The same for a service that writes messages, which are made of the default plugin's fields.
    #[must_use]
    pub fn for_messages(self, messages: bool) -> Self {
        Self { messages, ..self }
    }

    /// Makes a candidate a plugin that can run beside those that have these result keys.
    ///
    /// # Errors
    /// Says how far the candidate came and what is wrong with it.
    pub fn load(&self, candidate: &Candidate, taken: &ResultKeys) -> Result<Loaded, Refusal> {
        self.try_load(candidate, taken).map_err(|refusal| refusal.with_digest(&candidate.digest))
    }

    /// Asks a component what it calls itself; for whoever has it under another name or under none.
    ///
    /// # Errors
    /// Says how far it came and what is wrong with it.
    pub fn name(&self, name: &str, wasm: &[u8]) -> Result<String, Refusal> {
        let (plugin, _) = self.link(name, &digest::of(wasm), wasm)?;
        Ok(plugin.description().name.clone())
    }

    /// Why compiled plugins are not cached although they should be.
    #[must_use]
    pub fn cache_trouble(&self) -> Option<&str> {
        self.compiler.trouble()
    }

    /// Ends what is being compiled; nothing is compiled any more.
    pub fn cancel(&self) {
        self.compiler.cancel();
    }

    fn try_load(&self, candidate: &Candidate, taken: &ResultKeys) -> Result<Loaded, Refusal> {
        let began = Instant::now();
        let name = &*candidate.name;
        let refuse = |stage, cause, reason: String| Refusal::new(name, stage, cause, reason);
        check_configuration(&candidate.configuration)
            .map_err(|reason| refuse(Stage::Configure, Cause::Configuration, reason))?;
        let (plugin, compile) = self.link(name, &candidate.digest, &candidate.wasm)?;
        let said = &plugin.description().name;
        if !same_name(said, name) {
            let words = format!("it came as {name} but calls itself {said}");
            return Err(refuse(Stage::Describe, Cause::FileName, words));
        }
        let key = &plugin.description().result_key;
        if let Some(owner) = taken.get(key).filter(|owner| !same_name(owner, said)) {
            let words = format!("its result key {key:?} is taken by {owner}");
            return Err(refuse(Stage::Describe, Cause::ResultKeyTaken, words));
        }
        let running = Running::new(Arc::clone(&plugin), &candidate.configuration, &candidate.digest)
            .map_err(|error| Refusal::of_fault(&error))?;
        if self.messages && key == LEADING_KEY {
            let words = |error| format!("KAFKA_OUTPUT_TOPIC needs the fields of the default plugin: {error}");
            Ancestor::new(&running.schema)
                .map_err(|error| refuse(Stage::Describe, Cause::Schema, words(error)))?;
        }
        Ok(Loaded { running, compile, check: began.elapsed().saturating_sub(compile) })
    }

    /// From bytes to a plugin that has said what it is, and how long it took to have machine code.
    fn link(
        &self,
        name: &str,
        digest: &str,
        wasm: &[u8],
    ) -> Result<(Arc<dyn super::Plugin>, Duration), Refusal> {
        let refuse = |stage, cause, reason: String| Refusal::new(name, stage, cause, reason);
        if wasm.len() > self.max_bytes {
            return Err(too_large(name, self.max_bytes));
        }
        component::check_version(wasm).map_err(|(cause, reason)| refuse(Stage::Check, cause, reason))?;
        let compiling = Instant::now();
        let compiled = self
            .compiler
            .component(&self.engine, digest, wasm)
            .map_err(|error| refuse(Stage::Compile, cause(&error), error.to_string()))?;
        let compile = compiling.elapsed();
        Ok((Arc::new(Component::link(&self.engine, name, &compiled)?), compile))
    }
}

/// Refuses a component for its size.
pub(super) fn too_large(name: &str, max_bytes: usize) -> Refusal {
    let words = format!("larger than PLUGIN_UPLOAD_MAX ({max_bytes} bytes)");
    Refusal::new(name, Stage::Read, Cause::TooLarge, words)
}

/// Whether a text may be a configuration at all; what it means is the plugin's business.
pub(super) fn check_configuration(text: &str) -> Result<(), String> {
    if text.len() > MAX_CONFIGURATION_BYTES {
        return Err(format!("the configuration is longer than {MAX_CONFIGURATION_BYTES} bytes"));
    }
    match serde_json::from_str::<BTreeMap<String, &serde_json::value::RawValue>>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the configuration is no JSON object: {error}")),
    }
}

fn cause(error: &CompileError) -> Cause {
    match error {
        CompileError::Refused(_) => Cause::DoesNotCompile,
        CompileError::TooLong(_) => Cause::CompileTooLong,
        CompileError::TooLarge(_) => Cause::CompileTooLarge,
        CompileError::Failed(_) => Cause::CompilerFailed,
        CompileError::Cancelled => Cause::Ending,
    }
}
