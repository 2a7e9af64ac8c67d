//! The allocator: the one of the C library, which keeps freed memory for later unless it is told not to.
//!
//! Invariant: the only `unsafe` of this folder is the one call here.

/// Has the allocator give back what it does not need; false where it cannot be asked.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "no safe binding of malloc_trim exists")]
pub(super) fn trim() -> bool {
    // SAFETY: malloc_trim takes no pointer, may be called by any thread at any time, and frees only pages that
    // hold no allocation.
    unsafe { libc::malloc_trim(0) };
    true
}

/// Has the allocator give back what it does not need; false where it cannot be asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn trim() -> bool {
    false
}
