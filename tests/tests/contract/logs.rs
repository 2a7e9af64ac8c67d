//! The log as an operator meets it: one JSON object a line, levels, the line of a batch, and warnings that repeat.
//!
//! What a line looks like is tested beside the log itself. The invariant: every line of a host is looked at, not only
//! those that a test waits for.

use aggregator_tests::host::Host;
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use serde_json::Value;

use crate::rig::{LIMIT, Rig, wait_drained};

const LEVELS: [&str; 5] = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// A host that has counted some trades, lost its Redis, and ended by a signal.
fn lines_at(level: &str) -> Vec<Value> {
    let messages: Vec<Message> = Stream::new(&Options::new(91, Shape::Arrays, 600)).collect();
    let mut rig = Rig::new("logs", 4);
    rig.send(&messages);
    let settings = rig.event().with("LOG_LEVEL", level).with("GC_TARGET_PERCENTAGE", "50");
    let mut host = Host::start(&settings).unwrap();
    wait_drained(&host, 600);
    host.wait_ready(LIMIT).unwrap();
    rig.redis.kill();
    host.wait_metric("aggregator_part_ok{part=\"redis\"}", LIMIT, |ok| ok == 0.0).unwrap();
    rig.redis.restart().unwrap();
    host.wait_ready(LIMIT).unwrap();
    let ended = host.stop(LIMIT).unwrap();
    let written = ended.output.lines().filter(|line| !line.is_empty()).count();
    let lines = host.log();
    assert_eq!(lines.len(), written, "every line is a JSON object:\n{}", ended.output);
    lines
}

#[test]
fn every_line_has_the_fixed_keys_and_no_level_below_the_one_that_is_set() {
    for (least, level) in ["debug", "info", "warn", "error"].into_iter().enumerate() {
        let lines = lines_at(level);
        for line in &lines {
            for key in ["timestamp", "level", "message", "service", "component"] {
                assert!(line[key].is_string(), "{key} in {line}");
            }
            assert_eq!(line["service"], "aggregator-service");
            let rank = LEVELS.iter().position(|name| line["level"] == *name);
            assert!(rank.is_some_and(|rank| rank >= least), "LOG_LEVEL={level}: {line}");
        }
        let has = |name: &str| lines.iter().any(|line| line["level"] == name);
        assert_eq!(has("INFO"), least <= 1, "INFO at {level}");
        assert_eq!(has("WARN"), least <= 2, "WARN at {level}");
        let batches: Vec<&Value> =
            lines.iter().filter(|line| line["message"] == "Batch processing completed").collect();
        assert_eq!(batches.is_empty(), least > 1, "batch lines at {level}");
        for line in &batches {
            for key in ["total_trades", "unique_tokens", "trades_per_sec"] {
                assert!(line[key].is_number(), "{key} in {line}");
            }
            assert!(line["processing_time"].as_str().is_some_and(|text| text.ends_with("ms")), "{line}");
        }
        let trades: u64 = batches.iter().filter_map(|line| line["total_trades"].as_u64()).sum();
        assert!(batches.is_empty() || trades == 600, "{trades} trades in batch lines");
    }
}
