//! The log: events become lines on standard output.
//!
//! [`init`] installs it; everything else in the program only uses the macros of `tracing`. An error
//! event with the field `fatal = true` is written with the level FATAL. Of other crates only warnings
//! and errors are written. Of warnings and errors that repeat, some are left out and counted.
//!
//! ```text
//! event ──> Lines (filter, form, repeats) ──> Outlet (bounded queue) ──> one thread ──> standard output
//!                                        └──> PluginLines (what is about plugins) ──> HTTP
//! ```
//!
//! Invariant: whoever logs neither waits for standard output nor learns of its faults; a line that
//! cannot be written is counted.

mod event;
mod json;
mod lines;
mod outlet;
mod plugin_lines;
mod repeats;
mod text;

#[cfg(test)]
mod tests;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt;

use crate::clock;
use crate::config::{Format, Log};
use lines::{Form, Lines};
pub use outlet::Handle;
pub use plugin_lines::{PluginLine, PluginLines};
use repeats::Repeats;

/// Why the log could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The thread that writes could not be started.
    #[error("cannot start the thread that writes the log")]
    Thread(#[source] io::Error),
    /// Something else receives the events of this process.
    #[error("the log was installed before")]
    Installed(#[source] tracing::subscriber::SetGlobalDefaultError),
}

/// The installed log; there is one in a process.
static INSTALLED: OnceLock<outlet::View> = OnceLock::new();
/// What it says about plugins.
static PLUGIN_LINES: LazyLock<Arc<PluginLines>> = LazyLock::new(Arc::default);

/// Gives the number of lines that could not be written so far.
pub fn lost_lines() -> u64 {
    INSTALLED.get().map_or(0, outlet::View::lost_lines)
}

/// What the log says about plugins.
pub fn plugin_lines() -> Arc<PluginLines> {
    Arc::clone(&PLUGIN_LINES)
}

/// Waits until the lines so far are written, for one who ends the process at once.
pub fn wait_written(limit: Duration) {
    if let Some(log) = INSTALLED.get() {
        log.wait_written(limit);
    }
}

/// Sends the events of this process to standard output from now on.
///
/// The handle is kept until the process ends; when it is dropped, waiting lines are written.
///
/// # Errors
/// When the writing thread cannot be started, or when the log was installed before.
pub fn init(log: &Log) -> Result<Handle, InitError> {
    let form = match log.format {
        Format::Json => Form::Json,
        Format::Text => Form::Text { colours: io::stdout().is_terminal() },
    };
    let repeats = Arc::new(Repeats::new(form));
    let (outlet, handle) = outlet::open(io::stdout(), Arc::clone(&repeats)).map_err(InitError::Thread)?;
    INSTALLED.get_or_init(|| handle.view());
    let lines = Lines::new(log.level, form, clock::system_ms, repeats, outlet).telling(plugin_lines());
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines))
        .map_err(InitError::Installed)?;
    std::panic::set_hook(Box::new(tell_panic));
    Ok(handle)
}

/// Has a panic in the log like anything else, whichever thread it ends.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let (thread, words) = (thread.name().unwrap_or_default(), panic.payload_as_str().unwrap_or_default());
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    match Backtrace::capture() {
        trace if trace.status() == BacktraceStatus::Captured => {
            tracing::error!(target: "aggregator::panic", thread, place, %trace, "{words}");
        }
        _ => tracing::error!(target: "aggregator::panic", thread, place, "{words}"),
    }
}
