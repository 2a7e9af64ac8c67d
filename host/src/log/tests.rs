//! What a line looks like, level by level.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing::{debug, error, info, trace, warn};
use tracing_subscriber::layer::SubscriberExt;

use super::event::{CRATE, component};
use super::lines::{Form, Lines};
use super::repeats::{IN_A_ROW, Repeats};
use crate::config::Level;

/// Keeps each write on its own.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<String>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(level: Level, form: Form, log: impl FnOnce()) -> Vec<String> {
    let written = Written::default();
    let out = written.clone();
    let repeats = Arc::new(Repeats::new(form));
    let lines = Lines::new(level, form, || 1_772_366_410_123, Arc::clone(&repeats), move || out.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
    let mut lines = written.0.lock().unwrap().clone();
    // What the outlet would write at the end.
    lines.extend(repeats.rest());
    lines
}

fn objects(level: Level, log: impl FnOnce()) -> Vec<Value> {
    written(level, Form::Json, log)
        .iter()
        .map(|line| {
            // One write is one whole line.
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            serde_json::from_str(line).unwrap()
        })
        .collect()
}

fn one_of_each() {
    trace!("trace");
    debug!("debug");
    info!("info");
    warn!("warn");
    error!("error");
    error!(fatal = false, "error");
    error!(fatal = true, "fatal");
}

#[test]
fn each_level_hides_what_is_below_it() {
    let all = ["DEBUG", "INFO", "WARN", "ERROR", "ERROR", "FATAL"];
    for (level, hidden) in
        [(Level::Debug, 0), (Level::Info, 1), (Level::Warn, 2), (Level::Error, 3), (Level::Fatal, 5)]
    {
        let lines = objects(level, one_of_each);
        let levels: Vec<&str> = lines.iter().filter_map(|line| line["level"].as_str()).collect();
        assert_eq!(levels, all[hidden..], "{level:?}");
        for line in &lines {
            assert_eq!(line["message"], line["level"].as_str().unwrap().to_lowercase());
            assert_eq!(line.get("fatal"), None);
        }
    }
}

#[test]
fn warnings_that_repeat_are_counted_each_thing_on_its_own_and_other_levels_are_all_written() {
    let row = IN_A_ROW as usize;
    let lines = objects(Level::Debug, || {
        for n in 0..50 {
            warn!(shard = n % 2, n, "slow");
            error!(shard = n % 2, n, "failed");
            error!(fatal = true, n, "the end");
            info!(n, "batch");
            debug!(n, "detail");
            warn!(target: "audit", n, "refused");
            warn!(target: "plugin", plugin = "vwap", n, "said by a plugin");
        }
    });
    let of =
        |message: &str| -> Vec<&Value> { lines.iter().filter(|line| line["message"] == message).collect() };
    for message in ["the end", "batch", "detail", "refused", "said by a plugin"] {
        assert_eq!(of(message).len(), 50, "{message}");
        assert!(of(message).iter().all(|line| line.get("repeated").is_none()), "{message}");
    }
    for message in ["slow", "failed"] {
        for shard in 0..2 {
            let said: Vec<&Value> = of(message).into_iter().filter(|line| line["shard"] == shard).collect();
            assert_eq!(said.len(), row + 1, "{message} of shard {shard}");
            let last = said[row];
            assert_eq!((&last["repeated"], &last["n"]), (&json!(25 - row), &json!(48 + shard)), "{last}");
            assert_eq!(said[row - 1].get("repeated"), None);
        }
    }
}

#[test]
fn a_line_has_the_fixed_keys_first_and_fields_with_their_types() {
    let lines = written(Level::Info, Form::Json, || {
        info!(
            target: "kafka",
            total_trades = 3_u64,
            below = -1_i64,
            rate = 0.5,
            none = f64::NAN,
            good = true,
            wide = u128::MAX,
            processing_time = "25.3ms",
            list = ?[1],
            level = "own",
            r#type = %'x',
            "Batch {} \"completed\"\n", "processing"
        );
    });
    assert_eq!(
        lines,
        [concat!(
            r#"{"timestamp":"2026-03-01T12:00:10.123Z","level":"INFO","#,
            r#""message":"Batch processing \"completed\"\n","service":"aggregator-service","#,
            r#""component":"kafka","total_trades":3,"below":-1,"rate":0.5,"none":"NaN","good":true,"#,
            r#""wide":340282366920938463463374607431768211455,"processing_time":"25.3ms","#,
            r#""list":"[1]","level_":"own","type":"x"}"#,
            "\n"
        )]
    );
}

#[test]
fn every_key_of_a_line_may_be_the_name_of_a_field() {
    let lines = objects(Level::Info, || {
        info!(timestamp = 1, service = 2, component = 3, "words");
    });
    let line = &lines[0];
    assert_eq!((&line["timestamp_"], &line["service_"]), (&json!(1), &json!(2)));
    assert_eq!((&line["component_"], &line["component"]), (&json!(3), &json!("log")));
}

#[test]
fn an_error_is_written_with_its_causes() {
    let cause = io::Error::other("refused");
    let error = super::InitError::Thread(cause);
    let error: &(dyn std::error::Error + 'static) = &error;
    let lines = objects(Level::Info, || warn!(error, "no log"));
    assert_eq!(lines[0]["error"], "cannot start the thread that writes the log: refused");
}

#[test]
fn a_long_text_is_cut() {
    let lines = objects(Level::Info, || info!(payload = "ä".repeat(20_000), "long"));
    assert_eq!(lines[0]["payload"].as_str().map(str::len), Some(16 * 1024));
}

#[test]
fn the_component_is_the_first_module_or_the_target_itself() {
    for (target, expected) in [
        (format!("{CRATE}::kafka::reader"), "kafka"),
        (format!("{CRATE}::app"), "app"),
        (CRATE.to_owned(), CRATE),
        ("plugin".to_owned(), "plugin"),
        ("hyper::proto::h1".to_owned(), "hyper"),
    ] {
        assert_eq!(component(&target), expected, "{target}");
    }
}

#[test]
fn text_is_for_people_and_cannot_move_their_cursor() {
    let log = || warn!(target: "redis", key = "a b", other = "plain", count = 2, "slow\x1b[2J\n");
    assert_eq!(
        written(Level::Info, Form::Text { colours: false }, log),
        ["2026-03-01T12:00:10.123Z WARN  redis: slow\\u{1b}[2J\\n key=\"a b\" other=plain count=2\n"]
    );
    let coloured = written(Level::Info, Form::Text { colours: true }, log);
    assert!(coloured[0].contains("\x1b[33mWARN \x1b[0m"), "{coloured:?}");
}
