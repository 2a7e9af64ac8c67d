//! Reads messages in their usual form without building values: one object or an array of them, every field once, plain
//! strings and plain numbers, any order, any white space, unknown fields with plain values.
//!
//! It judges nothing. Whatever is not the usual form of an accepted trade is [`Unusual`], and the fallback decides.
//!
//! Invariant: what is accepted here is exactly JSON and exactly what the fallback makes of it. Two checks hold the rest
//! up: every byte outside of a string is matched, and a message with a byte beyond ASCII is checked as a whole.

use super::column::Column;
use super::decimal;
use super::fallback::{AMOUNT_LIMIT, MAX_ADDRESS_LEN, MAX_TX_HASH_LEN, PRICE_LIMIT, is_volume_out_of_range};
use super::rows::{Place, Rows, Trade};
use super::usual::{self, Habits};
use super::{Message, block, instant};

/// The message is left to the fallback.
#[derive(Debug)]
pub(super) struct Unusual;

/// Which key follows which, as seen last.
#[derive(Debug)]
pub(super) struct Order {
    /// The first key of an object.
    first: Column,
    /// For each column the one behind it.
    next: [Column; Column::COUNT],
    habits: Habits,
}

impl Default for Order {
    fn default() -> Self {
        let mut next = Column::ALL;
        next.rotate_left(1);
        Self { first: Column::Token, next, habits: Habits::default() }
    }
}

/// Appends the trades of a message, or none of them.
pub(super) fn decode(message: &Message<'_>, order: &mut Order, rows: &mut Rows) -> Result<(), Unusual> {
    let mark = rows.mark();
    let mut scanner = Scanner { message, bytes: message.payload, at: 0, ascii: true, order };
    match scanner.message(rows) {
        Some(()) => {
            rows.commit(mark);
            Ok(())
        }
        None => {
            rows.undo(mark);
            Err(Unusual)
        }
    }
}

/// A key as a block: the text behind its opening quote up to where its value begins.
#[derive(Clone, Copy)]
struct Lead {
    bytes: u128,
    mask: u128,
    len: usize,
}

impl Lead {
    const fn new(column: Column, end: &str) -> Self {
        let (name, end) = (column.wire_name().as_bytes(), end.as_bytes());
        let len = name.len() + end.len();
        let mut bytes = [0; block::LEN];
        let mut index = 0;
        while index < len {
            bytes[index] = if index < name.len() { name[index] } else { end[index - name.len()] };
            index += 1;
        }
        let mask = if len < block::LEN { block::low_bytes(len) } else { u128::MAX };
        Self { bytes: u128::from_le_bytes(bytes), mask, len }
    }

    const fn of_all(end: &str) -> [Self; Column::COUNT] {
        let mut leads = [Self::new(Column::Token, end); Column::COUNT];
        let mut index = 0;
        while index < Column::COUNT {
            leads[index] = Self::new(Column::ALL[index], end);
            index += 1;
        }
        leads
    }

    #[inline(always)]
    const fn begins(&self, block: u128) -> bool {
        (block ^ self.bytes) & self.mask == 0
    }
}

/// Keys with their string values as compact writers put them, and as those with a space behind the colon.
static COMPACT: [Lead; Column::COUNT] = Lead::of_all("\":\"");
static SPACED: [Lead; Column::COUNT] = Lead::of_all("\": \"");

struct Scanner<'a, 'm> {
    message: &'m Message<'a>,
    bytes: &'a [u8],
    /// The next byte to read.
    at: usize,
    /// Whether no string held a byte beyond ASCII so far.
    ascii: bool,
    order: &'m mut Order,
}

