//! State that is damaged, old or migrated: refused in words, never misread.
//!
//! What an honest export does is the law of carry, in `laws.rs`. The invariant: a refusal changes nothing.

use aggregator_sdk::Plugin;
use aggregator_sdk::contract::{NewToken, Removals};
use aggregator_sdk::testing::{Host, Market, Random};
use traders::Traders;

fn filled(seed: u64) -> Host<Traders> {
    let mut host = Host::new("{}");
    let mut market = Market::new(seed, 60_000);
    for _ in 0..5 {
        host.process(&market.trades());
    }
    host
}

#[test]
fn a_state_whose_bytes_were_changed_is_refused_or_taken_whole_and_never_panics() {
    let mut random = Random::new(5);
    let mut refused = 0;
    for seed in 0..60 {
        let page = filled(seed).plugin.export_state(0, 0, u32::MAX);
        if page.entries.bytes.is_empty() {
            continue;
        }
        let mut entries = page.entries.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(entries.bytes.len() as u64) as usize;
            entries.bytes[at] ^= 1 << random.below(8);
        }
        let (mut other, _) = Traders::configure("{}").unwrap();
        let tokens: Vec<NewToken> =
            entries.tokens.iter().map(|&id| NewToken { id, text: id.to_string() }).collect();
        let taken = other.import_state(1, &tokens, &entries, &Removals::default());
        refused += usize::from(taken.is_err());
        other.flush(1_772_366_400_000, 1_000);
    }
    assert!(refused > 0, "no damage was noticed");
}

#[test]
fn state_of_another_version_is_refused_in_words() {
    let page = filled(1).plugin.export_state(0, 0, u32::MAX);
    let (mut other, _) = Traders::configure("{}").unwrap();
    let words = other.import_state(2, &[], &page.entries, &page.removed).unwrap_err();
    assert!(words.contains("version 1") && words.contains("version 2"), "{words}");
}

#[test]
fn pieces_cut_short_are_refused() {
    let mut entries = filled(2).plugin.export_state(0, 0, u32::MAX).entries;
    entries.bytes.pop();
    *entries.ends.last_mut().unwrap() -= 1;
    let (mut other, _) = Traders::configure("{}").unwrap();
    assert!(other.import_state(1, &[], &entries, &Removals::default()).is_err());
    entries.ends.pop();
    assert!(other.import_state(1, &[], &entries, &Removals::default()).is_err());
}
