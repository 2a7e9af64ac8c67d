//! From a component's bytes to machine code: taken from the cache, or compiled by a child process.
//!
//! Not for judging components, which [`super::Loader`] does before and after. A cache that cannot be used
//! costs a warning and a compilation at each start, nothing else.
//!
//! Invariant: machine code that is loaded comes from a child of this process, or from a file that such a
//! child wrote and nobody else could change.

mod cache;
mod child;
mod process;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::Component;

pub use child::{COMMAND, ChildError, run};

use super::engine::Engine;
use cache::Cache;
use process::Process;

/// How a [`Compiler`] works.
#[derive(Debug, Clone)]
pub struct CompileRules {
    /// The private directory for compiled components; none for no cache.
    pub cache_dir: Option<PathBuf>,
    /// How long one component may take.
    pub limit: Duration,
    /// The program with the compiling command; none for the running one.
    pub program: Option<PathBuf>,
}

/// Why a component has no machine code.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// It is not valid; the plugin's author acts.
    #[error("does not compile: {0}")]
    Refused(String),
    /// It takes too long.
    #[error("compiling takes longer than PLUGIN_COMPILE_TIMEOUT ({0:?})")]
    TooLong(Duration),
    /// It takes too much memory.
    #[error("compiling takes more than {} MiB of memory", .0 >> 20)]
    TooLarge(u64),
    /// The compiler itself could not do its work; the operator acts.
    #[error("the compiler failed: {0}")]
    Failed(String),
    /// The service ends.
    #[error("compiling was given up, since the service ends")]
    Cancelled,
}

/// Compiles components, one at a time.
#[derive(Debug)]
pub struct Compiler {
    cache: Option<Cache>,
    /// Why there is no cache although one was asked for.
    trouble: Option<String>,
    /// Whether a file that could not be kept was reported.
    reported: AtomicBool,
    process: Process,
    turn: Mutex<()>,
}

impl Compiler {
    /// Prepares a compiler.
    #[must_use]
    pub fn new(rules: CompileRules) -> Self {
        let opened = rules.cache_dir.as_deref().map(Cache::open).transpose();
        let (cache, trouble) = match opened {
            Ok(cache) => (cache, None),
            Err(error) => (None, Some(format!("no cache of compiled plugins, PLUGIN_CACHE_DIR: {error}"))),
        };
        if let Some(words) = &trouble {
            tracing::warn!("{words}");
        }
        let process = Process::new(rules.program, rules.limit);
        Self { cache, trouble, reported: AtomicBool::new(false), process, turn: Mutex::new(()) }
    }

    /// Why there is no cache although one was asked for.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Ends what is being compiled, and compiles nothing more.
    pub fn cancel(&self) {
        self.process.cancel();
    }

    /// Gives the component with this digest, ready to be linked.
    pub(super) fn component(
        &self,
        engine: &Engine,
        digest: &str,
        wasm: &[u8],
    ) -> Result<Component, CompileError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let version = engine.compatibility();
        if let Some(cache) = &self.cache
            && let Some(file) = cache.get(digest, version)
        {
            match load(engine, &file) {
                Ok(component) => return Ok(component),
                Err(error) => {
                    cache.forget(digest, version);
                    tracing::warn!(%error, digest, "Compiled plugin cannot be loaded, compiling it again");
                }
            }
        }
        if let Some(cache) = &self.cache
            && let Some(component) = self.compile_into(cache, engine, digest, wasm)?
        {
            return Ok(component);
        }
        let failed = |error: String| CompileError::Failed(error);
        let mut file = process::nameless("compiled").map_err(|error| failed(error.to_string()))?;
        self.process.compile(wasm, &mut file)?;
        load(engine, &file).map_err(|error| failed(format!("{error:#}")))
    }

    /// Compiles into the cache; none where that cannot keep or load the result.
    fn compile_into(
        &self,
        cache: &Cache,
        engine: &Engine,
        digest: &str,
        wasm: &[u8],
    ) -> Result<Option<Component>, CompileError> {
        let mut file = match cache.begin() {
            Ok(file) => file,
            Err(error) => return Ok(self.report(&error)),
        };
        match self.process.compile(wasm, file.as_file_mut()) {
            Ok(()) => {}
            // The disk may be full.
            Err(CompileError::Failed(words)) => return Ok(self.report(&words)),
            Err(error) => return Err(error),
        }
        let version = engine.compatibility();
        match cache
            .keep(file, digest, version)
            .map_err(wasmtime::Error::from)
            .and_then(|file| load(engine, &file))
        {
            Ok(component) => Ok(Some(component)),
            Err(error) => {
                cache.forget(digest, version);
                Ok(self.report(&error))
            }
        }
    }

    /// Says once that the cache keeps nothing.
    fn report(&self, error: &dyn std::fmt::Display) -> Option<Component> {
        if !self.reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "Compiled plugin cannot be kept; it is compiled at each start");
        }
        None
    }
}

/// Maps machine code.
#[allow(unsafe_code, reason = "to load machine code is to run it; see below why these bytes may be run")]
fn load(engine: &Engine, file: &File) -> wasmtime::Result<Component> {
    // The open file itself, whatever its name means by now.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the bytes were made by `precompile_component`, in a child of this process or of a former one
    // of the same user. They are in a file without a name, or in one that is this user's alone, lies in a
    // directory that is this user's alone, is never written after it got its name, and has just been
    // compared with the digest in that name. Whoever could change it meanwhile runs as this user anyway.
    unsafe { Component::deserialize_file(engine.inner(), path) }
}
