//! The window engine under arbitrary orders of calls, against the naive oracle.
//!
//! Not for the contract's laws (see `laws`). The invariant: after every flush every result that was
//! ever given equals the oracle's at that clock.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its input has failed")]

use std::collections::BTreeMap;

use aggregator_sdk::field::Declared;
use aggregator_sdk::testing::{Host, Oracle, Random, Sample};
use aggregator_sdk::windows::Windows;
use aggregator_sdk::{Fixed, Map, Pane, PanePlugin, Row, Set, Side, Trade, decimal, float, integer, text};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// A metric that notices what is lost, doubled or out of order, and uses every kind and a map.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Witness {
    count: i64,
    usd: Fixed,
    first: Option<(u32, String)>,
    last: Option<(u32, String)>,
    wallets: Map<String, u32>,
    hashes: Set<u64>,
}

impl Pane for Witness {
    const NAME: &'static str = "witness";
    const FIELDS: &'static [Declared] = &[
        integer("count"),
        float("usd"),
        text("first"),
        text("last"),
        decimal("wallets", 0),
        integer("hashes"),
    ];
    const COLUMNS: aggregator_sdk::contract::OptionalColumns =
        aggregator_sdk::contract::OptionalColumns::WALLET
            .union(aggregator_sdk::contract::OptionalColumns::WALLET_HASH)
            .union(aggregator_sdk::contract::OptionalColumns::TX_HASH);

    fn add(&mut self, trade: &Trade) {
        self.count += 1;
        self.usd += trade.price * trade.amount;
        let this = || Some((trade.offset_ms, trade.tx_hash.to_owned()));
        if self.first.as_ref().is_none_or(|(ms, _)| trade.offset_ms < *ms) {
            self.first = this();
        }
        if self.last.as_ref().is_none_or(|(ms, _)| trade.offset_ms >= *ms) {
            self.last = this();
        }
        *self.wallets.entry(trade.wallet.to_owned()).or_default() += 1;
        self.hashes.insert(trade.wallet_hash);
    }

    fn merge(&mut self, later: &Self) {
        self.count += later.count;
        self.usd += later.usd;
        self.first = self.first.take().or_else(|| later.first.clone());
        self.last = later.last.clone().or_else(|| self.last.take());
        for (wallet, count) in &later.wallets {
            *self.wallets.entry(wallet.clone()).or_default() += count;
        }
        self.hashes.extend(&later.hashes);
    }

    fn write(&self, row: &mut Row) {
        row.integer(self.count);
        row.float(self.usd.to_f64());
        row.text(self.first.as_ref().map_or("", |(_, tx)| tx));
        row.text(self.last.as_ref().map_or("", |(_, tx)| tx));
        row.decimal(self.wallets.len() as i128);
        row.integer(self.hashes.len() as i64);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// So many trades of a token, so many ms behind the clock, so many ms apart.
    Trades(u8, i64, i64, u8),
    /// Time goes on by so many ms; flush so many rows at once.
    Flush(i64, u32),
    /// Carry into a fresh instance in so many rounds, and go on with that one.
    Carry(u64, u8),
    Forget(u8),
    Touch,
}

fn step() -> impl Strategy<Value = Step> {
    let near = -5_000i64..5_000;
    let far = -400_000i64..8_000_000;
    prop_oneof![
        6 => (0u8..4, near, 0i64..2_000, 1u8..80).prop_map(|(t, b, g, n)| Step::Trades(t, b, g, n)),
        2 => (0u8..4, far, 0i64..2_000, 1u8..10).prop_map(|(t, b, g, n)| Step::Trades(t, b, g, n)),
        6 => (0i64..90_000, 1u32..6).prop_map(|(by, rows)| Step::Flush(by, rows)),
        1 => (0i64..8_000_000, 1u32..6).prop_map(|(by, rows)| Step::Flush(by, rows)),
        1 => (any::<u64>(), 0u8..4).prop_map(|(seed, rounds)| Step::Carry(seed, rounds)),
        1 => (0u8..4).prop_map(Step::Forget),
        1 => Just(Step::Touch),
    ]
}

/// An engine, the oracle, and the latest clock.
struct World {
    json: &'static str,
    windows: Windows,
    host: Host<PanePlugin<Witness>>,
    oracle: Oracle,
    clock_ms: i64,
}

