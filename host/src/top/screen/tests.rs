//! Frames as somebody at a terminal sees them.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::*;

/// What a host says in the middle of its work.
fn reading() -> Reading {
    Reading {
        ready: json!({"status": "ready", "started": true, "reasons": []}),
        metrics: json!({
            "trade_processing": {"total_processed": 123_456, "processing_rate_per_sec": 203.4},
            "aggregation_calculation": {"calculation_rate_per_sec": 90.0},
            "redis_operations": {"success_rate": 100.0},
            "uptime_seconds": 125.0,
        }),
        performance: json!({
            "latency": {"batch_ms": 1.25, "batch_p99_at_most_ms": 5.0, "write_ms": 0.5, "write_p99_at_most_ms": null},
            "runtime": {"backpressure": "LOW", "worker_utilisation": [0.65, 0.1]},
            "memory": {"resident_mb": 86.0, "plugin_memory_mb": 40.0},
            "tuning": {"mode": "balanced"},
        }),
        partitions: json!({
            "partitions": [
                {"partition": 0, "state": "behind", "lag": 12, "processed": 1000, "end": 1012,
                 "newest": "2026-03-01T12:00:10.000Z", "problem": "no leader"},
            ],
            "shards": [{"clock_lag_seconds": 0.25, "checkpoint_age_seconds": 3.0}],
        }),
        plugins: json!({"plugins": [{"name": "sliding-window", "result_key": "aggregates", "groups": ["1min", "15min"]}, {
            "name": "vwap", "version": "0.1.0", "digest": "0123456789abcdef", "memory_bytes": 1_048_576,
            "cost": {"running": {"ns_per_trade": 38.0}}, "counts": {"faults": 1, "quarantined": 2},
            "trial": {"phase": "probation"}, "history": [{"result": "rolled_back", "stage": "process"}],
        }]}),
        tokens: vec![(
            "evil\u{1b}[2Jtoken".to_owned(),
            json!({"results": {"aggregates": {"15min": {"price_change": 9.0}, "1min": {
                "end_price": 0.0000012345, "price_change": -2.5, "buy_count": 7, "sell_count": 3, "volume_usd": 12_345.0
            }}}}),
        )],
        active_tokens: 60,
        rejected: Some(vec![("not_json".to_owned(), 3.0)]),
    }
}

/// A frame of this size, line by line.
fn frame(screen: &Screen, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen.draw(frame.area(), frame.buffer_mut())).unwrap();
    crate::top::text(terminal.backend().buffer())
}

#[test]
fn a_frame_shows_health_numbers_partitions_plugins_and_tokens() {
    let mut screen = Screen::new("http://127.0.0.1:8081");
    screen.take(Ok(reading()));
    let frame = frame(&screen, 118, screen.height());
    for part in [
        "● healthy",
        "up 2 min 05 s",
        "203",
        "123\u{202f}456 in all",
        "1.25 ms",
        "99 % within 5.00 ms",
        "1 of 1 behind",
        "250 ms",
        "LOW",
        "86.0 MiB",
        "most: not_json",
        "0 ███████░░░ 65 %",
        "no leader",
        "0123456789ab",
        "probation",
        "38 ns",
        "rolled back at process",
        "Change 1min",
        "0.0000012345",
        "-2.50 %",
        "12.35k",
    ] {
        assert!(frame.contains(part), "{part} is missing in\n{frame}");
    }
    assert!(!frame.contains('\u{1b}'), "a token speaks to the terminal");
}

#[test]
fn a_host_that_goes_away_is_said_and_its_last_numbers_stay() {
    let mut screen = Screen::new("http://127.0.0.1:8081");
    screen.take(Ok(reading()));
    screen.take(Err(Failure::Unavailable("127.0.0.1:8081 does not answer".to_owned())));
    let frame = frame(&screen, 118, screen.height());
    assert!(
        frame.contains("● no answer") && frame.contains("does not answer") && frame.contains("203"),
        "{frame}"
    );
}

#[test]
fn little_room_and_an_empty_answer_are_no_trouble() {
    let mut screen = Screen::new("http://127.0.0.1:8081");
    screen.take(Ok(Reading::default()));
    for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
        let frame = frame(&screen, width, height);
        assert!(height < 5 || frame.starts_with("aggregator"), "{frame}");
    }
}