impl<'a> Scanner<'a, '_> {
    /// Every `None` in here means [`Unusual`].
    fn message(&mut self, rows: &mut Rows) -> Option<()> {
        match self.peek()? {
            b'{' => self.object(0, rows)?,
            b'[' => self.array(rows)?,
            _ => return None,
        }
        self.skip_space();
        if self.at != self.bytes.len() {
            return None;
        }
        (self.ascii || std::str::from_utf8(self.bytes).is_ok()).then_some(())
    }

    fn array(&mut self, rows: &mut Rows) -> Option<()> {
        self.at += 1;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        for element in 0.. {
            if self.peek()? != b'{' {
                return None;
            }
            self.object(element, rows)?;
            let end = self.peek()?;
            self.at += 1;
            match end {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
        None
    }

    /// Reads an object from its brace on and appends its trade.
    #[inline(never)]
    fn object(&mut self, element: u32, rows: &mut Rows) -> Option<()> {
        let habits = &mut self.order.habits;
        let trade = match usual::trade(self.bytes, self.at, habits) {
            Some((trade, behind)) => {
                self.at = behind;
                trade
            }
            None => self.any_trade()?,
        };
        let usual =
            trade.time_ms <= self.message.newest_ms && !is_volume_out_of_range(trade.price, trade.amount);
        let place = Place { record: self.message.record, element };
        (usual && rows.push(&trade, place, self.message.optional)).then_some(())
    }

    /// Reads an object whose fields may have any order, spelling and white space.
    #[inline(never)]
    fn any_trade(&mut self) -> Option<Trade<'a>> {
        self.at += 1;
        let mut trade = Trade {
            token: b"",
            wallet: b"",
            side: 0,
            native: 0,
            amount: 0.0,
            price: 0.0,
            time_ms: 0,
            tx_hash: b"",
        };
        let mut seen = 0_u8;
        let mut before = None;
        loop {
            if self.peek()? != b'"' {
                return None;
            }
            self.at += 1;
            let column = match self.expected_key(before) {
                Some(column) => {
                    self.text_field(column, &mut trade)?;
                    Some(column)
                }
                None => self.other_field(before, &mut trade)?,
            };
            if let Some(column) = column {
                let bit = 1 << column as u8;
                if seen & bit != 0 {
                    return None;
                }
                seen |= bit;
                before = Some(column);
            }
            let end = self.peek()?;
            self.at += 1;
            match end {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        (seen == u8::MAX).then_some(trade)
    }

    /// Reads the expected key and the opening quote of its value; nothing where something else stands there.
    #[inline(always)]
    fn expected_key(&mut self, before: Option<Column>) -> Option<Column> {
        let expected = match before {
            Some(before) => self.order.next[before as usize],
            None => self.order.first,
        };
        let block = block::load(self.bytes, self.at);
        for leads in [&COMPACT, &SPACED] {
            let lead = &leads[expected as usize];
            if lead.begins(block) {
                self.at += lead.len;
                return Some(expected);
            }
        }
        None
    }

    /// Reads a field whose key is not the expected one or not written as expected; no column where it is unknown.
    #[inline(never)]
    fn other_field(&mut self, before: Option<Column>, trade: &mut Trade<'a>) -> Option<Option<Column>> {
        let key = self.string()?;
        if self.peek()? != b':' {
            return None;
        }
        self.at += 1;
        let value = self.peek()?;
        let Some(column) = column_of(key) else {
            self.skip_value()?;
            return Some(None);
        };
        match before {
            Some(before) => self.order.next[before as usize] = column,
            None => self.order.first = column,
        }
        if value == b'"' {
            self.at += 1;
            self.text_field(column, trade)?;
        } else {
            self.bare_field(column, trade)?;
        }
        Some(Some(column))
    }

    /// Reads a string value from behind its opening quote on.
    #[inline(always)]
    fn text_field(&mut self, column: Column, trade: &mut Trade<'a>) -> Option<()> {
        match column {
            Column::Token => trade.token = self.text(MAX_ADDRESS_LEN)?,
            Column::Wallet => trade.wallet = self.text(MAX_ADDRESS_LEN)?,
            Column::TxHash => trade.tx_hash = self.text(MAX_TX_HASH_LEN)?,
            Column::Side => trade.side = self.side()?,
            Column::Time => trade.time_ms = instant::read(self.string()?)?,
            Column::Native => trade.native = decimal::native(self.string()?).ok()?,
            Column::Amount => trade.amount = decimal::real(self.string()?, AMOUNT_LIMIT).ok()?,
            Column::Price => trade.price = decimal::real(self.string()?, PRICE_LIMIT).ok()?,
        }
        Some(())
    }

    /// Reads a number that stands for itself.
    #[inline(never)]
    fn bare_field(&mut self, column: Column, trade: &mut Trade<'a>) -> Option<()> {
        match column {
            Column::Native => trade.native = decimal::native(self.json_number()?).ok()?,
            Column::Amount => {
                trade.amount = decimal::real(self.json_number()?, AMOUNT_LIMIT).ok()?;
            }
            Column::Price => trade.price = decimal::real(self.json_number()?, PRICE_LIMIT).ok()?,
            _ => return None,
        }
        Some(())
    }

    fn side(&mut self) -> Option<u8> {
        match self.string()? {
            b"sell" => Some(0),
            b"buy" => Some(1),
            _ => None,
        }
    }

    fn text(&mut self, max_len: usize) -> Option<&'a [u8]> {
        let text = self.string()?;
        (!text.is_empty() && text.len() <= max_len).then_some(text)
    }

    /// Reads a string without escapes from behind its opening quote to behind its closing one.
    #[inline(always)]
    fn string(&mut self) -> Option<&'a [u8]> {
        let end = block::string_end(self.bytes, self.at);
        if self.bytes.get(end) == Some(&b'"') {
            let text = &self.bytes[self.at..end];
            self.at = end + 1;
            return Some(text);
        }
        self.string_beyond_ascii(end)
    }

    /// Reads the rest of a string from its first byte that is not plain.
    #[inline(never)]
    fn string_beyond_ascii(&mut self, mut end: usize) -> Option<&'a [u8]> {
        while *self.bytes.get(end)? >= 0x80 {
            self.ascii = false;
            end = block::string_end(self.bytes, end + 1);
        }
        if *self.bytes.get(end)? != b'"' {
            return None;
        }
        let text = &self.bytes[self.at..end];
        self.at = end + 1;
        Some(text)
    }

    /// Passes over the value of an unknown key where it is plain.
    #[inline(never)]
    fn skip_value(&mut self) -> Option<()> {
        let rest = &self.bytes[self.at..];
        match rest.first()? {
            b'"' => {
                self.at += 1;
                self.string()?;
            }
            b'-' | b'0'..=b'9' => {
                self.json_number()?;
            }
            _ => {
                let words: [&[u8]; 3] = [b"null", b"true", b"false"];
                let word = words.into_iter().find(|word| rest.starts_with(word))?;
                self.at += word.len();
            }
        }
        Some(())
    }

    /// Reads a number by the grammar of JSON.
    fn json_number(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.at += usize::from(self.bytes.get(start) == Some(&b'-'));
        let whole = self.digits()?;
        if whole.len() > 1 && whole[0] == b'0' {
            return None;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Some(&self.bytes[start..self.at])
    }

    /// Reads at least one digit.
    fn digits(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += len;
        (len > 0).then_some(&rest[..len])
    }

    /// Returns the next byte that is no white space, without passing over it.
    #[inline(always)]
    fn peek(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        if byte > b' ' {
            return Some(byte);
        }
        self.skip_space();
        self.bytes.get(self.at).copied()
    }

    #[inline(always)]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }
}

/// Finds a key by its exact spelling before any other one.
fn column_of(key: &[u8]) -> Option<Column> {
    Column::ALL
        .into_iter()
        .find(|column| column.wire_name().as_bytes() == key)
        .or_else(|| Column::of_key(key))
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
