//! The tokens of one shard and the small numbers that stand for them inside this process.
//!
//! Not for window state: that is the plugins'. Invariant: a number is free for another token only
//! when no cell of the shard knows the token any more.

use std::sync::Arc;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// What the host knows of a token.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its address.
    pub text: Arc<str>,
    hash: u64,
    /// The event time of its last trade, in unix milliseconds.
    pub last_trade_ms: i64,
    /// Trades taken since the token became known.
    pub trades: u64,
    /// How many cells of the shard know it.
    holders: u32,
    /// The last period of the batch log in which it traded.
    period: u64,
}

/// The dictionary of a shard.
#[derive(Debug, Default)]
pub struct Tokens {
    numbers: HashTable<u32>,
    entries: Vec<Option<Token>>,
    free: Vec<u32>,
}

impl Tokens {
    /// The number of a token, which becomes known if it was not.
    pub fn intern(&mut self, hash: u64, text: &str) -> u32 {
        let entries = &self.entries;
        let found = self.numbers.find(hash, |&number| {
            entries[number as usize].as_ref().is_some_and(|token| token.hash == hash && *token.text == *text)
        });
        match found {
            Some(&number) => number,
            None => self.add(hash, text),
        }
    }

    #[cold]
    fn add(&mut self, hash: u64, text: &str) -> u32 {
        let token =
            Token { text: text.into(), hash, last_trade_ms: i64::MIN, trades: 0, holders: 0, period: 0 };
        let number = match self.free.pop() {
            Some(number) => {
                self.entries[number as usize] = Some(token);
                number
            }
            None => {
                self.entries.push(Some(token));
                self.entries.len() as u32 - 1
            }
        };
        let entries = &self.entries;
        self.numbers.insert_unique(hash, number, |&other| {
            entries[other as usize].as_ref().map_or(0, |known| known.hash)
        });
        number
    }

    /// Counts trades of a token; says whether they are its first in this period.
    pub fn count(&mut self, number: u32, trades: u32, newest_ms: i64, period: u64) -> bool {
        let Some(token) = self.entries[number as usize].as_mut() else {
            return false;
        };
        token.trades += u64::from(trades);
        token.last_trade_ms = token.last_trade_ms.max(newest_ms);
        std::mem::replace(&mut token.period, period) != period
    }

    /// The token behind a number, none where the number stands for nothing.
    pub fn get(&self, number: u32) -> Option<&Token> {
        self.entries.get(number as usize)?.as_ref()
    }

    /// Notes that one more cell knows the token.
    pub fn hold(&mut self, number: u32) {
        if let Some(Some(token)) = self.entries.get_mut(number as usize) {
            token.holders += 1;
        }
    }

    /// Notes that a cell has forgotten the token; returns its address once no cell knows it.
    pub fn release(&mut self, number: u32) -> Option<Arc<str>> {
        let slot = self.entries.get_mut(number as usize)?;
        let token = slot.as_mut()?;
        token.holders = token.holders.saturating_sub(1);
        if token.holders > 0 {
            return None;
        }
        let token = slot.take()?;
        if let Ok(entry) = self.numbers.find_entry(token.hash, |&other| other == number) {
            entry.remove();
        }
        self.free.push(number);
        Some(token.text)
    }

    /// Drops a token that no cell has taken.
    pub fn drop_unheld(&mut self, number: u32) {
        if self.get(number).is_some_and(|token| token.holders == 0) {
            self.release(number);
        }
    }

    /// Whether a token is known.
    pub fn contains(&self, text: &str) -> bool {
        let hash = xxh3_64(text.as_bytes());
        self.numbers
            .find(hash, |&number| self.get(number).is_some_and(|token| *token.text == *text))
            .is_some()
    }

    /// How many tokens are known.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// All known tokens, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Token> {
        self.entries.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_free_only_when_no_cell_knows_the_token() {
        let mut tokens = Tokens::default();
        let a = tokens.intern(1, "a");
        tokens.hold(a);
        tokens.hold(a);
        assert_eq!(tokens.intern(1, "a"), a);
        assert_eq!(tokens.release(a), None);
        assert_eq!(tokens.release(a).as_deref(), Some("a"));
        assert_eq!(tokens.len(), 0);
        assert_eq!(tokens.intern(1, "b"), a);
    }

    #[test]
    fn texts_with_one_hash_stay_two_tokens() {
        let mut tokens = Tokens::default();
        assert_ne!(tokens.intern(7, "a"), tokens.intern(7, "b"));
        assert_eq!(tokens.len(), 2);
    }
}
