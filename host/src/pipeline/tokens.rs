//! The tokens of one shard and the small numbers that stand for them inside this process.
//!
//! Not for window state: that is the plugins'. Invariant: a number is free for another token only
//! when no cell of the shard holds it any more; a cell that has forgotten a token may hold its number
//! until a checkpoint has carried the removal.

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
    /// The partition that it came from.
    pub partition: Option<i32>,
    /// Trades taken since the token became known.
    pub trades: u64,
    /// How many cells of the shard need its number.
    holders: u32,
    /// How many of them have state of it.
    knowers: u32,
    /// The last period of the batch log in which it traded.
    period: u64,
}

impl Token {
    /// xxh3-64 of its address.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// The dictionary of a shard.
#[derive(Debug, Default)]
pub struct Tokens {
    numbers: HashTable<u32>,
    entries: Vec<Option<Token>>,
    free: Vec<u32>,
    /// How many tokens some cell has state of.
    alive: usize,
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

    /// The number of a token that comes from a checkpoint.
    pub fn intern_text(&mut self, text: &str) -> u32 {
        self.intern(xxh3_64(text.as_bytes()), text)
    }

    #[cold]
    fn add(&mut self, hash: u64, text: &str) -> u32 {
        let token = Token {
            text: text.into(),
            hash,
            last_trade_ms: i64::MIN,
            partition: None,
            trades: 0,
            holders: 0,
            knowers: 0,
            period: 0,
        };
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

    /// Counts trades of a token from a partition; says whether they are its first in this period.
    pub fn count(&mut self, number: u32, trades: u32, partition: i32, newest_ms: i64, period: u64) -> bool {
        let Some(token) = self.entries[number as usize].as_mut() else {
            return false;
        };
        token.trades += u64::from(trades);
        token.partition = Some(partition);
        token.last_trade_ms = token.last_trade_ms.max(newest_ms);
        std::mem::replace(&mut token.period, period) != period
    }

    /// The token behind a number, none where the number stands for nothing.
    pub fn get(&self, number: u32) -> Option<&Token> {
        self.entries.get(number as usize)?.as_ref()
    }

    /// Notes when, and in which partition, a token that comes from a checkpoint traded last.
    pub fn restore(&mut self, number: u32, last_trade_ms: i64, partition: Option<i32>) {
        if let Some(Some(token)) = self.entries.get_mut(number as usize) {
            token.partition = token.partition.or(partition);
            token.last_trade_ms = token.last_trade_ms.max(last_trade_ms);
        }
    }

    /// Notes that one more cell needs the number.
    pub fn hold(&mut self, number: u32) {
        if let Some(Some(token)) = self.entries.get_mut(number as usize) {
            token.holders += 1;
        }
    }

    /// Notes that a cell has state of the token from now on.
    pub fn learn(&mut self, number: u32) {
        if let Some(Some(token)) = self.entries.get_mut(number as usize) {
            token.knowers += 1;
            self.alive += usize::from(token.knowers == 1);
        }
    }

    /// Notes that a cell has forgotten the token; returns its address once all have.
    pub fn forget(&mut self, number: u32) -> Option<Arc<str>> {
        let token = self.entries.get_mut(number as usize)?.as_mut()?;
        if token.knowers == 0 {
            return None;
        }
        token.knowers -= 1;
        if token.knowers > 0 {
            return None;
        }
        self.alive -= 1;
        token.trades = 0;
        Some(Arc::clone(&token.text))
    }

    /// Notes that a cell needs the number no more; it is free when none does.
    pub fn release(&mut self, number: u32) {
        let Some(slot) = self.entries.get_mut(number as usize) else {
            return;
        };
        let Some(token) = slot.as_mut() else {
            return;
        };
        token.holders = token.holders.saturating_sub(1);
        if token.holders > 0 {
            return;
        }
        if let Ok(entry) = self.numbers.find_entry(token.hash, |&other| other == number) {
            entry.remove();
        }
        *slot = None;
        self.free.push(number);
    }

    /// Whether some cell has state of a token.
    pub fn is_alive(&self, text: &str) -> bool {
        let hash = xxh3_64(text.as_bytes());
        let found =
            self.numbers.find(hash, |&number| self.get(number).is_some_and(|token| *token.text == *text));
        found.is_some_and(|&number| self.get(number).is_some_and(|token| token.knowers > 0))
    }

    /// How many tokens some cell has state of.
    pub fn len(&self) -> usize {
        self.alive
    }

    /// All tokens that some cell has state of, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Token> {
        self.entries.iter().flatten().filter(|token| token.knowers > 0)
    }

