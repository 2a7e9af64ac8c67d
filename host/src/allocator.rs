//! The allocator: the one of the C library, which keeps freed memory for later unless it is told not to.
//!
//! Not for what plugins allocate, which is their own linear memory. Invariant: the only `unsafe` is the two calls here.

/// Among how many areas the allocator divides what threads allocate. With its own choice, eight for each core, a few
/// values that stay keep each area from being given back: after a burst of tokens the service stayed 9 MiB larger
/// than with two of them, which cost no time that could be measured.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: libc::c_int = 2;

/// Has the allocator divide memory less; to be called before there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "no safe binding of mallopt exists")]
pub(crate) fn divide_less() {
    // SAFETY: mallopt takes no pointer and may be called at any time.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

/// Has the allocator divide memory less; there is nothing to do where it is another one.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn divide_less() {}

/// Has the allocator give back what it does not need; false where it cannot be asked.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "no safe binding of malloc_trim exists")]
pub(crate) fn trim() -> bool {
    // SAFETY: malloc_trim takes no pointer, may be called by any thread at any time, and frees only pages that
    // hold no allocation.
    unsafe { libc::malloc_trim(0) };
    true
}

/// Has the allocator give back what it does not need; false where it cannot be asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn trim() -> bool {
    false
}
