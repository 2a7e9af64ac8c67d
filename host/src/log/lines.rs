//! The layer that picks events and writes each as one line.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;

use super::event::{self, Head, Words};
use super::plugin_lines::PluginLines;
use super::repeats::{Repeats, Thing};
use super::{json, text};
use crate::config::Level;

/// The form of a line.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// A JSON object.
    Json,
    /// Text, in colours for a terminal that shows them.
    Text { colours: bool },
}

/// Picks events by their level and writes each with one call.
#[derive(Debug)]
pub(super) struct Lines<W> {
    level: Level,
    form: Form,
    now_ms: fn() -> i64,
    repeats: Arc<Repeats>,
    plugins: Arc<PluginLines>,
    out: W,
}

impl<W> Lines<W> {
    /// Lines of at least this level, with timestamps of the clock that is handed in. What `repeats` holds back
    /// is written by whoever looks after it.
    pub(super) fn new(level: Level, form: Form, now_ms: fn() -> i64, repeats: Arc<Repeats>, out: W) -> Self {
        Self { level, form, now_ms, repeats, plugins: Arc::default(), out }
    }

    /// The same; lines about plugins are told there, too.
    pub(super) fn telling(self, plugins: Arc<PluginLines>) -> Self {
        Self { plugins, ..self }
    }

    /// Whether events of this kind are written; of those that may be fatal some are not.
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let Some(level) = level(metadata).filter(|_| metadata.is_event()) else {
            return false;
        };
        let most = if metadata.fields().field(event::FATAL).is_some() { Level::Fatal } else { level };
        let least = if is_own(metadata) { self.level } else { self.level.max(Level::Warn) };
        most >= least
    }
}

/// Gives the level of an event that is not known to be fatal; tracing's lowest level has no name here.
fn level(metadata: &Metadata<'_>) -> Option<Level> {
    match *metadata.level() {
        tracing::Level::TRACE => None,
        tracing::Level::DEBUG => Some(Level::Debug),
        tracing::Level::INFO => Some(Level::Info),
        tracing::Level::WARN => Some(Level::Warn),
        tracing::Level::ERROR => Some(Level::Error),
    }
}

/// Whether an event was written in this crate, whatever its target says.
fn is_own(metadata: &Metadata<'_>) -> bool {
    let path = metadata.module_path().unwrap_or(metadata.target());
    path.split("::").next() == Some(event::CRATE)
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.level {
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warn => LevelFilter::WARN,
            Level::Error | Level::Fatal => LevelFilter::ERROR,
        })
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let Some(plain_level) = level(metadata) else {
            return;
        };
        let mut words = Words::default();
        event.record(&mut words);
        let fatal = words.fatal && plain_level == Level::Error;
        let level = if fatal { Level::Fatal } else { plain_level };
        if level < self.level {
            return;
        }
        let head = Head {
            timestamp_ms: (self.now_ms)(),
            level,
            component: event::component(metadata.target()),
            message: words.message,
        };
        let line = match self.form {
            Form::Json => json::line(&head, event),
            Form::Text { colours } => text::line(&head, event, colours),
        };
        let repeatable = matches!(level, Level::Warn | Level::Error);
        let passed = match Thing::of(event).filter(|_| repeatable) {
            Some(thing) => self.repeats.pass(thing, line, Instant::now()),
            None => Some(line),
        };
        let Some(mut line) = passed else {
            return;
        };
        if let Some(plugin) = event::plugin(event) {
            let json = if let Form::Json = self.form { line.clone() } else { json::line(&head, event) };
            self.plugins.note(plugin, json);
        }
        line.push('\n');
        // Whoever logs can do nothing about a failure; the outlet counts its lost lines.
        self.out.make_writer().write_all(line.as_bytes()).ok();
    }
}

#[cfg(test)]
mod tests {
    use tracing::callsite::{Callsite, Identifier};
    use tracing::field::FieldSet;
    use tracing::metadata::Kind;

    use super::*;

    /// Stands for the place of an event in another crate.
    struct Elsewhere;

    impl Callsite for Elsewhere {
        fn set_interest(&self, _interest: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("nobody registers this place")
        }
    }

    fn metadata(module: &'static str, level: tracing::Level, kind: Kind) -> Metadata<'static> {
        let fields = FieldSet::new(&[], Identifier(&Elsewhere));
        Metadata::new("event", module, level, None, None, Some(module), fields, kind)
    }

    fn lines(level: Level) -> Lines<fn() -> std::io::Sink> {
        Lines::new(level, Form::Json, || 0, Arc::new(Repeats::new(Form::Json)), std::io::sink)
    }

    #[test]
    fn of_other_crates_only_warnings_and_errors_are_written() {
        let wanted = |least, module, level| lines(least).wants(&metadata(module, level, Kind::EVENT));
        for (least, level, expected) in [
            (Level::Debug, tracing::Level::DEBUG, false),
            (Level::Debug, tracing::Level::INFO, false),
            (Level::Debug, tracing::Level::WARN, true),
            (Level::Error, tracing::Level::WARN, false),
            (Level::Error, tracing::Level::ERROR, true),
            (Level::Fatal, tracing::Level::ERROR, false),
        ] {
            assert_eq!(wanted(least, "hyper::proto", level), expected, "{least:?} {level}");
        }
        assert!(wanted(Level::Debug, event::CRATE, tracing::Level::DEBUG));
        assert!(!wanted(Level::Debug, event::CRATE, tracing::Level::TRACE));
    }

    #[test]
    fn spans_are_not_even_made() {
        assert!(!lines(Level::Debug).wants(&metadata(event::CRATE, tracing::Level::ERROR, Kind::SPAN)));
    }
}
