//! What the store must hold in the end.
//!
//! Invariant: every token, every window and every planted rejection is looked at; what is tolerated is said here with
//! its reason.

use std::collections::{BTreeMap, BTreeSet};

use aggregator::config::{ClockMode, Encoding, Partitioning};
use aggregator_tests::compare::{self, AGGREGATES};
use aggregator_tests::oracle::Oracle;
use aggregator_tests::results;
use aggregator_tests::time;

use super::draws::Draws;
use super::feed::Feed;
use super::process::Process;
use super::topic::Place;
use super::weather::Weather;

/// What was seen on the way.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    letters: BTreeMap<Place, BTreeSet<&'static str>>,
    /// Results were shown before a cell had caught up.
    shown_early: u64,
    /// For each partition an offset before which no window could hold anything when it was begun.
    skipped: BTreeMap<i32, i64>,
    /// The wall clock of the last flush.
    ended_at_ms: i64,
}

impl Judge {
    /// The broker has a dead letter.
    pub(crate) fn letter(&mut self, place: Place, reason: &'static str) {
        self.letters.entry(place).or_default().insert(reason);
    }

    /// A process ends, or the world does.
    pub(crate) fn process(&mut self, process: &Process) {
        self.shown_early += process.shown_early();
        for &(partition, offset) in process.skipped() {
            let known = self.skipped.entry(partition).or_default();
            *known = offset.max(*known);
        }
    }

    /// The last flush was made at this time.
    pub(crate) fn ended_at(&mut self, wall_ms: i64) {
        self.ended_at_ms = wall_ms;
    }

    /// Everything that is wrong, in words.
    pub(crate) fn wrong(&self, draws: &Draws, feed: &Feed, weather: &Weather) -> Vec<String> {
        let mut wrong = self.results(draws, &feed.oracle, weather);
        wrong.extend(self.rejections(draws, feed));
        if self.shown_early == 0 {
            wrong.extend(weather.wrong());
        }
        wrong
    }

    /// The clock that a token's shard must have come to.
    fn clock_ms(&self, draws: &Draws, oracle: &Oracle, token: &str) -> i64 {
        match (draws.clock, draws.partitioning) {
            (ClockMode::Wall, _) => self.ended_at_ms,
            (ClockMode::Event, Partitioning::Shuffle) => oracle.newest_ms(),
            (ClockMode::Event, _) => oracle.newest_of_partition_ms(token),
        }
    }

    fn results(&self, draws: &Draws, oracle: &Oracle, weather: &Weather) -> Vec<String> {
        let (snapshot, forgot) = (weather.snapshot(), weather.losses() > 0);
        let active: BTreeMap<String, i64> = snapshot.active().into_iter().collect();
        let encoding = match draws.encoding {
            Encoding::Json => results::Encoding::Json,
            Encoding::Msgpack => results::Encoding::MessagePack,
        };
        let mut wrong = Vec::new();
        for token in oracle.tokens() {
            let clock_ms = self.clock_ms(draws, oracle, token);
            let live = oracle.is_live(token, clock_ms);
            let listed = active.get(token).copied();
            if listed != oracle.last_trade_ms(token).filter(|_| live) && (live || !forgot) {
                wrong.push(format!("{token} (live: {live}) is listed at {listed:?}"));
            }
            let Some(value) = snapshot.value(token, AGGREGATES) else {
                wrong.extend(live.then(|| format!("{token} has no results")));
                continue;
            };
            // A store that went back may hold results of tokens that are forgotten since; they go by themselves.
            if !live && forgot {
                continue;
            }
            let last_update = (live && draws.clock == ClockMode::Event).then(|| time::rfc3339_ms(clock_ms));
            match results::parse(value, encoding) {
                Ok(row) => {
                    let expected = oracle.values(token, clock_ms);
                    let found = compare::row_differences(oracle, &expected, last_update.as_deref(), &row);
                    wrong.extend(found.into_iter().map(|words| format!("{token} {words}")));
                }
                Err(error) => wrong.push(format!("{token} cannot be read: {error}")),
            }
        }
        let known: BTreeSet<&str> = oracle.tokens().into_iter().collect();
        let strangers = active.keys().filter(|token| !known.contains(token.as_str()));
        wrong.extend(strangers.map(|token| format!("{token} is listed and never traded")));
        wrong
    }

    fn rejections(&self, draws: &Draws, feed: &Feed) -> Vec<String> {
        let mut wrong = Vec::new();
        for (place, reason) in &feed.planted {
            let found = self.letters.get(place).cloned().unwrap_or_default();
            let skipped = self.skipped.get(&place.0).is_some_and(|offset| place.1 < *offset);
            if found.is_empty() && skipped {
                continue;
            }
            if found != BTreeSet::from([*reason]) {
                wrong.push(format!("the rejection {reason} at {place:?} was delivered as {found:?}"));
            }
        }
        let horizon_ms = feed.oracle.windows().iter().map(|window| window.length_ms).max().unwrap_or(0);
        let end_ms = match draws.clock {
            ClockMode::Wall => self.ended_at_ms,
            ClockMode::Event => feed.oracle.newest_ms(),
        };
        for (place, reasons) in self.letters.iter().filter(|(place, _)| !feed.planted.contains_key(place)) {
            let time_ms = feed.times_ms.get(place);
            let late = time_ms.is_some_and(|time_ms| *time_ms <= end_ms - horizon_ms + 1_000);
            if !late || *reasons != BTreeSet::from(["too_late"]) {
                wrong.push(format!("the trade at {place:?} of {time_ms:?} was rejected as {reasons:?}"));
            }
        }
        wrong
    }
}
