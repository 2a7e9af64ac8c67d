//! The contract's laws, and every window against its definition: the closes of all seconds, one after the other.
//!
//! Not for the windows of the SDK, which has its own tests. The invariant: seeds are fixed.

use std::collections::BTreeMap;

use aggregator_sdk::PanePlugin;
use aggregator_sdk::testing::{self, Host, Market, Sample, Value};
use volatility::Volatility;

const CONFIGURATION: &str = r#"{"windows":["10s","1min","10min"]}"#;
const WINDOWS_S: [i64; 3] = [10, 60, 600];

#[test]
fn the_laws_hold() {
    for seed in 0..20 {
        testing::laws::<PanePlugin<Volatility>>("{}", seed);
        testing::laws::<PanePlugin<Volatility>>(CONFIGURATION, seed);
    }
}

/// The values of a window, found the slow and obvious way.
fn expected(trades: &[Sample], token: &str, now_ms: i64, window_s: i64) -> [f64; 5] {
    let tail = now_ms.div_euclid(1_000) - window_s;
    let mut held: Vec<&Sample> = trades
        .iter()
        .filter(|trade| trade.token == token && trade.price > 0.0)
        .filter(|trade| trade.time_ms.div_euclid(1_000) > tail)
        .collect();
    held.sort_by_key(|trade| trade.time_ms);
    let seconds: BTreeMap<i64, f64> =
        held.iter().map(|trade| (trade.time_ms.div_euclid(1_000), trade.price)).collect();
    let closes: Vec<f64> = seconds.into_values().collect();
    let squares: f64 = closes.windows(2).map(|pair| (pair[1] / pair[0]).ln().powi(2)).sum();
    let pairs = (0..closes.len()).flat_map(|one| (one..closes.len()).map(move |other| (one, other)));
    let (mut fall, mut rise) = (0.0_f64, 0.0_f64);
    for (one, other) in pairs {
        fall = fall.max(1.0 - closes[other] / closes[one]);
        rise = rise.max(closes[other] / closes[one] - 1.0);
    }
    let high = closes.iter().copied().fold(0.0, f64::max);
    let off_high = closes.last().map_or(0.0, |last| 1.0 - last / high);
    let moves = closes.len().saturating_sub(1) as f64;
    [moves, squares.sqrt() * 100.0, fall * 100.0, rise * 100.0, off_high * 100.0]
}

#[test]
fn every_window_is_what_its_closes_come_to() {
    for seed in 0..20 {
        let mut host = Host::<PanePlugin<Volatility>>::new(CONFIGURATION);
        let mut market = Market::new(seed, host.settings.horizon_ms);
        let mut trades = Vec::new();
        let mut compared = 0;
        for _ in 0..40 {
            let more = market.trades();
            host.process(&more);
            trades.extend(more);
            market.advance();
            host.flush(market.now_ms, 7);
            for (token, row) in &host.results {
                for (group, window_s) in row.iter().zip(WINDOWS_S) {
                    for (found, wanted) in group.iter().zip(expected(&trades, token, market.now_ms, window_s))
                    {
                        let wanted = match found {
                            Value::Integer(_) => Value::Integer(wanted as i64),
                            _ => Value::Float(wanted),
                        };
                        assert!(
                            found.is_close(&wanted),
                            "seed {seed}, {token}, {window_s} s: {found:?}, not {wanted:?}"
                        );
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 100, "seed {seed} compared nothing");
    }
}
