//! Reads any message with `serde_json` and judges it element by element.
//!
//! Slow and complete: every rejection comes from here, and what the scanner reads is defined by what is read here.
//!
//! Invariant: rows and rejections of elements stand only when the message was read to its end; one that breaks off
//! leaves a single `not_json`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::rows::{Place, Rows, Trade};
use super::{Column, Message, Reason, Rejected, decimal, instant};

/// Brackets may be this deep in each other, the limit of `serde_json` for values it builds. It has none of its own for
/// values that it passes over.
const MAX_DEPTH: usize = 127;

/// The longest token and wallet in bytes.
pub(super) const MAX_ADDRESS_LEN: usize = 128;
/// The longest transaction hash in bytes.
pub(super) const MAX_TX_HASH_LEN: usize = 256;
/// Token amounts from 10 to this power on are out of range.
pub(super) const AMOUNT_LIMIT: usize = 18;
/// Prices from 10 to this power on are out of range.
pub(super) const PRICE_LIMIT: usize = 15;
/// Prices times amounts from here on are out of range, by the float product that is added up later.
const VOLUME_LIMIT: f64 = 1e15;

/// The raw texts of an element's fields, the last one of each.
type Fields<'a> = [Option<&'a str>; Column::COUNT];

/// Appends the trades of a message and its rejections.
pub(super) fn decode(message: &Message<'_>, rows: &mut Rows, rejected: &mut Vec<Rejected>) {
    let mark = rows.mark();
    let rejected_before = rejected.len();
    let read = each_element(message.payload, |element, text| {
        let judged = judge(message, element, text, rows);
        if let Err((reason, column)) = judged {
            rejected.push(Rejected { reason, column, whole: false, record: message.record, element });
        }
    });
    if read.is_some() {
        rows.commit(mark);
    } else {
        rows.undo(mark);
        rejected.truncate(rejected_before);
        rejected.push(Rejected::message(Reason::NotJson, message.record));
    }
}

/// Returns the raw JSON text of one element of a message: of the array's element, or of the single value as element 0.
#[must_use]
pub fn element(payload: &[u8], element: u32) -> Option<&[u8]> {
    let mut found = None;
    each_element(payload, |index, text| {
        if index == element {
            found = Some(text.as_bytes());
        }
    })?;
    found
}

/// Returns whether the product of price and amount is beyond the limit.
#[inline]
pub(super) fn is_volume_out_of_range(price: f64, amount: f64) -> bool {
    price * amount >= VOLUME_LIMIT
}

/// Hands out the elements of a message with their index; none where the message is not one JSON value. The elements
/// before the fault were handed out then.
fn each_element<'a>(payload: &'a [u8], mut take: impl FnMut(u32, &'a str)) -> Option<()> {
    let text = std::str::from_utf8(payload).ok()?;
    if is_too_deep(payload) {
        return None;
    }
    let mut json = Deserializer::from_str(text);
    if text.trim_ascii_start().starts_with('[') {
        json.deserialize_seq(Elements(take)).ok()?;
        return json.end().ok();
    }
    let value: &RawValue = serde_json::from_str(text).ok()?;
    take(0, value.get());
    Some(())
}

/// Follows the brackets outside of strings. Right for JSON only, but of anything else no depth is asked.
fn is_too_deep(payload: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut bytes = payload.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_string => {
                bytes.next();
            }
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// Visits the elements of an array.
struct Elements<F>(F);

impl<'de, F: FnMut(u32, &'de str)> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(element) = elements.next_element::<&RawValue>()? {
            (self.0)(index, element.get());
            index += 1;
        }
        Ok(())
    }
}

/// Visits the members of an object and keeps the known ones.
struct Members<'a>(Fields<'a>);

impl<'de> Visitor<'de> for Members<'de> {
    type Value = Fields<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Self::Value, A::Error> {
        while let Some((key, value)) = members.next_entry::<&RawValue, &RawValue>()? {
            // A key that is no text (half a surrogate pair) is unknown, like every other one.
            let key = string(key.get()).unwrap_or_default();
            if let Some(column) = Column::of_key(key.as_bytes()) {
                self.0[column as usize] = Some(value.get());
            }
        }
        Ok(self.0)
    }
}

