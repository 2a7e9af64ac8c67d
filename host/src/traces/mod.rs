//! Traces for an OpenTelemetry collector: spans of fetch, process, flush, checkpoint and swap.
//!
//! Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set; then whoever has done something hands in a span, which one thread
//! sends on. Not for single trades, and not for what metrics say already. Invariants: switched off, a place costs one
//! look at a flag; whoever hands a span in never waits, and a span that finds no room is counted.
//!
//! ```text
//! fetch ─┐ one trace for each batch, by partition and offset
//! process┘                                              ──> bounded queue ──> thread `traces` ──> collector
//! flush, checkpoint: a trace each; swap: one with a span for each phase
//! ```

mod exporter;
mod otlp;
mod span;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::config::Traces;
pub use exporter::Handle;
use exporter::Outbox;
pub use span::Span;

/// Where spans go; there is one in a process.
static INSTALLED: OnceLock<Outbox> = OnceLock::new();

/// Sends spans to a collector from now on, where one is configured.
///
/// The handle is kept until the process ends; when it is dropped, waiting spans are sent.
///
/// # Errors
/// When the sending thread cannot be started.
pub fn init(traces: &Traces) -> std::io::Result<Option<Handle>> {
    let Some(endpoint) = &traces.endpoint else {
        return Ok(None);
    };
    let (outbox, handle) = exporter::open(endpoint.clone())?;
    INSTALLED.get_or_init(|| outbox);
    Ok(Some(handle))
}

/// Hands a span in; it is made only where traces are on.
pub fn record(span: impl FnOnce() -> Span) {
    if let Some(outbox) = INSTALLED.get() {
        outbox.put(span());
    }
}

/// The spans that were lost so far: no room, or no collector.
pub fn lost_spans() -> u64 {
    INSTALLED.get().map_or(0, Outbox::lost)
}

/// Begins to time something, where traces are on.
pub fn begin() -> Option<Instant> {
    INSTALLED.get().map(|_| Instant::now())
}

/// Hands in the span of what was timed.
pub fn end(begun: Option<Instant>, span: impl FnOnce(Duration) -> Span) {
    if let Some(begun) = begun {
        record(|| span(begun.elapsed()));
    }
}
