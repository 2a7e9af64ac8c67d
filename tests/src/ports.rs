//! Free TCP ports for child processes.
//!
//! Ports are taken below the range from which the system serves outgoing connections, so that no client can take one
//! between the look and the child's own bind. The invariant: one process never names a port twice.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// The first port, and how many there are; Linux serves outgoing connections from 32768 on.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// Names a port on which nobody listens.
///
/// # Panics
/// Panics when every port is taken.
pub fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + start.wrapping_add(step) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
