//! What happened in a world, in its order, as one number and, where asked for, in words.
//!
//! Invariant: two runs of one seed have equal numbers; nothing enters that a machine or a run could change.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many events stay readable.
const KEPT: usize = 20_000;

/// The events of a world.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: DefaultHasher,
    events: u64,
    /// The last ones; none where nobody reads them.
    lines: Option<VecDeque<String>>,
}

impl Trace {
    pub(crate) fn new(readable: bool) -> Self {
        Self { hasher: DefaultHasher::new(), events: 0, lines: readable.then(VecDeque::new) }
    }

    /// Notes an event: what it is and what makes it what it is.
    pub(crate) fn note(&mut self, event: impl Hash, words: impl FnOnce() -> String) {
        event.hash(&mut self.hasher);
        self.events += 1;
        if let Some(lines) = &mut self.lines {
            if lines.len() == KEPT {
                lines.pop_front();
            }
            lines.push_back(format!("{:6} {}", self.events, words()));
        }
    }

    /// All events as one number.
    pub(crate) fn number(&self) -> u64 {
        self.hasher.finish()
    }

    /// The last events in words.
    pub(crate) fn words(&self) -> String {
        let mut words = String::new();
        for line in self.lines.iter().flatten() {
            // Writing to a text cannot fail.
            writeln!(words, "{line}").ok();
        }
        words
    }
}
