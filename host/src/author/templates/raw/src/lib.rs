//! {{name}}: the contract itself, for what is no window. This one keeps how far a token's price is below the
//! highest that it ever had; a token that does not trade for a day is forgotten. Change it.
//!
//! The state of a token is one piece, and a piece knows in which generation it changed: that is all that
//! checkpoints, rebalances and swaps need.

use std::collections::{BTreeMap, BTreeSet};

use aggregator_sdk::contract::{
    Batch, Description, Entries, NewToken, OptionalColumns, Page, Removals, Settings, Table,
};
use aggregator_sdk::field::{Declared, Rows, described};
use aggregator_sdk::{Plugin, Trade, export_plugin, fault, float, trades};

const NAME: &str = "{{name}}";
const STATE_VERSION: u32 = 1;
const FIELDS: &[Declared] = &[float("highest_price"), float("price"), float("below_highest_percent")];
/// How long a token is kept that does not trade.
const HORIZON_MS: i64 = 24 * 3_600_000;

/// What is known of one token.
struct Token {
    highest: f64,
    price: f64,
    /// When it traded last; none has been taken yet where it is the smallest number.
    last_ms: i64,
    /// The generation of its last change.
    changed: u32,
}

impl Token {
    /// A token that has not traded.
    fn new() -> Self {
        Self { highest: 0.0, price: 0.0, last_ms: i64::MIN, changed: 0 }
    }
}

/// The plugin's state: everything that one shard knows.
pub struct {{type}} {
    tokens: BTreeMap<u32, Token>,
    /// Tokens whose row changed since it was given.
    dirty: BTreeSet<u32>,
    /// When tokens are forgotten unless they trade, with the token.
    ends: BTreeSet<(i64, u32)>,
    /// Tokens that were dropped, each with the generation in which it was.
    removed: Vec<(u32, u32)>,
    /// Rises with every export; stamps changes.
    generation: u32,
    clock_ms: i64,
}

impl {{type}} {
    fn introduce(&mut self, new_tokens: &[NewToken]) {
        for token in new_tokens {
            if !self.tokens.contains_key(&token.id) {
                self.put(token.id, Token::new());
            }
        }
    }

    /// Puts a state in the place of a token's own.
    fn put(&mut self, number: u32, state: Token) {
        if let Some(old) = self.tokens.get(&number) {
            self.ends.remove(&(old.last_ms, number));
        }
        self.ends.insert((state.last_ms, number));
        self.tokens.insert(number, Token { changed: self.generation, ..state });
        self.dirty.insert(number);
    }

    fn add(&mut self, number: u32, trade: &Trade) {
        let Some(token) = self.tokens.get_mut(&number) else { return };
        if trade.time_ms <= self.clock_ms.saturating_sub(HORIZON_MS) {
            return;
        }
        if token.last_ms.saturating_add(HORIZON_MS) <= trade.time_ms {
            // It was to be forgotten by then, whether a flush came between or not. (A trade that comes more than a day
            // late still finds what came before it.)
            token.highest = 0.0;
        }
        token.highest = token.highest.max(trade.price);
        // A late trade does not change the present price.
        if trade.time_ms >= token.last_ms {
            self.ends.remove(&(token.last_ms, number));
            (token.price, token.last_ms) = (trade.price, trade.time_ms);
            self.ends.insert((token.last_ms, number));
        }
        token.changed = self.generation;
        self.dirty.insert(number);
    }

    fn remove(&mut self, number: u32) {
        if let Some(token) = self.tokens.remove(&number) {
            self.ends.remove(&(token.last_ms, number));
            self.dirty.remove(&number);
            self.removed.push((self.generation, number));
        }
    }
}

impl Plugin for {{type}} {
    fn describe() -> Description {
        Description {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state_version: STATE_VERSION,
            columns: OptionalColumns::empty(),
            result_key: NAME.to_owned(),
            fields: described(FIELDS),
            gauges: Vec::new(),
            counters: Vec::new(),
        }
    }

    fn configure(_json: &str) -> Result<(Self, Settings), String> {
        let plugin = Self {
            tokens: BTreeMap::new(),
            dirty: BTreeSet::new(),
            ends: BTreeSet::new(),
            removed: Vec::new(),
            generation: 1,
            clock_ms: i64::MIN,
        };
        let groups = vec!["now".to_owned()];
        Ok((plugin, Settings { groups, horizon_ms: HORIZON_MS as u64, step_ms: 1_000 }))
    }

