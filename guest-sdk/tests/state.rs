//! State from hostile hands, absurd numbers, and the counters that tell of them.
//!
//! Not for state that is right (see `engine`). The invariant: an import that is refused changes
//! nothing, and nothing panics.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its input has failed")]

use aggregator_sdk::contract::{Batch, Entries, NewToken, Removals};
use aggregator_sdk::field::Declared;
use aggregator_sdk::{Engine, MOST_TOKENS, Pane, PanePlugin, Plugin, Row, Trade, integer};
use aggregator_sdk::{Side, windows::Windows};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Count(u32);

impl Pane for Count {
    const NAME: &'static str = "count";
    const STATE_VERSION: u32 = 7;
    const FIELDS: &'static [Declared] = &[integer("count")];

    fn add(&mut self, _trade: &Trade) {
        self.0 += 1;
    }

    fn merge(&mut self, later: &Self) {
        self.0 = self.0.wrapping_add(later.0);
    }

    fn write(&self, row: &mut Row) {
        row.integer(i64::from(self.0));
    }
}

fn engine() -> Engine<Count> {
    Engine::new(&Windows::parse("1min,1hour", 1000).unwrap())
}

fn trade(time_ms: i64) -> Trade<'static> {
    Trade {
        time_ms,
        offset_ms: 0,
        side: Side::Buy,
        native: 1,
        amount: 1.0,
        price: 1.0,
        wallet: "",
        wallet_hash: 0,
        tx_hash: "",
    }
}

fn entry(token: u32, slot: i64, bytes: &[u8]) -> Entries {
    Entries {
        tokens: vec![token],
        slots: vec![slot.cast_unsigned()],
        ends: vec![bytes.len() as u32],
        bytes: bytes.to_vec(),
    }
}

#[test]
fn an_exported_slot_is_taken_and_what_differs_is_refused() {
    let mut exporter = engine();
    exporter.announce(3);
    exporter.add(3, trade(5_000));
    let page = exporter.export(0, 0, u32::MAX);
    let good = page.entries;
    assert_eq!(engine().import(&[], &good, &Removals::default()), Ok(()));

    let refused = |entries: &Entries| {
        let mut engine = engine();
        assert!(engine.import(&[], entries, &Removals::default()).is_err());
        assert_eq!(engine.tokens(), 0);
    };
    refused(&entry(3, 0, &[]));
    refused(&entry(3, 0, &good.bytes[..1]));
    refused(&entry(3, 0, &[&good.bytes[..], &good.bytes[..]].concat()));
    refused(&entry(3, 0, &[&[60], &good.bytes[1..]].concat()));
    refused(&entry(MOST_TOKENS, 0, &good.bytes));
    refused(&entry(3, i64::MAX, &good.bytes));
    refused(&entry(3, i64::MIN, &good.bytes));
    let ends = vec![9];
    refused(&Entries { ends, ..good.clone() });
    let slots = vec![];
    refused(&Entries { slots, ..good });
}

#[test]
fn state_of_another_version_is_refused_in_words() {
    let (mut plugin, _) = PanePlugin::<Count>::configure("{}").unwrap();
    let refused = plugin.import_state(6, &[], &Entries::default(), &Removals::default());
    assert_eq!(refused, Err("count reads state of version 7, not of version 6".to_owned()));
}

#[test]
fn absurd_tokens_and_times_cost_nothing_and_are_counted() {
    let mut engine = engine();
    let text = String::new();
    engine.process(&Batch { new_tokens: vec![NewToken { id: u32::MAX, text }], ..Batch::default() });
    engine.add(u32::MAX, trade(0));
    engine.add(12, trade(0));
    assert_eq!(engine.take_unknown_trades(), 2);
    engine.announce(1);
    engine.add(1, trade(i64::MAX));
    engine.add(1, trade(i64::MIN));
    engine.add(1, trade(0));
    engine.add(1, trade(i64::from(u32::MAX) * 1_000_000));
    assert_eq!(engine.take_late_trades(), 3);
    assert_eq!(engine.flush(i64::MIN, 10).tokens, [1]);
    let table = engine.flush(i64::MAX, 10);
    assert_eq!((table.tokens, table.forgotten), (vec![1], vec![1]));
}

#[test]
fn a_token_none_of_whose_trades_is_taken_is_forgotten_in_order() {
    let mut engine = engine();
    engine.flush(7_200_000, 10);
    engine.announce(0);
    engine.add(0, trade(1_000));
    assert_eq!(engine.take_late_trades(), 1);
    let table = engine.flush(7_200_000, 10);
    assert_eq!(table.forgotten, [0]);
    assert_eq!(engine.tokens(), 0);
}

#[test]
fn a_slot_that_came_back_is_no_removal() {
    let mut engine = engine();
    engine.announce(0);
    engine.add(0, trade(1_000));
    let since = engine.export(0, 0, u32::MAX).generation;
    engine.forget(&[0]);
    let gone = engine.export(since, 0, u32::MAX);
    assert_eq!(gone.removed.tokens, [0]);
    engine.announce(0);
    engine.add(0, trade(2_000));
    let back = engine.export(since, 0, u32::MAX);
    assert!(back.removed.tokens.is_empty());
    assert_eq!(back.entries.tokens, [0]);
    engine.forget(&[0]);
    engine.trim(u64::MAX);
    assert!(engine.export(since, 0, u32::MAX).removed.tokens.is_empty());
}

#[test]
fn a_flush_touches_only_tokens_whose_windows_move() {
    let mut engine = engine();
    for token in 0..10 {
        engine.announce(token);
        engine.add(token, trade(i64::from(token) * 1000));
    }
    assert_eq!(engine.flush(10_000, 100).tokens.len(), 10);
    assert_eq!(engine.flush(59_999, 100).tokens.len(), 0);
    assert_eq!(engine.flush(60_000, 100).tokens, [0]);
    assert_eq!(engine.flush(62_000, 100).tokens, [1, 2]);
    engine.touch(Some(&[5, 99]));
    assert_eq!(engine.flush(62_000, 100).tokens, [5]);
}

proptest! {
    #[test]
    fn any_bytes_are_imported_or_refused(
        bytes: Vec<u8>, cursor: u64, since: u64,
        slot in -200i64..200, token in 0u32..5,
    ) {
        let mut engine = engine();
        let _refused = engine.import(&[], &entry(token, slot, &bytes), &Removals::default());
        engine.flush(0, 10);
        engine.export(since, cursor, 100);
        engine.flush(i64::MAX, 10);
        prop_assert_eq!(engine.tokens(), 0);
    }
}
