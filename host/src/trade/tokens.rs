//! The distinct tokens of one batch, numbered in the order of their first row.
//!
//! Lives as long as a batch; the numbers a plugin sees are given elsewhere, per shard.
//!
//! Invariant: the table holds exactly the numbers below `len`, each under the hash of its text. Equality is that of
//! the texts: the hash is not cryptographic, and two addresses with one hash must stay two tokens.

use std::str::from_utf8;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// The distinct tokens of a batch, with what is known of each.
#[derive(Debug, Default)]
pub struct Tokens {
    /// The texts of all tokens, one after the other.
    texts: String,
    entries: Vec<Entry>,
    /// Finds the number of a token by its hash.
    numbers: HashTable<u32>,
}

/// One token. All of it in half a cache line, since every row touches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    hash: u64,
    latest_ms: i64,
    start: u32,
    end: u32,
    rows: u32,
}

impl Tokens {
    /// Returns the number of distinct tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the address of a token.
    ///
    /// # Panics
    /// Panics, as do its siblings, when there is no such token.
    #[must_use]
    pub fn text(&self, token: u32) -> &str {
        let entry = &self.entries[token as usize];
        &self.texts[entry.start as usize..entry.end as usize]
    }

    /// Returns xxh3-64 (seed 0) of the address of a token.
    #[must_use]
    pub fn hash(&self, token: u32) -> u64 {
        self.entries[token as usize].hash
    }

    /// Returns how many rows a token has.
    #[must_use]
    pub fn rows(&self, token: u32) -> u32 {
        self.entries[token as usize].rows
    }

    /// Returns the largest event time of a token's rows in unix milliseconds.
    #[must_use]
    pub fn latest_ms(&self, token: u32) -> i64 {
        self.entries[token as usize].latest_ms
    }

    /// Removes all tokens and keeps the memory. Costs one byte of writing per slot of the table.
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.entries.clear();
        self.numbers.clear();
    }

    /// Returns the number of a token, a new one where it was not seen before; none where it is not UTF-8.
    #[inline]
    pub(super) fn intern(&mut self, text: &[u8]) -> Option<u32> {
        let hash = xxh3_64(text);
        let (entries, texts) = (&self.entries, self.texts.as_bytes());
        let known = self.numbers.find(hash, |&number| {
            let entry = &entries[number as usize];
            entry.hash == hash && texts[entry.start as usize..entry.end as usize] == *text
        });
        match known {
            Some(&number) => Some(number),
            None => self.add(hash, from_utf8(text).ok()?),
        }
    }

    /// Counts one row of a token.
    #[inline]
    pub(super) fn count(&mut self, token: u32, time_ms: i64) {
        let entry = &mut self.entries[token as usize];
        entry.rows += 1;
        entry.latest_ms = entry.latest_ms.max(time_ms);
    }

    /// Removes the tokens from number `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        while self.entries.len() > len
            && let Some(entry) = self.entries.pop()
        {
            let number = self.entries.len() as u32;
            let slot = self.numbers.find_entry(entry.hash, |&other| other == number);
            if let Ok(slot) = slot {
                slot.remove();
            }
            self.texts.truncate(entry.start as usize);
        }
    }

    #[cold]
    fn add(&mut self, hash: u64, text: &str) -> Option<u32> {
        // A batch holds less than 4 GiB of text; one that does not is refused rather than misread.
        let number = u32::try_from(self.entries.len()).ok()?;
        let start = u32::try_from(self.texts.len()).ok()?;
        let end = u32::try_from(self.texts.len() + text.len()).ok()?;
        self.texts.push_str(text);
        self.entries.push(Entry { hash, latest_ms: i64::MIN, start, end, rows: 0 });
        let entries = &self.entries;
        self.numbers.insert_unique(hash, number, |&other| entries[other as usize].hash);
        Some(number)
    }
}

/// Two batches have equal tokens when the same numbers have the same texts, rows and times.
impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts && self.entries == other.entries
    }
}

#[cfg(test)]
mod tests {
    use super::Tokens;

    #[test]
    fn a_token_has_one_number_until_it_is_taken_back() {
        let mut tokens = Tokens::default();
        let names: Vec<String> = (0..1000).map(|n| format!("token {n}")).collect();
        for _ in 0..2 {
            for (number, name) in names.iter().enumerate() {
                assert_eq!(tokens.intern(name.as_bytes()), Some(number as u32));
            }
        }
        tokens.truncate(10);
        assert_eq!(tokens.len(), 10);
        assert_eq!(tokens.intern(b"token 9"), Some(9));
        assert_eq!(tokens.intern(b"token 999"), Some(10));
        assert_eq!(tokens.text(10), "token 999");
        assert_eq!(tokens.intern(b"\xff"), None);
        tokens.clear();
        assert_eq!(tokens.intern(b"token 9"), Some(0));
    }

    #[test]
    fn rows_and_latest_times_are_counted_per_token() {
        let mut tokens = Tokens::default();
        for (name, time_ms) in [("a", 5), ("b", -7), ("a", 3)] {
            let token = tokens.intern(name.as_bytes()).unwrap();
            tokens.count(token, time_ms);
        }
        assert_eq!((tokens.rows(0), tokens.latest_ms(0)), (2, 5));
        assert_eq!((tokens.rows(1), tokens.latest_ms(1)), (1, -7));
    }
}