/// Why an element is rejected, and by which of its fields.
type Verdict = (Reason, Option<Column>);

/// Judges one element and appends its trade.
fn judge(message: &Message<'_>, element: u32, text: &str, rows: &mut Rows) -> Result<(), Verdict> {
    let fields = fields(text).ok_or((Reason::WrongType, None))?;
    let at = |column: Column| move |reason| (reason, Some(column));
    let field = |column: Column| fields[column as usize];

    let token = address(field(Column::Token)).map_err(at(Column::Token))?;
    let wallet = address(field(Column::Wallet)).map_err(at(Column::Wallet))?;
    let side = side(field(Column::Side)).map_err(at(Column::Side))?;
    let native = number(field(Column::Native))
        .and_then(|text| decimal::native(text.as_bytes()))
        .map_err(at(Column::Native))?;
    let amount = number(field(Column::Amount))
        .and_then(|text| decimal::real(text.as_bytes(), AMOUNT_LIMIT))
        .map_err(at(Column::Amount))?;
    let price =
        number(field(Column::Price)).and_then(|text| price(&text, amount)).map_err(at(Column::Price))?;
    let time_ms = string_of(field(Column::Time))
        .and_then(|text| instant::read(text.as_bytes()).ok_or(Reason::BadTime))
        .map_err(at(Column::Time))?;
    let tx_hash = bounded(field(Column::TxHash), MAX_TX_HASH_LEN).map_err(at(Column::TxHash))?;
    if time_ms > message.newest_ms {
        return Err(at(Column::Time)(Reason::InFuture));
    }

    let trade = Trade {
        token: token.as_bytes(),
        wallet: wallet.as_bytes(),
        side,
        native,
        amount,
        price,
        time_ms,
        tx_hash: tx_hash.as_bytes(),
    };
    let place = Place { record: message.record, element };
    // The token is UTF-8 here, so only a batch of more than 4 GiB could fail.
    let pushed = rows.push(&trade, place, message.optional);
    pushed.then_some(()).ok_or(at(Column::Token)(Reason::OutOfRange))
}

/// Returns the fields of an element that is an object.
fn fields(text: &str) -> Option<Fields<'_>> {
    if !text.starts_with('{') {
        return None;
    }
    let mut json = Deserializer::from_str(text);
    json.deserialize_map(Members(Fields::default())).ok()
}

/// Reads a JSON string; none where it stands for no text.
fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// Returns the raw value of a field that is there and not empty.
fn present(raw: Option<&str>) -> Result<&str, Reason> {
    match raw {
        None | Some("null" | "\"\"") => Err(Reason::MissingField),
        Some(raw) => Ok(raw),
    }
}

fn string_of(raw: Option<&str>) -> Result<Cow<'_, str>, Reason> {
    string(present(raw)?).ok_or(Reason::WrongType)
}

/// Returns the text of a number, which may stand in a string or for itself.
fn number(raw: Option<&str>) -> Result<Cow<'_, str>, Reason> {
    let raw = present(raw)?;
    if raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Ok(Cow::Borrowed(raw));
    }
    string(raw).ok_or(Reason::WrongType)
}

fn bounded(raw: Option<&str>, max_len: usize) -> Result<Cow<'_, str>, Reason> {
    let text = string_of(raw)?;
    if text.len() > max_len {
        return Err(Reason::OutOfRange);
    }
    Ok(text)
}

fn address(raw: Option<&str>) -> Result<Cow<'_, str>, Reason> {
    bounded(raw, MAX_ADDRESS_LEN)
}

fn side(raw: Option<&str>) -> Result<u8, Reason> {
    match string_of(raw)?.as_ref() {
        "sell" => Ok(0),
        "buy" => Ok(1),
        _ => Err(Reason::BadSide),
    }
}

fn price(text: &str, amount: f64) -> Result<f64, Reason> {
    let price = decimal::real(text.as_bytes(), PRICE_LIMIT)?;
    if is_volume_out_of_range(price, amount) {
        return Err(Reason::OutOfRange);
    }
    Ok(price)
}
