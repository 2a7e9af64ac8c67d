//! Reads a trade written the way nearly all are: the eight fields in the order of the table, every value a string, no
//! white space or one space behind each colon and comma.
//!
//! The same as the rest of the scanner in a straight line: about a third of the instructions.
//!
//! Invariant: it accepts nothing that the scanner's general way would read otherwise; where it returns none, nothing has
//! happened and the general way reads the object from its brace.

use super::decimal::Short;
use super::fallback::{AMOUNT_LIMIT, MAX_ADDRESS_LEN, MAX_TX_HASH_LEN, PRICE_LIMIT};
use super::rows::Trade;
use super::{block, instant};

/// What the next trade is expected to look like: like the last one. A wrong guess costs time only.
#[derive(Debug, Default)]
pub(super) struct Habits {
    token_len: usize,
    wallet_len: usize,
    tx_hash_len: usize,
    /// The text of the last time and its value: trades of one block share it.
    time: Option<([u8; instant::SECONDS_LEN], i64)>,
}

/// Reads the trade whose object begins at `at` and returns it with the position behind its closing brace.
#[inline(always)]
pub(super) fn trade<'a>(bytes: &'a [u8], at: usize, habits: &mut Habits) -> Option<(Trade<'a>, usize)> {
    const COLON: usize = r#"{"Token":"#.len();
    if bytes.get(at + COLON) == Some(&b' ') {
        styled_trade::<true>(bytes, at, habits)
    } else {
        styled_trade::<false>(bytes, at, habits)
    }
}

#[inline(always)]
fn styled_trade<'a, const SPACED: bool>(
    bytes: &'a [u8],
    at: usize,
    habits: &mut Habits,
) -> Option<(Trade<'a>, usize)> {
    /// What stands between the text of a value and that of the next field's value.
    macro_rules! until {
        ($key:literal) => {
            if SPACED { concat!("\", \"", $key, "\": \"") } else { concat!("\",\"", $key, "\":\"") }
        };
    }
    let first = if SPACED { "{\"Token\": \"" } else { "{\"Token\":\"" };

    let mut line = Line { bytes, at };
    line.pass(first)?;
    let token = line.text(&mut habits.token_len, MAX_ADDRESS_LEN)?;
    line.pass(until!("Wallet"))?;
    let wallet = line.text(&mut habits.wallet_len, MAX_ADDRESS_LEN)?;
    line.pass(until!("SellBuy"))?;
    let side = line.side()?;
    line.pass(until!("NativeAmount"))?;
    let native = line.decimal()?.native()?;
    line.pass(until!("TokenAmount"))?;
    let amount = line.decimal()?.real(AMOUNT_LIMIT)?;
    line.pass(until!("PriceUsd"))?;
    let price = line.decimal()?.real(PRICE_LIMIT)?;
    line.pass(until!("TransTime"))?;
    let time_ms = line.time(&mut habits.time)?;
    line.pass(until!("TxHash"))?;
    let tx_hash = line.text(&mut habits.tx_hash_len, MAX_TX_HASH_LEN)?;
    line.pass("\"}")?;

    let trade = Trade { token, wallet, side, native, amount, price, time_ms, tx_hash };
    Some((trade, line.at))
}

/// A position in a message. Every value is read up to its closing quote, which what is passed next begins with.
struct Line<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Line<'a> {
    #[inline(always)]
    fn pass(&mut self, text: &'static str) -> Option<()> {
        let rest = self.bytes.get(self.at..)?;
        self.at += text.len();
        rest.starts_with(text.as_bytes()).then_some(())
    }

    #[inline(always)]
    fn text(&mut self, len: &mut usize, max_len: usize) -> Option<&'a [u8]> {
        // The guess has to end at a quote: a longer text would fit it for ever.
        let ends = self.bytes.get(self.at + *len) == Some(&b'"');
        if !ends || !block::is_plain(self.bytes, self.at, *len) {
            *len = block::string_end(self.bytes, self.at) - self.at;
        }
        let text = self.bytes.get(self.at..self.at + *len)?;
        self.at += *len;
        (!text.is_empty() && text.len() <= max_len).then_some(text)
    }

    /// Without a branch on the side: it is as good as random, and a wrong guess costs more than all of this.
    #[inline(always)]
    fn side(&mut self) -> Option<u8> {
        let word = block::load_word(self.bytes, self.at);
        let is_buy = word as u32 == u32::from_le_bytes(*b"buy\"");
        let is_sell = word as u32 == u32::from_le_bytes(*b"sell");
        self.at += 4 - usize::from(is_buy);
        (is_buy | is_sell).then_some(u8::from(is_buy))
    }

    #[inline(always)]
    fn decimal(&mut self) -> Option<Short> {
        let (short, end) = Short::read(self.bytes, self.at)?;
        self.at = end;
        Some(short)
    }

    #[inline(always)]
    fn time(&mut self, last: &mut Option<([u8; instant::SECONDS_LEN], i64)>) -> Option<i64> {
        let text = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += instant::SECONDS_LEN;
        if let Some((last, time_ms)) = last
            && last == text
        {
            return Some(*time_ms);
        }
        let time_ms = instant::read_seconds(text)?;
        *last = Some((*text, time_ms));
        Some(time_ms)
    }
}
