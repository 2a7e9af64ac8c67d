//! Repeated warnings and errors: the first ones are written, of the others the last one with their number.
//!
//! What goes on failing fails fast, and a log that says so a thousand times a second hides everything else. Two
//! lines are alike when they come from the same place in the code and are about the same thing (a shard, a
//! partition, a plugin). Not for lines below a warning, nor for parts that have limits or duties of their own.
//! Invariant: no line is left out without being counted in one that is written; what is kept is bounded.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

use super::lines::Form;

/// How many alike lines are written in a row.
pub(super) const IN_A_ROW: u32 = 10;
/// How long a quiet time ends the row, and how often one line is written for those left out.
pub(super) const WHILE: Duration = Duration::from_secs(10);
/// The fields that say what a line is about.
const ABOUT: [&str; 8] = ["plugin", "shard", "partition", "part", "topic", "facility", "variable", "path"];
/// Parts whose every line counts, or which count what they leave out.
const UNLIMITED: [&str; 2] = ["audit", "plugin"];
/// The things that are told apart; of more, only the place in the code.
const THINGS: usize = 1_024;

/// What alike lines have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Thing {
    place: Identifier,
    about: u64,
}

impl Thing {
    /// What an event is about; none where all lines of its kind are written.
    pub(super) fn of(event: &Event<'_>) -> Option<Self> {
        let metadata: &Metadata<'_> = event.metadata();
        if UNLIMITED.contains(&metadata.target()) {
            return None;
        }
        let mut about = About(DefaultHasher::new());
        event.record(&mut about);
        Some(Self { place: metadata.callsite(), about: about.0.finish() })
    }
}

/// Mixes the values of those fields.
struct About(DefaultHasher);

impl Visit for About {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if ABOUT.contains(&field.name()) {
            (field.name(), format!("{value:?}")).hash(&mut self.0);
        }
    }
}

/// The lines about one thing.
#[derive(Debug)]
struct Row {
    /// When the row, or the time that the next counted line stands for, began.
    since: Instant,
    written: u32,
    /// The last line that was left out, and how many were.
    left_out: Option<(String, u64)>,
}

/// All rows of the last while.
#[derive(Debug)]
pub(super) struct Repeats {
    form: Form,
    rows: Mutex<HashMap<Thing, Row>>,
}

impl Repeats {
    pub(super) fn new(form: Form) -> Self {
        Self { form, rows: Mutex::default() }
    }

    /// Takes a line without its end; gives it back where it is to be written.
    pub(super) fn pass(&self, mut thing: Thing, line: String, now: Instant) -> Option<String> {
        let mut rows = self.rows();
        if rows.len() >= THINGS && !rows.contains_key(&thing) {
            rows.retain(|_, row| row.left_out.is_some() || now.duration_since(row.since) < WHILE);
            if rows.len() >= THINGS {
                thing.about = 0;
            }
        }
        let row = rows.entry(thing).or_insert(Row { since: now, written: 0, left_out: None });
        if row.left_out.is_none() && now.duration_since(row.since) >= WHILE {
            (row.since, row.written) = (now, 0);
        }
        if row.written < IN_A_ROW {
            row.written += 1;
            return Some(line);
        }
        let count = row.left_out.take().map_or(1, |(_, count)| count.saturating_add(1));
        row.left_out = Some((line, count));
        None
    }

    /// The counted lines whose time has come; rows that have been quiet are forgotten.
    pub(super) fn due(&self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        self.rows().retain(|_, row| {
            if now.duration_since(row.since) < WHILE {
                return true;
            }
            row.since = now;
            let left_out = row.left_out.take();
            let goes_on = left_out.is_some();
            lines.extend(left_out.map(|(line, count)| self.counted(line, count)));
            goes_on
        });
        lines
    }

    /// The counted lines of all rows, for the end.
    pub(super) fn rest(&self) -> Vec<String> {
        let mut rows = self.rows();
        let left_out = rows.values_mut().filter_map(|row| row.left_out.take());
        left_out.map(|(line, count)| self.counted(line, count)).collect()
    }

    /// A whole line that says how many it stands for, itself among them.
    fn counted(&self, line: String, count: u64) -> String {
        match (self.form, line.strip_suffix('}')) {
            (Form::Json, Some(open)) => format!("{open},\"repeated\":{count}}}\n"),
            _ => format!("{line} repeated={count}\n"),
        }
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<Thing, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tracing::callsite::Callsite;
    use tracing::subscriber::Interest;

    use super::*;

    /// Stands for a place in the code.
    struct Place;

    impl Callsite for Place {
        fn set_interest(&self, _interest: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("nobody registers this place")
        }
    }

    static PLACE: Place = Place;

    fn thing(about: u64) -> Thing {
        Thing { place: Identifier(&PLACE), about }
    }

    fn line(number: u32) -> String {
        format!("{{\"n\":{number}}}")
    }

    #[test]
    fn after_a_row_one_line_in_a_while_stands_for_the_others() {
        let repeats = Repeats::new(Form::Json);
        let begun = Instant::now();
        let written = (0..100).filter_map(|n| repeats.pass(thing(1), line(n), begun)).count();
        assert_eq!(written, IN_A_ROW as usize);
        assert!(repeats.pass(thing(2), line(0), begun).is_some(), "another thing has a row of its own");
        assert!(repeats.due(begun + WHILE / 2).is_empty());
        assert_eq!(repeats.due(begun + WHILE), ["{\"n\":99,\"repeated\":90}\n"]);
        // It goes on, so that there is no new row.
        for n in 100..105 {
            assert_eq!(repeats.pass(thing(1), line(n), begun + WHILE), None);
        }
        assert_eq!(repeats.due(begun + 2 * WHILE), ["{\"n\":104,\"repeated\":5}\n"]);
        // A quiet while ends it.
        assert!(repeats.due(begun + 3 * WHILE).is_empty());
        assert!(repeats.rows().is_empty());
        assert!(repeats.pass(thing(1), line(0), begun + 3 * WHILE).is_some());
    }

    #[test]
    fn the_end_writes_what_was_left_out_once() {
        let repeats = Repeats::new(Form::Text { colours: false });
        let begun = Instant::now();
        for n in 0..=IN_A_ROW {
            repeats.pass(thing(1), format!("WARN line {n}"), begun);
        }
        assert_eq!(repeats.rest(), ["WARN line 10 repeated=1\n"]);
        assert!(repeats.rest().is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_place_counts_where_things_are_too_many() {
        let repeats = Repeats::new(Form::Json);
        let begun = Instant::now();
        let many = 10 * THINGS as u64;
        let written =
            (1..=many).filter(|about| repeats.pass(thing(*about), line(0), begun).is_some()).count();
        assert_eq!(written, THINGS + IN_A_ROW as usize);
        assert_eq!(repeats.rows().len(), THINGS + 1);
        let told = repeats.due(begun + WHILE);
        assert_eq!(told, [format!("{{\"n\":0,\"repeated\":{}}}\n", many as usize - written)]);
    }
}
