//! SIGINT and SIGTERM: the first asks for the end, the second takes it.
//!
//! Invariant: from the first signal on, a second one ends the process at once, whatever it waits for.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code of a process that a second signal has ended.
const SECOND_SIGNAL: i32 = 75;
/// How long its last line may take to be written.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(100);

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
