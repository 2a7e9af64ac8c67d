//! Threads of this program, each of which somebody waits for.
//!
//! Not for starting them. Invariant: one that ended with a panic is named; what it said is in the log since then.

use std::thread::JoinHandle;

/// Waits for a thread's end; says whether it ended in order.
pub(crate) fn joined(thread: JoinHandle<()>) -> bool {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    let in_order = thread.join().is_ok();
    if !in_order {
        tracing::error!(thread = name, "Thread ended with a panic");
    }
    in_order
}
