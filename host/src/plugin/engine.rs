//! The wasmtime engine, narrowed to what plugins need, and the ticker behind every deadline.
//!
//! Invariant: the ticker holds the engine weakly, so that dropping the last [`Engine`] ends it.

use std::hash::{Hash, Hasher};
use std::thread;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::Xxh3;

use super::error::{PluginError, Stage};

/// How often the epoch moves: the grain of deadlines.
const TICK: Duration = Duration::from_millis(10);
/// A ticker that was this late has not run for want of a processor, but since the process was frozen.
const FROZEN: Duration = Duration::from_millis(500);

/// What an instance may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest time one call may take.
    pub deadline: Duration,
    /// The most linear memory.
    pub memory_bytes: usize,
}

impl Limits {
    /// The deadline in ticks of the epoch, at least one whole tick.
    pub(super) fn ticks(self) -> u64 {
        u64::try_from(self.deadline.as_millis().div_ceil(TICK.as_millis()))
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }
}

/// What is compiled, and how; the same for whoever compiles and whoever loads.
pub(super) fn config() -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config
        .epoch_interruption(true)
        // A call is five times cheaper without the machinery of concurrent calls.
        .concurrency_support(false)
        // The same input gives the same bytes on every machine.
        .wasm_relaxed_simd(false)
        // 128-bit sums are most of what the default plugin does.
        .wasm_wide_arithmetic(true)
        .cranelift_opt_level(wasmtime::OptLevel::Speed);
    config
}

/// Runs components.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    limits: Limits,
}

impl Engine {
    /// Makes an engine and starts its ticker.
    pub fn new(limits: Limits) -> Result<Self, PluginError> {
        let failed =
            |error: wasmtime::Error| PluginError::new("engine", Stage::Compile, format!("{error:#}"));
        let inner = wasmtime::Engine::new(&config()).map_err(failed)?;
        let weak = inner.weak();
        thread::Builder::new()
            .name("plugin-ticker".to_owned())
            .spawn(move || {
                let mut next = Instant::now();
                while let Some(engine) = weak.upgrade() {
                    // A thread that slept too long makes up for it, or deadlines would grow with the load. But a
                    // process that was frozen, or its machine, has frozen the plugins as well.
                    if next.elapsed() > FROZEN {
                        next = Instant::now();
                    }
                    while next <= Instant::now() {
                        engine.increment_epoch();
                        next += TICK;
                    }
                    drop(engine);
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            })
            .map_err(|error| PluginError::new("engine", Stage::Compile, format!("ticker thread: {error}")))?;
        Ok(Self { inner, limits })
    }

    /// A number that all engines share which can load the same machine code.
    pub(super) fn compatibility(&self) -> u64 {
        // Of all hashers at hand, the one that is the same in every build of this program.
        let mut hasher = Xxh3::new();
        self.inner.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn inner(&self) -> &wasmtime::Engine {
        &self.inner
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }
}