    fn process(&mut self, batch: &Batch) {
        self.introduce(&batch.new_tokens);
        for (row, (token, trade)) in trades(batch).enumerate() {
            // So that a panic names the trade that kills.
            fault::at_row(row as u32);
            self.add(token, &trade);
        }
        fault::clear();
    }

    fn flush(&mut self, clock_ms: i64, max_rows: u32) -> Table {
        self.clock_ms = self.clock_ms.max(clock_ms);
        let ended_ms = self.clock_ms.saturating_sub(HORIZON_MS);
        let ended = self.ends.iter().take_while(|(last_ms, _)| *last_ms <= ended_ms);
        self.dirty.extend(ended.map(|(_, token)| token));

        let mut table = Table::default();
        let mut rows = Rows::new(FIELDS, 1);
        while table.tokens.len() < max_rows as usize
            && let Some(number) = self.dirty.pop_first()
        {
            let Some(token) = self.tokens.get(&number) else { continue };
            table.tokens.push(number);
            rows.begin_row();
            if token.last_ms <= ended_ms {
                // A forgotten token leaves with a row of zeros.
                self.remove(number);
                table.forgotten.push(number);
                continue;
            }
            let mut row = rows.group(0);
            row.float(token.highest);
            row.float(token.price);
            row.float((token.highest - token.price) / token.highest * 100.0);
        }
        table.columns = rows.finish();
        table.more = !self.dirty.is_empty();
        table
    }

    fn touch(&mut self, tokens: Option<&[u32]>) {
        match tokens {
            None => self.dirty.extend(self.tokens.keys()),
            Some(tokens) => self.dirty.extend(tokens.iter().filter(|token| self.tokens.contains_key(token))),
        }
    }

    fn export_state(&mut self, since: u64, cursor: u64, max_bytes: u32) -> Page {
        // The cursor holds the generation that the export closed, and the first token of the page.
        let (closed, first) = match cursor {
            0 => {
                self.generation += 1;
                (self.generation - 1, 0)
            }
            _ => ((cursor >> 32) as u32, cursor as u32),
        };
        let mut page = Page { generation: u64::from(closed), ..Page::default() };
        if cursor == 0 && since > 0 {
            for &(generation, token) in &self.removed {
                if u64::from(generation) > since && !self.tokens.contains_key(&token) {
                    page.removed.tokens.push(token);
                    page.removed.slots.push(0);
                }
            }
        }
        for (&number, token) in self.tokens.range(first..) {
            if u64::from(token.changed) <= since {
                continue;
            }
            if page.entries.bytes.len() >= max_bytes.max(1) as usize {
                page.next = Some(u64::from(closed) << 32 | u64::from(number));
                break;
            }
            let bytes = &mut page.entries.bytes;
            bytes.extend_from_slice(&token.highest.to_le_bytes());
            bytes.extend_from_slice(&token.price.to_le_bytes());
            bytes.extend_from_slice(&token.last_ms.to_le_bytes());
            page.entries.ends.push(bytes.len() as u32);
            page.entries.tokens.push(number);
            page.entries.slots.push(0);
        }
        page
    }

    fn trim(&mut self, generation: u64) {
        self.removed.retain(|(removed, _)| u64::from(*removed) > generation);
    }

    fn import_state(
        &mut self,
        state_version: u32,
        new_tokens: &[NewToken],
        entries: &Entries,
        removed: &Removals,
    ) -> Result<(), String> {
        if state_version != STATE_VERSION {
            return Err(format!("{NAME} reads state of version {STATE_VERSION}, not of {state_version}"));
        }
        let (pieces, rest) = entries.bytes.as_chunks::<24>();
        if !rest.is_empty() || pieces.len() != entries.tokens.len() {
            return Err("a piece of state has another length".to_owned());
        }
        self.introduce(new_tokens);
        for (&number, piece) in entries.tokens.iter().zip(pieces) {
            let (words, _) = piece.as_chunks::<8>();
            let last_ms = i64::from_le_bytes(words[2]);
            let (highest, price) = (f64::from_le_bytes(words[0]), f64::from_le_bytes(words[1]));
            self.put(number, Token { highest, price, last_ms, changed: 0 });
        }
        for &number in &removed.tokens {
            // Not dropped here: the host waits for its last row.
            if self.tokens.contains_key(&number) {
                self.put(number, Token::new());
            }
        }
        Ok(())
    }

    fn forget(&mut self, tokens: &[u32]) {
        for &token in tokens {
            self.remove(token);
        }
    }
}

export_plugin!({{type}});
