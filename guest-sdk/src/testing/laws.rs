//! The four laws of the contract as checks for any plugin.
//!
//! Not for what a metric means. The invariant: results are compared by the token's text, so that a
//! law says nothing about numbers or the order of rows.

use super::value::rows_are_close;
use super::{Host, Market, Random, Sample};
use crate::Plugin;

/// How many times a check lets the market go on.
const STEPS: usize = 40;

/// Checks all four laws with one seed.
///
/// # Panics
/// Where a law is broken, naming it.
pub fn laws<P: Plugin>(json: &str, seed: u64) {
    split::<P>(json, seed);
    carry::<P>(json, seed);
    determinism::<P>(json, seed);
    flush::<P>(json, seed);
}

/// Checks that cutting batches changes nothing.
///
/// # Panics
/// Where it does.
pub fn split<P: Plugin>(json: &str, seed: u64) {
    let (mut one, mut other) = (Host::<P>::new(json), Host::<P>::new(json));
    let mut market = Market::new(seed, one.settings.horizon_ms);
    let mut random = Random::new(!seed);
    for _ in 0..STEPS {
        let trades = market.trades();
        one.process(&trades);
        let mut rest: &[Sample] = &trades;
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(1 + random.below(rest.len() as u64) as usize);
            other.process(piece);
            rest = tail;
        }
        market.advance();
        one.flush(market.now_ms, u32::MAX);
        other.flush(market.now_ms, 1 + random.below(5) as u32);
        same(&one, &other, "split", seed);
    }
}

/// Checks that an importer behaves like the exporter, whatever happens during the export.
///
/// # Panics
/// Where it does not.
pub fn carry<P: Plugin>(json: &str, seed: u64) {
    let mut one = Host::<P>::new(json);
    let mut market = Market::new(seed, one.settings.horizon_ms);
    let mut random = Random::new(!seed);
    let mut go_on = |host: &mut Host<P>| {
        host.process(&market.trades());
        market.advance();
        host.flush(market.now_ms, u32::MAX);
        market.now_ms
    };
    for _ in 0..STEPS / 4 {
        go_on(&mut one);
    }
    for _ in 0..3 {
        let mut other = Host::<P>::new(json);
        let mut since = 0;
        for _ in 0..random.below(4) {
            since = one.carry(&mut other, since, &mut random, |host| {
                go_on(host);
            });
            for _ in 0..random.below(3) {
                go_on(&mut one);
            }
            one.plugin.trim(since);
        }
        // The last round sees a standing market, so both hold the same afterwards.
        one.carry(&mut other, since, &mut random, |_| {});
        one.plugin.touch(None);
        let clock_ms = go_on(&mut Host::<P>::new(json));
        one.flush(clock_ms, u32::MAX);
        other.flush(clock_ms, u32::MAX);
        agree(&one, &other, seed);
        one = other;
        for _ in 0..random.below(4) {
            go_on(&mut one);
        }
    }
}

/// Checks that equal calls give equal bytes.
///
/// # Panics
/// Where they do not.
pub fn determinism<P: Plugin>(json: &str, seed: u64) {
    let run = || {
        let mut host = Host::<P>::new(json);
        let mut market = Market::new(seed, host.settings.horizon_ms);
        let mut seen = Vec::new();
        for _ in 0..STEPS {
            host.process(&market.trades());
            market.advance();
            // The table is seen before the host knows it, which forgets nothing then: numbers that
            // were forgotten and traded again are unknown, the same way in both runs.
            seen.push(format!("{:?}", host.plugin.flush(market.now_ms, 3)));
            seen.push(format!("{:?}", host.plugin.export_state(0, 0, u32::MAX)));
        }
        seen
    };
    assert!(run() == run(), "determinism is broken, seed {seed}");
}

/// Checks that flushes in between change no later result.
///
/// # Panics
/// Where they do.
pub fn flush<P: Plugin>(json: &str, seed: u64) {
    let (mut one, mut other) = (Host::<P>::new(json), Host::<P>::new(json));
    let mut market = Market::new(seed, one.settings.horizon_ms);
    let mut random = Random::new(!seed);
    for _ in 0..STEPS {
        let from_ms = market.now_ms;
        let trades = market.trades();
        one.process(&trades);
        other.process(&trades);
        market.advance();
        let span_ms = (market.now_ms - from_ms).unsigned_abs() + 1;
        let mut between: Vec<_> =
            (0..random.below(4)).map(|_| from_ms + random.below(span_ms).cast_signed()).collect();
        between.sort_unstable();
        for clock_ms in between {
            other.flush(clock_ms, u32::MAX);
        }
        one.flush(market.now_ms, u32::MAX);
        other.flush(market.now_ms, u32::MAX);
        same(&one, &other, "flush", seed);
    }
}

/// Checks that two hosts hold the same results.
fn same<P: Plugin>(one: &Host<P>, other: &Host<P>, law: &str, seed: u64) {
    assert_eq!(
        one.results.keys().collect::<Vec<_>>(),
        other.results.keys().collect::<Vec<_>>(),
        "the law of {law} is broken, seed {seed}"
    );
    agree_on(one, other, other.results.keys().map(String::as_str), law, seed);
}

/// Checks that an importer holds what the exporter holds, for all tokens that either still knows.
fn agree<P: Plugin>(one: &Host<P>, other: &Host<P>, seed: u64) {
    assert_eq!(
        one.tokens().collect::<Vec<_>>(),
        other.tokens().collect::<Vec<_>>(),
        "the law of carry is broken, seed {seed}"
    );
    agree_on(one, other, other.tokens(), "carry", seed);
}

fn agree_on<'a, P: Plugin>(
    one: &Host<P>,
    other: &Host<P>,
    tokens: impl Iterator<Item = &'a str>,
    law: &str,
    seed: u64,
) {
    for token in tokens {
        let rows = (&one.results[token], &other.results[token]);
        assert!(
            rows_are_close(rows.0, rows.1),
            "the law of {law} is broken, seed {seed}, {token}:\n{:?}\n{:?}",
            rows.0,
            rows.1
        );
    }
}
