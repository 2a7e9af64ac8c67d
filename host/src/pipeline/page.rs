//! A page of a checkpoint: state of some tokens, as it is stored and put back.
//!
//! Not for what belongs into a checkpoint. Invariant: a page names tokens by their texts, since numbers never leave the
//! process, and its columns fit each other.

use serde::{Deserialize, Serialize};

use super::tokens::Tokens;
use crate::plugin::PluginError;
use crate::plugin::contract::{EntriesParam, Page, RemovalsParam};

/// A token of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedToken {
    /// Its address: numbers never leave the process.
    pub text: String,
    /// When it traded last, unix milliseconds.
    pub last_trade_ms: i64,
    /// The partition that its last trade came from; none where that was not noted.
    #[serde(default)]
    pub partition: Option<i32>,
}

/// A page of state, as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StatePage {
    /// The tokens that the columns name by their place here.
    pub tokens: Vec<SavedToken>,
    entry_tokens: Vec<u32>,
    entry_slots: Vec<u64>,
    entry_ends: Vec<u32>,
    #[serde(with = "serde_bytes")]
    entry_bytes: Vec<u8>,
    removed_tokens: Vec<u32>,
    removed_slots: Vec<u64>,
}

/// A stored page that is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    /// Its bytes are no page.
    #[error("a page of the checkpoint cannot be read: {0}")]
    Undecodable(#[from] rmp_serde::decode::Error),
    /// Its columns do not fit each other.
    #[error("a page of the checkpoint has columns that do not fit each other")]
    Columns,
}

impl StatePage {
    /// Names tokens by their texts instead of their numbers; none where the plugin names a token that
    /// it was never given.
    pub(super) fn of(page: &Page, tokens: &Tokens) -> Option<Self> {
        let mut saved = Self {
            entry_slots: page.entries.slots.clone(),
            entry_ends: page.entries.ends.clone(),
            entry_bytes: page.entries.bytes.clone(),
            removed_slots: page.removed.slots.clone(),
            ..Self::default()
        };
        let mut last = None;
        let mut place = |number: u32, table: &mut Vec<SavedToken>| {
            if last != Some(number) {
                let token = tokens.get(number)?;
                table.push(SavedToken {
                    text: token.text.to_string(),
                    last_trade_ms: token.last_trade_ms,
                    partition: token.partition,
                });
                last = Some(number);
            }
            Some(table.len() as u32 - 1)
        };
        for &number in &page.entries.tokens {
            saved.entry_tokens.push(place(number, &mut saved.tokens)?);
        }
        for &number in &page.removed.tokens {
            saved.removed_tokens.push(place(number, &mut saved.tokens)?);
        }
        saved.fits().then_some(saved)
    }

    /// A page that names tokens and holds nothing of them.
    #[cfg(test)]
    pub(super) fn naming(tokens: Vec<SavedToken>) -> Self {
        Self { tokens, ..Self::default() }
    }

