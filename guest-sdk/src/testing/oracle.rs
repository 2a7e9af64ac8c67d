//! What windows should hold, found the slow and obvious way.
//!
//! Not clever: it keeps all trades and looks at each. The invariant: a window holds the trades whose
//! pane is among its last ones, in order of time, equal times in order of arrival.

use super::host::hash;
use super::value::{self, Groups, rows_are_close};
use super::{Host, Market, Random, Sample};
use crate::Plugin;
use crate::field::Rows;
use crate::pane::Pane;
use crate::pane_plugin::PanePlugin;
use crate::trade::Trade;
use crate::windows::Windows;

/// All trades that ever were.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// In order of arrival.
    pub trades: Vec<Sample>,
}

impl Oracle {
    /// Gives a token's row at a clock.
    #[must_use]
    pub fn row<P: Pane>(&self, windows: &Windows, token: &str, clock_ms: i64) -> Groups {
        let mut rows = Rows::new(P::FIELDS, 1);
        for window in windows.list() {
            rows.begin_row();
            let held = self.held(windows, window.length_ms, token, clock_ms);
            let mut pane = P::default();
            for trade in &held {
                // One pane stands for the window, so its offsets count from the first trade.
                pane.add(&as_trade(trade, held[0].time_ms));
            }
            pane.write(&mut rows.group(0));
        }
        let columns = rows.finish();
        let groups = 0..windows.list().len();
        groups.map(|group| value::cell(&columns, group)).collect()
    }

    /// Whether the longest window holds no trade of a token.
    #[must_use]
    pub fn is_empty(&self, windows: &Windows, token: &str, clock_ms: i64) -> bool {
        self.held(windows, windows.longest_ms(), token, clock_ms).is_empty()
    }

    /// Gives the trades in a window, in order of time.
    fn held(&self, windows: &Windows, length_ms: u64, token: &str, clock_ms: i64) -> Vec<&Sample> {
        let resolution_ms = windows.resolution_ms().cast_signed();
        let pane = |time_ms: i64| time_ms.div_euclid(resolution_ms);
        let tail = pane(clock_ms) - length_ms.cast_signed() / resolution_ms;
        let mut held: Vec<_> =
            self.trades.iter().filter(|trade| trade.token == token && pane(trade.time_ms) > tail).collect();
        held.sort_by_key(|trade| trade.time_ms);
        held
    }
}

fn as_trade(sample: &Sample, begin_ms: i64) -> Trade<'_> {
    Trade {
        time_ms: sample.time_ms,
        offset_ms: (sample.time_ms - begin_ms) as u32,
        side: sample.side,
        native: sample.native,
        amount: sample.amount,
        price: sample.price,
        wallet: &sample.wallet,
        wallet_hash: hash(&sample.wallet),
        tx_hash: &sample.tx_hash,
    }
}

/// Lets a market go on, and shows after each flush the host with all results of the plugin, all trades so far, the clock,
/// and what this moment is called.
pub fn in_a_market<P: Plugin>(json: &str, seed: u64, mut show: impl FnMut(&Host<P>, &Oracle, i64, &str)) {
    let mut host = Host::<P>::new(json);
    let mut market = Market::new(seed, host.settings.horizon_ms);
    let mut random = Random::new(!seed);
    let mut oracle = Oracle::default();
    for step in 0..40 {
        let trades = market.trades();
        host.process(&trades);
        oracle.trades.extend(trades);
        market.advance();
        host.flush(market.now_ms, 1 + random.below(20) as u32);
        show(&host, &oracle, market.now_ms, &format!("seed {seed}, step {step}"));
    }
}

/// Checks a metric's windows against the oracle while a market goes on.
///
/// # Panics
/// Where a row, kept or new, is not the oracle's, or a token is forgotten too early or too late.
pub fn windows_equal_oracle<P: Pane>(json: &str, seed: u64) {
    let windows = match Windows::from_json(json) {
        Ok(windows) => windows,
        Err(error) => panic!("{error}"),
    };
    in_a_market::<PanePlugin<P>>(json, seed, |host, oracle, clock_ms, moment| {
        for (token, row) in &host.results {
            let expected = oracle.row::<P>(&windows, token, clock_ms);
            assert!(
                rows_are_close(row, &expected),
                "{moment}, {token} at {clock_ms}:\n{row:?}\nthe oracle says\n{expected:?}"
            );
            let forgotten = host.number(token).is_none();
            let empty = oracle.is_empty(&windows, token, clock_ms);
            assert_eq!(forgotten, empty, "{moment}, {token}");
        }
    });
}
