//! The log: events become lines on standard output.
//!
//! [`init`] installs it; everything else in the program only uses the macros of `tracing`. An error
//! event with the field `fatal = true` is written with the level FATAL. Of other crates only warnings
//! and errors are written.
//!
//! ```text
//! event ──> Lines (filter, form) ──> Outlet (bounded queue) ──> one thread ──> standard output
//! ```
//!
//! Invariant: whoever logs neither waits for standard output nor learns of its faults; a line that
//! cannot be written is counted.

mod event;
mod json;
mod lines;
mod outlet;
mod text;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;

use crate::clock;
use crate::config::{Format, Log};
use lines::{Form, Lines};
pub use outlet::Handle;

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

/// Sends the events of this process to standard output from now on.
///
/// The handle is kept until the process ends; when it is dropped, waiting lines are written.
///
/// # Errors
/// When the writing thread cannot be started, or when the log was installed before.
pub fn init(log: &Log) -> Result<Handle, InitError> {
    let (outlet, handle) = outlet::open(io::stdout()).map_err(InitError::Thread)?;
    let form = match log.format {
        Format::Json => Form::Json,
        Format::Text => Form::Text { colours: io::stdout().is_terminal() },
    };
    let lines = Lines::new(log.level, form, clock::system_ms, outlet);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines))
        .map_err(InitError::Installed)?;
    Ok(handle)
}
