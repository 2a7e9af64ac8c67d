//! The wasmtime engine, narrowed to what plugins need, and the ticker behind every deadline.
//!
//! Invariant: the ticker holds the engine weakly, so that dropping the last [`Engine`] ends it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::error::{PluginError, Stage};

/// How often the epoch moves: the grain of deadlines.
const TICK: Duration = Duration::from_millis(10);

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

/// Compiles and runs components.
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
        let inner = wasmtime::Engine::new(&config).map_err(failed)?;
        let weak = inner.weak();
        thread::Builder::new()
            .name("plugin-ticker".to_owned())
            .spawn(move || {
                while let Some(engine) = weak.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    thread::sleep(TICK);
                }
            })
            .map_err(|error| PluginError::new("engine", Stage::Compile, format!("ticker thread: {error}")))?;
        Ok(Self { inner, limits })
    }

    /// Compiles a component and makes it ready to be instantiated.
    pub fn load(&self, file: &str, wasm: &[u8]) -> Result<Arc<dyn super::Plugin>, PluginError> {
        Ok(Arc::new(super::component::Component::load(self, file, wasm)?))
    }

    pub(super) fn inner(&self) -> &wasmtime::Engine {
        &self.inner
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }
}
