//! SIGINT and SIGTERM: the first asks for the end, the second takes it. SIGXFSZ, which would end the process, ends
//! a write only.
//!
//! Invariant: from the first signal on, a second one ends the process at once, whatever it waits for.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::SIGXFSZ;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code of a process that a second signal has ended.
const SECOND_SIGNAL: i32 = 75;
/// How long its last line may take to be written.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(100);

/// Makes a write beyond the limit of file sizes an error of that write; without a handler it is the end.
///
/// # Errors
/// When the system takes no handler.
pub fn survive_long_files() -> std::io::Result<()> {
    // Nobody looks at the flag: that there is a handler is enough.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}

/// Waits for the first signal and returns its name; then watches for the second.
pub async fn first() -> std::io::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let name = either(&mut interrupt, &mut terminate).await;
    tokio::spawn(async move {
        let name = either(&mut interrupt, &mut terminate).await;
        tracing::warn!(signal = name, "Second signal: ending at once");
        crate::log::wait_written(LAST_WORDS_WITHIN);
        std::process::exit(SECOND_SIGNAL);
    });
    Ok(name)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
