//! What a running process has used, as the kernel tells it.
//!
//! The invariant: figures are of the whole process with all its threads, and are read while it lives.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel's clock ticks in a second; 100 on every Linux that people run.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used since its start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor time in user and kernel mode.
    pub cpu: Duration,
    /// The most resident memory so far, in bytes.
    pub peak_resident_bytes: u64,
}

/// Reads what a process has used.
///
/// # Errors
/// Fails where the process is gone.
pub fn usage(pid: u32) -> Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("reading the process's times")?;
    // The name in parentheses may hold spaces; the fields behind it are numbers.
    let after_name = stat.rsplit_once(')').context("the process's times have no name")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let cpu = Duration::from_secs_f64((ticks(11) + ticks(12)) / TICKS_PER_SECOND);
    Ok(Usage { cpu, peak_resident_bytes: status_bytes(pid, "VmHWM:")? })
}

/// Reads the present resident memory in bytes.
///
/// # Errors
/// Fails where the process is gone.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmRSS:")
}

fn status_bytes(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("reading the process's status")?;
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    // A process that has ended but was not waited for has no memory any more.
    Ok(kib.unwrap_or(0) * 1024)
}
