//! What a host has written so far, kept in memory and waited on.
//!
//! The invariant: bounded; of a host that writes without end the latest lines are kept.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

const KEPT_LINES: usize = 20_000;

#[derive(Default)]
struct Lines {
    lines: Mutex<VecDeque<String>>,
    came: Condvar,
}

/// The lines of one host, filled by a thread for each of its outputs.
#[derive(Default)]
pub(crate) struct HostLog {
    lines: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
}

impl HostLog {
    /// Begins to read an output.
    pub(crate) fn read(&mut self, output: impl Read + Send + 'static) {
        let shared = Arc::clone(&self.lines);
        self.readers.push(std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut lines = shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() == KEPT_LINES {
                    lines.pop_front();
                }
                lines.push_back(line);
                shared.came.notify_all();
            }
        }));
    }

    /// Waits until the outputs are closed, so that no line is missed.
    pub(crate) fn join(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().ok();
        }
    }

    /// Waits for a line that contains `text`, from the start on.
    pub(crate) fn wait_for(&self, text: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        let mut lines = self.lines.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return Ok(line.clone());
            }
            let Some(rest) = deadline.checked_duration_since(Instant::now()) else {
                bail!("waited {limit:?} in vain for a line with {text:?}");
            };
            lines = self.lines.came.wait_timeout(lines, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// All lines so far that are JSON objects.
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.lines()
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(Value::is_object)
            .collect()
    }
}
