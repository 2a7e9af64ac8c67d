//! A host in miniature: numbers tokens, calls a plugin, keeps the last row of each token.
//!
//! Not the service's host; it checks what it is given and fails loudly. The invariant: results are
//! kept by the token's text, since numbers are the host's own business.

use std::collections::{BTreeMap, BTreeSet};

use super::value::{self, Groups};
use super::{Random, Sample};
use crate::Plugin;
use crate::contract::{Batch, Description, NewToken, OptionalColumns, Page, Settings};
use crate::map::FastHasher;
use crate::trade::{Side, push_text};

/// A plugin with the least that a host does around it.
pub struct Host<P> {
    /// The plugin.
    pub plugin: P,
    /// What it says it is.
    pub description: Description,
    /// What its configuration means.
    pub settings: Settings,
    /// The last row of each token that ever had one.
    pub results: BTreeMap<String, Groups>,
    /// Numbers of all tokens there ever were. A token that comes back keeps its number, so that a
    /// removal that waits for its reader never means another token's piece.
    numbers: BTreeMap<String, u32>,
    /// The texts of these numbers.
    texts: Vec<String>,
    /// Tokens that the plugin knows.
    known: BTreeSet<String>,
}

impl<P: Plugin> Host<P> {
    /// Starts a plugin.
    ///
    /// # Panics
    /// Where the plugin refuses the configuration.
    #[must_use]
    pub fn new(json: &str) -> Self {
        let description = P::describe();
        let (plugin, settings) = match P::configure(json) {
            Ok(configured) => configured,
            Err(words) => panic!("{} refuses {json}: {words}", description.name),
        };
        assert!(!settings.groups.is_empty(), "a result has no group");
        Self {
            plugin,
            description,
            settings,
            results: BTreeMap::new(),
            numbers: BTreeMap::new(),
            texts: Vec::new(),
            known: BTreeSet::new(),
        }
    }

    /// Tokens that the plugin knows.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(String::as_str)
    }

    /// Gives the number of a token that the plugin knows.
    #[must_use]
    pub fn number(&self, token: &str) -> Option<u32> {
        let known = self.known.contains(token);
        self.numbers.get(token).copied().filter(|_| known)
    }

    /// Lets the plugin process trades, those of one token side by side.
    pub fn process(&mut self, trades: &[Sample]) {
        let batch = self.batch(trades);
        self.plugin.process(&batch);
    }

    /// Makes a batch, numbering new tokens.
    pub fn batch(&mut self, trades: &[Sample]) -> Batch {
        let mut batch = Batch::default();
        let mut sorted: Vec<&Sample> = trades.iter().collect();
        sorted.sort_by(|one, other| one.token.cmp(&other.token));
        let columns = self.description.columns;
        for trade in sorted {
            let number = self.intern(&trade.token, &mut batch.new_tokens);
            batch.tokens.push(number);
            batch.times_ms.push(trade.time_ms);
            batch.sides.push(u8::from(trade.side == Side::Buy));
            batch.natives.push(trade.native);
            batch.amounts.push(trade.amount);
            batch.prices.push(trade.price);
            if columns.contains(OptionalColumns::WALLET) {
                push_text(&mut batch.wallets, &trade.wallet);
            }
            if columns.contains(OptionalColumns::WALLET_HASH) {
                batch.wallet_hashes.push(hash(&trade.wallet));
            }
            if columns.contains(OptionalColumns::TX_HASH) {
                push_text(&mut batch.tx_hashes, &trade.tx_hash);
            }
        }
        batch
    }

    fn intern(&mut self, token: &str, new_tokens: &mut Vec<NewToken>) -> u32 {
        let text = token.to_owned();
        let id = *self.numbers.entry(text.clone()).or_insert_with(|| {
            self.texts.push(text.clone());
            self.texts.len() as u32 - 1
        });
        if self.known.insert(text.clone()) {
            new_tokens.push(NewToken { id, text });
        }
        id
    }

    /// Flushes until nothing is left and keeps the rows.
    ///
    /// # Panics
    /// Where a table breaks the contract.
    pub fn flush(&mut self, clock_ms: i64, max_rows: u32) {
        loop {
            let table = self.plugin.flush(clock_ms, max_rows);
            assert!(table.tokens.len() <= max_rows as usize, "too many rows");
            assert_eq!(table.gauges.len(), self.description.gauges.len());
            assert_eq!(table.counters.len(), self.description.counters.len());
            for (number, row) in value::rows(&table, self.settings.groups.len()) {
                let text = &self.texts[number as usize];
                assert!(self.known.contains(text), "a row of an unknown token");
                self.results.insert(text.clone(), row);
            }
            for number in table.forgotten {
                assert!(table.tokens.contains(&number), "forgotten without a row");
                self.known.remove(&self.texts[number as usize]);
            }
            if !table.more {
                return;
            }
            assert!(!table.tokens.is_empty(), "more to come, but nothing comes");
        }
    }

    /// Makes the plugin forget a token and its last row.
    pub fn forget(&mut self, token: &str) {
        if let Some(number) = self.number(token) {
            self.known.remove(token);
            self.plugin.forget(&[number]);
            self.results.remove(token);
        }
    }

    /// Takes one page of another host's plugin, whose numbers mean other tokens.
    ///
    /// # Panics
    /// Where the plugin refuses the page.
    pub fn import(&mut self, from: &Self, page: &Page) {
        let mut new_tokens = Vec::new();
        let mut entries = page.entries.clone();
        for number in &mut entries.tokens {
            *number = self.intern(&from.texts[*number as usize], &mut new_tokens);
        }
        let mut removed = page.removed.clone();
        for number in &mut removed.tokens {
            *number = self.intern(&from.texts[*number as usize], &mut new_tokens);
        }
        let version = from.description.state_version;
        let imported = self.plugin.import_state(version, &new_tokens, &entries, &removed);
        if let Err(words) = imported {
            panic!("{} refuses its own state: {words}", from.description.name);
        }
    }

    /// Carries everything that changed since a generation into another host, and lets something
    /// happen here between two pages; gives the generation for the next round.
    pub fn carry(
        &mut self,
        to: &mut Self,
        since: u64,
        random: &mut Random,
        mut between: impl FnMut(&mut Self),
    ) -> u64 {
        let mut cursor = 0;
        let mut generation = None;
        loop {
            let max_bytes = 1 + random.below(4000) as u32;
            let page = self.plugin.export_state(since, cursor, max_bytes);
            to.import(self, &page);
            let begun = *generation.get_or_insert(page.generation);
            assert_eq!(begun, page.generation, "the generation of a later page");
            match page.next {
                None => return begun,
                Some(next) => cursor = next,
            }
            between(self);
        }
    }
}

/// Stands for the real hash of a wallet; plugins know only that equal wallets hash equally.
pub(super) fn hash(text: &str) -> u64 {
    use std::hash::Hasher;
    let mut hasher = FastHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}
