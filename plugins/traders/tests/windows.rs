//! Windows against an oracle that keeps all trades and looks at each.
//!
//! The invariant: a window holds the trades whose pane is among its last ones.

use std::collections::BTreeSet;

use aggregator_sdk::Side;
use aggregator_sdk::testing::{Groups, Host, Sample, Value, in_a_market, rows_are_close};
use aggregator_sdk::windows::Windows;
use traders::Traders;

/// What one window of a token should show.
fn window(trades: &[Sample], token: &str, pane_ms: i64, length_ms: i64, clock_ms: i64) -> Vec<Value> {
    let tail = clock_ms.div_euclid(pane_ms) - length_ms / pane_ms;
    let held = || trades.iter().filter(|t| t.token == token && t.time_ms.div_euclid(pane_ms) > tail);
    let wallets = |side: Side| -> BTreeSet<&str> {
        held().filter(|t| t.side == side).map(|t| t.wallet.as_str()).collect()
    };
    let (buyers, sellers) = (wallets(Side::Buy), wallets(Side::Sell));
    let native = |side| held().filter(|t| t.side == side).map(|t| i128::from(t.native)).sum::<i128>() as f64;
    let (bought, sold) = (native(Side::Buy), native(Side::Sell));
    let pressure = if bought + sold == 0.0 { 0.0 } else { (bought - sold) / (bought + sold) };
    vec![
        Value::Integer(buyers.len() as i64),
        Value::Integer(sellers.len() as i64),
        Value::Integer(buyers.union(&sellers).count() as i64),
        Value::Float(held().map(|t| t.price * t.amount).fold(0.0, f64::max)),
        Value::Float(pressure),
    ]
}

#[test]
fn every_window_equals_the_oracle_while_trades_come_late_and_wallets_come_back() {
    for configuration in ["{}", r#"{"windows":["5s","1min","150s"]}"#] {
        let windows = Windows::from_json(configuration).unwrap();
        for seed in 0..40 {
            in_a_market::<Traders>(configuration, seed, |host, oracle, clock_ms, moment| {
                for (token, row) in &host.results {
                    let of =
                        |length_ms: u64| window(&oracle.trades, token, 1_000, length_ms as i64, clock_ms);
                    let wanted: Groups = windows.list().iter().map(|window| of(window.length_ms)).collect();
                    assert!(
                        rows_are_close(row, &wanted),
                        "{moment}, {token}:\n{row:?}\nthe oracle says\n{wanted:?}"
                    );
                }
            });
        }
    }
}

#[test]
fn a_wallet_counts_once_in_each_window_and_leaves_with_its_last_trade() {
    let mut host = Host::<Traders>::new(r#"{"windows":["10s","1min"]}"#);
    let trade = |second: i64, side, wallet: &str| Sample {
        token: "t".to_owned(),
        time_ms: second * 1_000,
        side,
        native: 1,
        amount: 1.0,
        price: second as f64,
        wallet: wallet.to_owned(),
        tx_hash: String::new(),
    };
    host.process(&[
        trade(100, Side::Buy, "ann"),
        trade(101, Side::Buy, "ann"),
        trade(102, Side::Sell, "ann"),
        trade(103, Side::Buy, "bob"),
    ]);
    let mut shown = |second: i64| {
        host.flush(second * 1_000, 10);
        host.results["t"].iter().map(|group| group[..3].to_vec()).collect::<Vec<_>>()
    };
    let of = |numbers: [i64; 3]| numbers.map(Value::Integer).to_vec();
    assert_eq!(shown(103), [of([2, 1, 2]), of([2, 1, 2])]);
    // Second 101 leaves the short window, and ann with it as a buyer; as a seller she stays.
    assert_eq!(shown(111), [of([1, 1, 2]), of([2, 1, 2])]);
    assert_eq!(shown(113), [of([0, 0, 0]), of([2, 1, 2])]);
}