    /// The same with their numbers, from a number on.
    pub fn numbered_from(&self, first: u32) -> impl Iterator<Item = (u32, &Token)> {
        let entries = self.entries.get(first as usize..).unwrap_or_default();
        let numbered = (first..).zip(entries);
        numbered
            .filter_map(|(number, token)| Some((number, token.as_ref().filter(|token| token.knowers > 0)?)))
    }

    /// Gives back the memory of numbers at the end that stand for nothing. From then on small numbers are
    /// given first.
    pub fn compact(&mut self) {
        while self.entries.pop_if(|entry| entry.is_none()).is_some() {}
        self.entries.shrink_to_fit();
        let end = self.entries.len();
        self.free.retain(|number| (*number as usize) < end);
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        self.free.shrink_to_fit();
        let entries = &self.entries;
        self.numbers.shrink_to_fit(|&number| entries[number as usize].as_ref().map_or(0, |known| known.hash));
    }

    /// The first number that was never given, or not since the last compaction.
    pub(super) fn end(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_free_only_when_no_cell_holds_it() {
        let mut tokens = Tokens::default();
        let a = tokens.intern(1, "a");
        tokens.hold(a);
        tokens.hold(a);
        assert_eq!(tokens.intern(1, "a"), a);
        tokens.release(a);
        assert_eq!(tokens.intern(1, "a"), a);
        tokens.release(a);
        assert_eq!(tokens.intern(1, "b"), a);
    }

    #[test]
    fn a_token_is_gone_when_the_last_cell_forgets_it_though_its_number_is_held() {
        let mut tokens = Tokens::default();
        let a = tokens.intern(xxh3_64(b"a"), "a");
        for _ in 0..2 {
            tokens.hold(a);
            tokens.learn(a);
        }
        assert_eq!(tokens.forget(a), None);
        assert!(tokens.is_alive("a"));
        assert_eq!(tokens.forget(a).as_deref(), Some("a"));
        assert!(!tokens.is_alive("a"));
        assert_eq!((tokens.len(), tokens.iter().count()), (0, 0));
        assert_eq!(&*tokens.get(a).unwrap().text, "a");
    }

    #[test]
    fn a_compacted_dictionary_keeps_its_tokens_and_gives_small_numbers_first() {
        let mut tokens = Tokens::default();
        let names: Vec<String> = (0..100).map(|name| name.to_string()).collect();
        let numbers: Vec<u32> = names.iter().map(|name| tokens.intern_text(name)).collect();
        numbers.iter().for_each(|&number| tokens.hold(number));
        for (at, &number) in numbers.iter().enumerate() {
            if !matches!(at, 3 | 40) {
                tokens.release(number);
            }
        }
        tokens.compact();
        assert_eq!((tokens.entries.len(), tokens.free.len()), (41, 39));
        assert_eq!((tokens.intern_text("3"), tokens.intern_text("40")), (numbers[3], numbers[40]));
        assert_eq!(tokens.intern_text("new"), 0);
    }

    #[test]
    fn texts_with_one_hash_stay_two_tokens() {
        let mut tokens = Tokens::default();
        assert_ne!(tokens.intern(7, "a"), tokens.intern(7, "b"));
    }
}
