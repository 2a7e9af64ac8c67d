//! Live traffic on the wall clock: results appear, decay by time alone, and go.
//!
//! Windows of seconds, so that a whole life fits into a test. The invariant: no trade is sent to make time pass.

use std::time::Duration;

use aggregator_tests::compare::AGGREGATES;
use aggregator_tests::host::Host;
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::trade::Trade;
use aggregator_tests::{time, wait};
use redis::Commands as _;

use crate::rig::{LIMIT, Rig};

/// A count of purchases in a window; none where there is no row.
fn buys(connection: &mut redis::Connection, token: &str, window: &str) -> Option<f64> {
    let row = results::read(connection, token, AGGREGATES, Encoding::Json).expect("redis answers")?;
    row.cell(window, "buy_count")?.number()
}

#[test]
fn a_trade_is_seen_within_two_seconds_and_leaves_window_by_window_with_no_further_trade() {
    let rig = Rig::new("life", 4);
    let host = Host::start_ready(&rig.wall()).unwrap();
    let mut connection = rig.connect();
    let made_ms = time::now_ms();
    rig.send(&[Trade::simple("MINT", made_ms).message(1)]);
    let seen = wait::until_true("the trade", Duration::from_secs(2), || {
        buys(&mut connection, "MINT", "5s") == Some(1.0)
    });
    seen.unwrap();
    wait::until_true("the short window to be empty before the long one", LIMIT, || {
        buys(&mut connection, "MINT", "2s") == Some(0.0) && buys(&mut connection, "MINT", "5s") == Some(1.0)
    })
    .unwrap();
    wait::until_true("the long window to be empty", LIMIT, || {
        buys(&mut connection, "MINT", "5s").is_none_or(|count| count == 0.0)
    })
    .unwrap();
    let lived_ms = time::now_ms() - made_ms;
    assert!((4_000..8_000).contains(&lived_ms), "the trade left a window of 5 s after {lived_ms} ms");
    wait::until_true("the token to leave the active list", LIMIT, || {
        let score: Option<f64> = connection.zscore("tokens:active", "MINT").expect("redis answers");
        score.is_none()
    })
    .unwrap();
    drop(host);
}

#[test]
fn a_forgotten_token_that_trades_again_begins_anew() {
    let rig = Rig::new("again", 1);
    let _host = Host::start_ready(&rig.wall()).unwrap();
    let mut connection = rig.connect();
    for _ in 0..2 {
        let trade = Trade::simple("MINT", time::now_ms());
        let made_ms = trade.time_ms;
        rig.send(&[trade.message(0)]);
        wait::until_true("the token to be active", LIMIT, || {
            let score: Option<f64> = connection.zscore("tokens:active", "MINT").expect("redis answers");
            score == Some(made_ms as f64)
        })
        .unwrap();
        assert!(buys(&mut connection, "MINT", "5s").is_none_or(|count| count <= 1.0));
        wait::until_true("the token to be forgotten", LIMIT, || {
            let score: Option<f64> = connection.zscore("tokens:active", "MINT").expect("redis answers");
            score.is_none()
        })
        .unwrap();
    }
}

#[test]
fn every_key_expires_ten_minutes_after_the_longest_window() {
    let rig = Rig::new("ttl", 1);
    let _host = Host::start_ready(&rig.wall().with("TIME_WINDOWS", "1min,1hour")).unwrap();
    let mut connection = rig.connect();
    rig.send(&[Trade::simple("MINT", time::now_ms()).message(0)]);
    for key in [AGGREGATES, "last_update"] {
        let ttl = wait::until("the key", LIMIT, || {
            let ttl: i64 = connection.ttl(results::key("MINT", key)).expect("redis answers");
            (ttl != -2).then_some(ttl)
        });
        let ttl = ttl.unwrap();
        assert!((3600..=4200).contains(&ttl), "{key} expires in {ttl} s");
    }
}

#[test]
fn a_backlog_of_old_trades_is_shown_with_the_windows_of_its_own_time_first() {
    let rig = Rig::new("backlog", 2);
    // Half an hour old: inside the longest window, outside of the short one once the stream is live.
    let made_ms = time::now_ms() - 1_800_000;
    rig.send(&[Trade::simple("MINT", made_ms).message(0)]);
    let settings = rig.wall().with("TIME_WINDOWS", "1min,1hour");
    let _host = Host::start_ready(&settings).unwrap();
    let mut connection = rig.connect();
    wait::until_true("the old trade in the long window only", LIMIT, || {
        buys(&mut connection, "MINT", "1min") == Some(0.0)
            && buys(&mut connection, "MINT", "1hour") == Some(1.0)
    })
    .unwrap();
}
