//! The lines of the log that are about a plugin, for whoever asks for them over HTTP: the last ones and those to come.
//!
//! Not another log: what is told here was written there. Invariant: what is kept is bounded, and whoever logs waits
//! for nobody who listens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

/// How many bytes of lines are kept.
const KEPT_BYTES: usize = 256 << 10;
/// How many lines wait for one who listens; of what is more the oldest are left out.
const WAITING: usize = 256;

/// One line.
#[derive(Debug)]
pub struct PluginLine {
    /// Which plugin it is about.
    pub plugin: String,
    /// The line as a JSON object, without its end.
    pub json: String,
}

/// The last lines, and where those to come are heard.
#[derive(Debug)]
pub struct PluginLines {
    kept: Mutex<Kept>,
    coming: broadcast::Sender<Arc<PluginLine>>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Arc<PluginLine>>,
    bytes: usize,
}

impl Default for PluginLines {
    fn default() -> Self {
        Self { kept: Mutex::default(), coming: broadcast::Sender::new(WAITING) }
    }
}

impl PluginLines {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a line, and tells those who listen.
    pub(super) fn note(&self, plugin: String, json: String) {
        let line = Arc::new(PluginLine { plugin, json });
        let mut kept = self.kept();
        kept.bytes += line.json.len();
        kept.lines.push_back(Arc::clone(&line));
        while kept.bytes > KEPT_BYTES
            && let Some(oldest) = kept.lines.pop_front()
        {
            kept.bytes -= oldest.json.len();
        }
        // An error says that nobody listens.
        self.coming.send(line).ok();
    }

    /// The last lines, and where those behind them are heard.
    #[must_use]
    pub fn listen(&self) -> (Vec<Arc<PluginLine>>, broadcast::Receiver<Arc<PluginLine>>) {
        // While nothing is added, so that no line is missing between the two, or in both.
        let kept = self.kept();
        (kept.lines.iter().cloned().collect(), self.coming.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_the_next_one_is_heard() {
        let lines = PluginLines::default();
        let long = KEPT_BYTES / 4 + 1;
        for plugin in ["a", "b", "c", "d"] {
            lines.note(plugin.to_owned(), "x".repeat(long));
        }
        let (kept, mut coming) = lines.listen();
        let kept: Vec<&str> = kept.iter().map(|line| line.plugin.as_str()).collect();
        assert_eq!(kept, ["b", "c", "d"]);
        assert!(coming.try_recv().is_err());
        lines.note("e".to_owned(), "{}".to_owned());
        assert_eq!(coming.try_recv().unwrap().plugin, "e");
    }
}
