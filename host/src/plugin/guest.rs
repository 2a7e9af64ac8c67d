//! What the host keeps for one instance: its limits, its log, and its last words.
//!
//! Invariant: nothing a guest says or asks for grows the host: log lines are cut and a flood of them
//! is dropped and counted.

use std::time::{Duration, Instant};

use super::contract::Level;
use super::error::printable;

/// The longest log line.
const LINE_BYTES: usize = 4_096;
/// How many lines a guest may write in [`LOG_WINDOW`].
const LOG_LINES: u32 = 50;
const LOG_WINDOW: Duration = Duration::from_secs(1);
/// How many elements all tables of an instance may have together; each takes some bytes of the host.
const TABLE_ELEMENTS: usize = 100_000;
/// How many tables, and how many modules, a component may be made of; interpreters take some dozens.
const TABLES: usize = 64;
const MODULES: usize = 256;

/// The host's side of an instance.
pub(super) struct Guest {
    plugin: String,
    memory_limit: usize,
    /// What all linear memories of the instance hold now.
    pub(super) memory_bytes: usize,
    /// How many elements all tables of the instance have now.
    table_elements: usize,
    /// Why memory was refused, if it was; it explains the trap that follows.
    pub(super) refused_memory: Option<usize>,
    /// The row that the guest named while dying.
    pub(super) fault_row: Option<u32>,
    /// The last error the guest logged: a panic's message, if a trap follows.
    pub(super) last_error: Option<String>,
    /// What was printed since the last line break.
    printed: Vec<u8>,
    window_began: Instant,
    lines: u32,
    dropped: u64,
}

impl Guest {
    pub(super) fn new(plugin: &str, memory_limit: usize) -> Self {
        Self {
            plugin: plugin.to_owned(),
            memory_limit,
            memory_bytes: 0,
            table_elements: 0,
            refused_memory: None,
            fault_row: None,
            last_error: None,
            printed: Vec::new(),
            window_began: Instant::now(),
            lines: 0,
            dropped: 0,
        }
    }

    /// Forgets the last words of the call before.
    pub(super) fn begin_call(&mut self) {
        self.fault_row = None;
        self.last_error = None;
        self.refused_memory = None;
    }

    /// Takes what the guest printed; whole lines go to the log.
    pub(super) fn print(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&b| b == b'\n') {
            let room = LINE_BYTES.saturating_sub(self.printed.len());
            self.printed.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&self.printed).trim_end().to_owned();
                self.printed.clear();
                self.write(Level::Info, &line);
            }
        }
    }

    fn write(&mut self, level: Level, message: &str) {
        if self.window_began.elapsed() >= LOG_WINDOW {
            if self.dropped > 0 {
                tracing::warn!(target: "plugin", plugin = %self.plugin, dropped = self.dropped, "Plugin log lines dropped");
            }
            (self.window_began, self.lines, self.dropped) = (Instant::now(), 0, 0);
        }
        if self.lines >= LOG_LINES {
            self.dropped += 1;
            return;
        }
        self.lines += 1;
        let message = printable(message, LINE_BYTES);
        let plugin = &self.plugin;
        match level {
            Level::Debug => tracing::debug!(target: "plugin", %plugin, "{message}"),
            Level::Info => tracing::info!(target: "plugin", %plugin, "{message}"),
            Level::Warn => tracing::warn!(target: "plugin", %plugin, "{message}"),
            Level::Error => tracing::error!(target: "plugin", %plugin, "{message}"),
        }
    }
}

impl super::contract::aggregator::plugin::host::Host for Guest {
    fn log(&mut self, level: Level, message: String) {
        if level == Level::Error {
            self.last_error = Some(printable(&message, 1_000));
        }
        self.write(level, &message);
    }

    fn fault_at(&mut self, row: u32) {
        self.fault_row = Some(row);
    }
}

impl super::contract::aggregator::plugin::types::Host for Guest {}

impl wasmtime::ResourceLimiter for Guest {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = (self.memory_bytes + desired).saturating_sub(current);
        let allowed = total <= self.memory_limit;
        if allowed {
            self.memory_bytes = total;
        } else {
            self.refused_memory = Some(total);
        }
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // A 64-bit table may ask for any number.
        let total = self.table_elements.saturating_add(desired).saturating_sub(current);
        // Beyond the table's own maximum it would not grow, and must not be counted.
        let allowed = total <= TABLE_ELEMENTS && maximum.is_none_or(|maximum| desired <= maximum);
        if allowed {
            self.table_elements = total;
        }
        Ok(allowed)
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn instances(&self) -> usize {
        MODULES
    }

    fn memories(&self) -> usize {
        // One for the component; adapters of other languages bring a second.
        4
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter;

    use super::*;

    fn guest() -> Guest {
        Guest::new("a", 1 << 20)
    }

    #[test]
    fn the_elements_of_all_tables_of_an_instance_count_together() {
        let mut guest = guest();
        assert!(guest.table_growing(0, TABLE_ELEMENTS - 10, None).unwrap());
        assert!(!guest.table_growing(0, 11, None).unwrap());
        assert!(guest.table_growing(0, 4, None).unwrap());
        assert!(guest.table_growing(4, 10, None).unwrap());
        assert!(!guest.table_growing(10, 11, None).unwrap());
        assert!(!guest.table_growing(10, usize::MAX, None).unwrap());
        assert_eq!(guest.table_elements, TABLE_ELEMENTS);
    }

    #[test]
    fn a_table_that_asks_for_more_than_its_own_maximum_is_refused_without_being_counted() {
        let mut guest = guest();
        assert!(guest.table_growing(0, 10, Some(10)).unwrap());
        assert!(!guest.table_growing(10, 11, Some(10)).unwrap());
        assert_eq!(guest.table_elements, 10);
    }
}