    /// Reads a stored page.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        let page: Self = rmp_serde::from_slice(bytes)?;
        if page.fits() { Ok(page) } else { Err(PageError::Columns) }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // A page is plain data in memory; writing it cannot fail.
        rmp_serde::to_vec(self).unwrap_or_default()
    }

    fn fits(&self) -> bool {
        let known = |place: &u32| (*place as usize) < self.tokens.len();
        self.entry_tokens.len() == self.entry_slots.len()
            && self.entry_tokens.len() == self.entry_ends.len()
            && self.entry_ends.is_sorted()
            && self.entry_ends.last().map_or(0, |end| *end as usize) == self.entry_bytes.len()
            && self.removed_tokens.len() == self.removed_slots.len()
            && self.entry_tokens.iter().chain(&self.removed_tokens).all(known)
    }

    /// The same page with nothing of other tokens than these.
    pub(super) fn only(&self, keep: impl Fn(&SavedToken) -> bool) -> Self {
        let mut kept = Self::default();
        let places: Vec<Option<u32>> = self
            .tokens
            .iter()
            .map(|token| {
                keep(token).then(|| {
                    kept.tokens.push(token.clone());
                    kept.tokens.len() as u32 - 1
                })
            })
            .collect();
        let mut start = 0;
        for ((&token, &slot), &end) in self.entry_tokens.iter().zip(&self.entry_slots).zip(&self.entry_ends) {
            let bytes = &self.entry_bytes[start as usize..end as usize];
            start = end;
            if let Some(place) = places[token as usize] {
                kept.entry_tokens.push(place);
                kept.entry_slots.push(slot);
                kept.entry_bytes.extend_from_slice(bytes);
                kept.entry_ends.push(kept.entry_bytes.len() as u32);
            }
        }
        for (&token, &slot) in self.removed_tokens.iter().zip(&self.removed_slots) {
            if let Some(place) = places[token as usize] {
                kept.removed_tokens.push(place);
                kept.removed_slots.push(slot);
            }
        }
        kept
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entry_tokens.is_empty() && self.removed_tokens.is_empty()
    }

    /// Hands the page to an import under the numbers that its tokens have by now.
    pub(super) fn import(
        &self,
        numbers: &[u32],
        import: impl FnOnce(EntriesParam<'_>, RemovalsParam<'_>) -> Result<(), PluginError>,
    ) -> Result<(), PluginError> {
        let number = |place: &u32| numbers[*place as usize];
        let entry_tokens: Vec<u32> = self.entry_tokens.iter().map(number).collect();
        let removed_tokens: Vec<u32> = self.removed_tokens.iter().map(number).collect();
        let entries = EntriesParam {
            tokens: &entry_tokens,
            slots: &self.entry_slots,
            ends: &self.entry_ends,
            bytes: &self.entry_bytes,
        };
        import(entries, RemovalsParam { tokens: &removed_tokens, slots: &self.removed_slots })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_is_read_back_as_it_was_written() {
        let page = StatePage {
            tokens: vec![saved("a")],
            entry_tokens: vec![0, 0],
            entry_slots: vec![7, u64::MAX],
            entry_ends: vec![2, 3],
            entry_bytes: vec![1, 2, 3],
            removed_tokens: vec![0],
            removed_slots: vec![9],
        };
        assert_eq!(StatePage::decode(&page.encode()).unwrap(), page);
    }

    fn saved(text: &str) -> SavedToken {
        SavedToken { text: text.to_owned(), last_trade_ms: -5, partition: Some(3) }
    }

    #[test]
    fn a_page_of_some_of_its_tokens_has_all_of_theirs_and_nothing_else() {
        let page = StatePage {
            tokens: vec![saved("a"), saved("b"), saved("c")],
            entry_tokens: vec![0, 1, 1, 2],
            entry_slots: vec![7, 8, 9, 10],
            entry_ends: vec![1, 3, 3, 6],
            entry_bytes: vec![1, 2, 3, 4, 5, 6],
            removed_tokens: vec![2, 1],
            removed_slots: vec![70, 80],
        };
        let kept = page.only(|token| token.text != "a");
        assert!(kept.fits());
        assert_eq!(kept.tokens, [saved("b"), saved("c")]);
        assert_eq!((kept.entry_tokens, kept.entry_slots), (vec![0, 0, 1], vec![8, 9, 10]));
        assert_eq!((kept.entry_ends, kept.entry_bytes), (vec![2, 2, 5], vec![2, 3, 4, 5, 6]));
        assert_eq!((kept.removed_tokens, kept.removed_slots), (vec![1, 0], vec![70, 80]));
        assert!(page.only(|_| false).is_empty());
    }

    #[test]
    fn a_page_from_before_partitions_were_noted_is_read() {
        let token = rmp_serde::to_vec(&("a", -5_i64)).unwrap();
        let read: SavedToken = rmp_serde::from_slice(&token).unwrap();
        assert_eq!(read, SavedToken { partition: None, ..saved("a") });
    }

    #[test]
    fn columns_that_do_not_fit_are_refused() {
        let page = StatePage { entry_tokens: vec![0], ..StatePage::default() };
        assert!(matches!(StatePage::decode(&page.encode()), Err(PageError::Columns)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_an_error_or_a_page_and_never_a_panic(bytes: Vec<u8>) {
            if let Ok(page) = StatePage::decode(&bytes) {
                prop_assert!(page.fits());
            }
        }
    }
}
