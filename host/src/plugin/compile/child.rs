//! What the child process does: a component on standard input, machine code on standard output.
//!
//! Compiling takes memory and time that the component decides, so it happens in a process that can be
//! killed. It takes the lowest priority, one core, a bounded address space, and the kernel's word that it
//! ends with the host and is the first to go when memory runs out. Nothing of the service is in it: no
//! settings, no secrets, no connections.
//!
//! Invariant: it compiles with the engine's own configuration, or the host could not load the result.

use std::io::{Read, Write};

use rustix::process::{Resource, Rlimit, Signal};

use super::super::engine;

/// The command of this binary that compiles; hidden from help.
pub const COMMAND: &str = "compile-component";
/// The exit code that says: the component is at fault, and standard error says why.
pub(super) const REFUSED: u8 = 65;
/// The exit code that says: the machine is at fault.
const FAILED: u8 = 70;
/// The most address space of the child. A component of 17 MB in 18,000 functions, which is what an
/// interpreter with its library comes to, took 340 MB; one function of 7 MB took more than all of it.
pub(super) const MEMORY_BYTES: u64 = 2 << 30;

/// Why there is no machine code.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The component is at fault.
    #[error("{0}")]
    Component(String),
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
}

impl ChildError {
    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Component(_) => REFUSED,
            Self::Io { .. } => FAILED,
        }
    }
}

/// Compiles what is on standard input.
///
/// # Errors
/// When the component does not compile, or its bytes cannot be read or the result not be written.
pub fn run() -> Result<(), ChildError> {
    restrain().map_err(|error| ChildError::Io { what: "setting limits", source: error.into() })?;
    let io = |what| move |source| ChildError::Io { what, source };
    let mut wasm = Vec::new();
    std::io::stdin().read_to_end(&mut wasm).map_err(io("reading the component"))?;
    let compiled = compile(&wasm).map_err(|error| ChildError::Component(format!("{error:#}")))?;
    let mut out = std::io::stdout();
    out.write_all(&compiled).and_then(|()| out.flush()).map_err(io("writing machine code"))
}

fn compile(wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let mut config = engine::config();
    // The other cores are the service's.
    config.parallel_compilation(false);
    wasmtime::Engine::new(&config)?.precompile_component(wasm)
}

/// Gives up what the service needs more.
fn restrain() -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::nice(19)?;
    for (resource, most) in [(Resource::As, MEMORY_BYTES), (Resource::Core, 0)] {
        // Whoever started the service may have set less, which cannot be raised.
        let limit = rustix::process::getrlimit(resource).maximum.map_or(most, |set| set.min(most));
        rustix::process::setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    // Where the kernel does not let a process say so, it chooses as it always does.
    drop(std::fs::write("/proc/self/oom_score_adj", "1000"));
    Ok(())
}