impl World {
    fn new(json: &'static str, clock_ms: i64) -> Self {
        Self {
            json,
            windows: Windows::from_json(json).unwrap(),
            host: Host::new(json),
            oracle: Oracle::default(),
            clock_ms,
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Trades(token, back_ms, gap_ms, count) => {
                let first_ms = self.clock_ms - back_ms;
                let begun = self.oracle.trades.len();
                for n in 0..i64::from(count) {
                    let number = begun as i64 + n;
                    self.oracle.trades.push(sample(token, first_ms + n * gap_ms, number));
                }
                self.host.process(&self.oracle.trades[begun..]);
            }
            Step::Flush(by_ms, rows) => {
                self.clock_ms += by_ms;
                self.host.flush(self.clock_ms, rows);
                self.check();
            }
            Step::Carry(seed, rounds) => self.carry(seed, rounds),
            Step::Forget(token) => {
                let token = name(token);
                self.host.forget(&token);
                self.oracle.trades.retain(|trade| trade.token != token);
            }
            Step::Touch => aggregator_sdk::Plugin::touch(&mut self.host.plugin, None),
        }
    }

    fn carry(&mut self, seed: u64, rounds: u8) {
        let mut random = Random::new(seed);
        let mut next = Host::new(self.json);
        let mut since = 0;
        for round in 0..=rounds {
            let mut between = Vec::new();
            since = self.host.carry(&mut next, since, &mut random, |host| {
                let number = between.len() as i64;
                // The last round sees no changes, as in a swap between two batches.
                if round < rounds && number < 20 {
                    let time_ms = self.clock_ms - number * 7_919;
                    between.push(sample((seed % 4) as u8, time_ms, number));
                    host.process(&between[number as usize..]);
                    host.flush(self.clock_ms, 3);
                }
            });
            self.oracle.trades.extend(between);
        }
        next.results = std::mem::take(&mut self.host.results);
        self.host = next;
    }

    /// Compares all results with the oracle.
    fn check(&self) {
        for (token, row) in &self.host.results {
            let expected = self.oracle.row::<Witness>(&self.windows, token, self.clock_ms);
            assert_eq!(row, &expected, "{token} at {}", self.clock_ms);
            let empty = self.oracle.is_empty(&self.windows, token, self.clock_ms);
            assert_eq!(self.host.number(token).is_none(), empty, "{token}");
        }
        let mut counts = BTreeMap::new();
        for trade in &self.oracle.trades {
            *counts.entry(&trade.token).or_insert(0) += 1;
        }
        for token in counts.keys() {
            let known = self.host.results.contains_key(*token);
            let empty = self.oracle.is_empty(&self.windows, token, self.clock_ms);
            assert!(known || empty, "{token} has no result");
        }
    }
}

fn name(token: u8) -> String {
    format!("token{token}")
}

fn sample(token: u8, time_ms: i64, number: i64) -> Sample {
    Sample {
        token: name(token),
        time_ms,
        side: Side::Buy,
        native: number,
        amount: number as f64 / 7.0,
        price: 0.3,
        wallet: format!("wallet{}", number % 5),
        tx_hash: format!("tx{number}"),
    }
}

const CONFIGS: [&str; 5] = [
    "{}",
    r#"{"windows": ["10s", "59s", "61s"]}"#,
    r#"{"windows": ["2h", "1min", "5min", "1s"]}"#,
    r#"{"windows": ["90s"], "resolution": "30s"}"#,
    r#"{"windows": ["40ms", "6s", "2min", "45min"], "resolution": "20ms"}"#,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_order_of_calls_gives_what_the_oracle_gives(
        config in prop::sample::select(&CONFIGS[..]),
        begin_ms in prop_oneof![Just(0i64), Just(-86_400_500), Just(1_772_366_399_000)],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(config, begin_ms);
        steps.iter().for_each(|step| world.run(step));
        world.run(&Step::Flush(0, 100));
        // Everything leaves in the end, trades ahead of the clock too.
        world.run(&Step::Flush(20_000_000, 100));
        prop_assert_eq!(world.host.tokens().count(), 0);
    }
}
