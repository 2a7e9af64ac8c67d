//! The default plugin against the contract's laws and the naive oracle.
//!
//! Not for single cases (see `cases`). The invariant: seeds are fixed, so a failure stays one.

use aggregator_sdk::{PanePlugin, testing};
use sliding_window::Candle;

const CONFIGS: [&str; 4] = [
    "{}",
    r#"{"windows": ["10s", "30s"]}"#,
    r#"{"windows": ["4h", "1min", "90s", "61s"]}"#,
    r#"{"windows": ["1s", "250ms", "10min"], "resolution": "250ms"}"#,
];

#[test]
fn the_four_laws_hold() {
    for (seed, config) in (0..60).zip(CONFIGS.into_iter().cycle()) {
        testing::laws::<PanePlugin<Candle>>(config, seed);
    }
}

#[test]
fn windows_equal_the_oracle() {
    for (seed, config) in (0..120).zip(CONFIGS.into_iter().cycle()) {
        testing::windows_equal_oracle::<Candle>(config, seed);
    }
}

#[test]
fn fifty_windows_equal_the_oracle() {
    let names: Vec<_> = (1..=50).map(|n| format!("\"{}s\"", n * 37)).collect();
    let config = format!(r#"{{"windows": [{}]}}"#, names.join(","));
    for seed in 0..10 {
        testing::windows_equal_oracle::<Candle>(&config, seed);
    }
}
