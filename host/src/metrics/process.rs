//! What the operating system says of this process.
//!
//! Invariant: a system without /proc gives zeros, not errors.

use std::fs;

/// A page of memory on every Linux that this runs on.
const PAGE_BYTES: u64 = 4_096;

/// Memory and threads.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    /// Resident memory.
    pub resident_bytes: u64,
    /// The part of it that is no file's.
    pub anonymous_bytes: u64,
    /// Memory mapped for data and stacks.
    pub data_bytes: u64,
    /// Address space, with what is only reserved.
    pub reserved_bytes: u64,
    /// Threads.
    pub threads: u64,
}

impl Process {
    /// Reads them now.
    pub fn read() -> Self {
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: Vec<u64> = statm.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let of = |index: usize| pages.get(index).copied().unwrap_or(0) * PAGE_BYTES;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let told = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Self {
            resident_bytes: of(1),
            anonymous_bytes: told("RssAnon:").unwrap_or(0) * 1_024,
            data_bytes: of(5),
            reserved_bytes: of(0),
            threads: told("Threads:").unwrap_or(0),
        }
    }

    /// How many file descriptors the process may have; none where that is unlimited or not told.
    pub fn descriptors_limit() -> Option<usize> {
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        line.split_whitespace().next()?.parse().ok()
    }
}
