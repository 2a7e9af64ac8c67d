//! State from hostile hands: what the store gives back may be anything.
//!
//! Not for state that is right (see `laws`). The invariant: an import takes state or refuses it with words, and the
//! plugin goes on with whatever it has taken.

use aggregator_sdk::contract::{Batch, Entries, NewToken, Removals};
use aggregator_sdk::{PanePlugin, Plugin as _};
use proptest::prelude::*;
use proptest::sample::Index;
use sliding_window::Candle;

type Engine = PanePlugin<Candle>;

fn engine() -> Engine {
    Engine::configure(r#"{"windows": "1min,1hour"}"#).expect("a configuration").0
}

/// Trades of two tokens within some minutes.
fn batch(times_ms: &[i64]) -> Batch {
    let rows = times_ms.len();
    Batch {
        new_tokens: (0..2).map(|id| NewToken { id, text: format!("token-{id}") }).collect(),
        tokens: (0..rows as u32).map(|row| row % 2).collect(),
        times_ms: times_ms.to_vec(),
        sides: (0..rows).map(|row| (row % 2) as u8).collect(),
        natives: vec![1_500_000_000; rows],
        amounts: vec![2.5; rows],
        prices: vec![0.125; rows],
        ..Batch::default()
    }
}

/// State as an instance exports it.
fn exported(times_ms: &[i64]) -> Entries {
    let mut engine = engine();
    engine.process(&batch(times_ms));
    engine.flush(600_000, 100);
    engine.export_state(0, 0, u32::MAX).entries
}

/// Goes on with whatever was imported: every call of the contract, at ordinary and at absurd clocks.
fn go_on(engine: &mut Engine) {
    engine.process(&batch(&[0, 61_000, 600_000]));
    for clock_ms in [0, 600_000, 7_200_000] {
        engine.flush(clock_ms, 10);
    }
    engine.touch(None);
    let page = engine.export_state(0, 0, 64);
    engine.export_state(page.generation, page.next.unwrap_or(0), 64);
    engine.trim(page.generation);
    engine.forget(&[0, 1, 7]);
    engine.flush(i64::MAX, u32::MAX);
}

fn damaged(mut entries: Entries, damage: &[(Index, u8)], column: Option<(Index, u64)>) -> Entries {
    let len = entries.bytes.len();
    for (at, byte) in damage.iter().filter(|_| len > 0) {
        entries.bytes[at.index(len)] = *byte;
    }
    if let Some((at, value)) = column.filter(|_| !entries.slots.is_empty()) {
        let at = at.index(entries.slots.len());
        match value % 3 {
            0 => entries.tokens[at] = value as u32,
            1 => entries.slots[at] = value,
            _ => entries.ends[at] = value as u32,
        }
    }
    entries
}

proptest! {
    #[test]
    fn any_columns_are_imported_or_refused(
        version in 0u32..4, tokens: Vec<u32>, slots: Vec<u64>, ends: Vec<u32>, bytes: Vec<u8>,
        gone in prop::collection::vec((0u32..4, any::<u64>()), 0..5),
    ) {
        let mut engine = engine();
        let entries = Entries { tokens, slots, ends, bytes };
        let (tokens, slots) = gone.into_iter().unzip();
        if let Err(words) = engine.import_state(version, &[], &entries, &Removals { tokens, slots }) {
            prop_assert!(!words.is_empty());
        }
        go_on(&mut engine);
    }

    #[test]
    fn damaged_state_is_imported_or_refused(
        times_ms in prop::collection::vec(0i64..600_000, 1..40),
        damage in prop::collection::vec(any::<(Index, u8)>(), 0..6),
        column: Option<(Index, u64)>,
    ) {
        let version = Engine::describe().state_version;
        let new_tokens = batch(&[]).new_tokens;
        let mut engine = engine();
        let entries = damaged(exported(&times_ms), &damage, column);
        let imported = engine.import_state(version, &new_tokens, &entries, &Removals::default());
        prop_assert!(imported.is_ok() || !damage.is_empty() || column.is_some());
        go_on(&mut engine);
    }
}
