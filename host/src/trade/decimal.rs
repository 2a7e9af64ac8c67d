//! Decimal texts become whole billionths or the nearest float, and are judged by their exact value.
//!
//! The grammar: an optional sign, digits with at most one point and at least one digit, an optional exponent. No
//! spaces, separators, hexadecimals, `NaN` or infinities. `-0`, in any spelling, is no negative number and becomes 0.
//!
//! The work is linear in the length of the text, whatever its exponent.
//!
//! Invariant: [`Short`] and [`Long`] give the same answer for every text that both can read.

use std::borrow::Cow;
use std::str::from_utf8;

use super::Reason;
use super::block;

/// Native amounts from here on, in billionths, are out of range.
const NATIVE_LIMIT: u64 = 9_200_000_000_000_000_000;

/// How many decimal places a native amount keeps.
const NATIVE_PLACES: usize = 9;

/// The powers of ten that a `u64` holds.
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut index = 1;
    while index < powers.len() {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// The powers of ten that an `f64` holds exactly.
const FLOAT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// The largest integer below which every integer is an exact `f64`.
const EXACT_LIMIT: u64 = 1 << 53;

/// Texts up to this length go to the float parser of the standard library as they are.
const PLAIN_LEN: usize = 256;

/// A float is decided by its first 768 digits and by whether another one follows (the longest halfway case).
const DECIDING_DIGITS: usize = 800;

/// Reads an amount of the chain's coin as whole billionths, half to even.
pub(super) fn native(text: &[u8]) -> Result<i64, Reason> {
    match Short::read_all(text).and_then(Short::native) {
        Some(native) => Ok(native),
        None => Long::read(text).ok_or(Reason::BadNumber)?.native(),
    }
}

/// Reads the nearest float of a decimal whose exact value is below 10 to the power of `limit`.
pub(super) fn real(text: &[u8], limit: usize) -> Result<f64, Reason> {
    match Short::read_all(text).and_then(|short| short.real(limit)) {
        Some(real) => Ok(real),
        None => Long::read(text).ok_or(Reason::BadNumber)?.real(limit),
    }
}

/// A decimal of at most nineteen digits and perhaps a point, nothing else: nearly every one on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Short {
    mantissa: u64,
    places: usize,
}

impl Short {
    fn read_all(text: &[u8]) -> Option<Self> {
        let (short, end) = Self::read(text, 0)?;
        (end == text.len()).then_some(short)
    }

    /// Reads a decimal from `at` on and returns it with the position behind it.
    #[inline(always)]
    pub(super) fn read(bytes: &[u8], at: usize) -> Option<(Self, usize)> {
        let (whole, whole_len) = some_digits(bytes, at);
        let point = at + whole_len;
        if bytes.get(point) != Some(&b'.') {
            let short = Self { mantissa: whole, places: 0 };
            return (whole_len > 0).then_some((short, point));
        }
        let (fraction, places) = some_digits(bytes, point + 1);
        let digits = whole_len + places;
        if digits == 0 || digits >= POWERS.len() {
            return None;
        }
        let short = Self { mantissa: whole * POWERS[places] + fraction, places };
        Some((short, point + 1 + places))
    }

    /// Returns whole billionths; none where [`Long`] has to judge.
    #[inline(always)]
    pub(super) fn native(self) -> Option<i64> {
        let billionths = if self.places <= NATIVE_PLACES {
            self.mantissa.checked_mul(POWERS[NATIVE_PLACES - self.places])?
        } else {
            let unit = POWERS[self.places - NATIVE_PLACES];
            let whole = self.mantissa / unit;
            let rest = self.mantissa % unit;
            whole + u64::from(rest > unit / 2 || (rest == unit / 2 && whole % 2 == 1))
        };
        (billionths < NATIVE_LIMIT).then_some(billionths as i64)
    }

    /// Returns the nearest float below 10 to the power of `limit`; none where [`Long`] has to judge.
    ///
    /// An exact integer divided by an exact power of ten is rounded once, to the nearest float (Clinger, "How to read
    /// floating point numbers accurately", 1990).
    #[inline(always)]
    pub(super) fn real(self, limit: usize) -> Option<f64> {
        let too_large = POWERS.get(limit + self.places).is_some_and(|&power| self.mantissa >= power);
        if too_large || self.mantissa >= EXACT_LIMIT {
            return None;
        }
        Some(self.mantissa as f64 / FLOAT_POWERS[self.places])
    }
}

/// Reads up to sixteen digits from `at` on and returns their value and their number.
#[inline(always)]
fn some_digits(bytes: &[u8], at: usize) -> (u64, usize) {
    let (first, len) = word_of_digits(bytes, at);
    if len < block::WORD {
        return (first, len);
    }
    let (second, len) = word_of_digits(bytes, at + block::WORD);
    (first * POWERS[len] + second, block::WORD + len)
}

/// Reads up to eight digits from `at` on: neighbours are joined to pairs, then the four pairs at once.
#[inline(always)]
fn word_of_digits(bytes: &[u8], at: usize) -> (u64, usize) {
    let digits = block::load_word(bytes, at) ^ block::every_byte(b'0');
    // The carry out of a byte above nine may mark bytes above it, never below: the lowest mark is right.
    let above_nine = digits.wrapping_add(block::every_byte(0x76)) | digits;
    let len = (above_nine & block::every_byte(0x80)).trailing_zeros() as usize / 8;
    if len == 0 {
        return (0, 0);
    }
    // The digits move to the high end, so that the zeros shifted in are leading zeros.
    let digits = digits << (8 * (block::WORD - len));
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0xff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let high = ((pairs >> 16) & 0xff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    (low.wrapping_add(high) >> 32, len)
}

/// A decimal of any length, taken apart but not yet computed.
#[derive(Debug, Clone, Copy)]
struct Long<'a> {
    text: &'a [u8],
    negative: bool,
    /// Digits before and behind the point, from the first significant one on.
    digits: [&'a [u8]; 2],
    /// The power of ten of the first significant digit; meaningless where there is none.
    lead: i64,
}

impl<'a> Long<'a> {
    /// Takes a text apart; none where it is no decimal.
    fn read(text: &'a [u8]) -> Option<Self> {
        let (negative, unsigned) = match text.split_first()? {
            (b'-', rest) => (true, rest),
            (b'+', rest) => (false, rest),
            _ => (false, text),
        };
        let (whole, rest) = split_digits(unsigned);
        let (fraction, rest) = match rest.split_first() {
            Some((b'.', rest)) => split_digits(rest),
            _ => (&rest[..0], rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest.split_first() {
            None => 0,
            Some((b'e' | b'E', rest)) => read_exponent(rest)?,
            Some(_) => return None,
        };
        let significant = without_zeros(whole);
        let (digits, lead) = if significant.is_empty() {
            let small = without_zeros(fraction);
            ([small, &small[..0]], small.len() as i64 - fraction.len() as i64 - 1)
        } else {
            ([significant, fraction], significant.len() as i64 - 1)
        };
        Some(Self { text, negative, digits, lead: lead.saturating_add(exponent) })
    }

    fn digits(&self) -> impl Iterator<Item = u8> + 'a {
        let [whole, fraction] = self.digits;
        whole.iter().chain(fraction).copied()
    }

    /// Returns whether the value is zero, after refusing the negative ones.
    fn is_zero(&self) -> Result<bool, Reason> {
        let zero = self.digits[0].is_empty();
        if self.negative && !zero {
            return Err(Reason::BadNumber);
        }
        Ok(zero)
    }

    fn native(&self) -> Result<i64, Reason> {
        let places = NATIVE_PLACES as i64;
        if self.is_zero()? || self.lead < -places - 1 {
            return Ok(0);
        }
        if self.lead > places {
            return Err(Reason::OutOfRange);
        }
        let kept = (self.lead + places + 1) as usize;
        let mut digits = self.digits().map(|digit| u64::from(digit - b'0'));
        let whole = (0..kept).fold(0, |whole, _| whole * 10 + digits.next().unwrap_or(0));
        // By the exact value: what is below the limit stays below it, even where it is rounded up to it.
        if whole >= NATIVE_LIMIT {
            return Err(Reason::OutOfRange);
        }
        let next = digits.next().unwrap_or(0);
        let up = next > 5 || (next == 5 && (whole % 2 == 1 || digits.any(|digit| digit != 0)));
        Ok((whole + u64::from(up)) as i64)
    }

    fn real(&self, limit: usize) -> Result<f64, Reason> {
        if self.is_zero()? {
            return Ok(0.0);
        }
        if self.lead >= limit as i64 {
            return Err(Reason::OutOfRange);
        }
        let real = self.plain_text().parse().ok();
        real.ok_or(Reason::BadNumber)
    }

    /// Returns a text that the float parser reads right.
    ///
    /// That parser counts exponents to some hundred thousand only, so a text with as many zeros as its exponent takes
    /// away is too much for it: a long one is written anew with its deciding digits alone.
    fn plain_text(&self) -> Cow<'a, str> {
        if self.text.len() <= PLAIN_LEN {
            return String::from_utf8_lossy(self.text);
        }
        let mut plain: Vec<u8> = self.digits().take(DECIDING_DIGITS).collect();
        if self.digits().skip(DECIDING_DIGITS).any(|digit| digit != b'0') {
            plain.push(b'1');
        }
        let rest = plain.split_off(1);
        let (first, rest) = (from_utf8(&plain), from_utf8(&rest));
        let (first, rest) = (first.unwrap_or_default(), rest.unwrap_or_default());
        // Beyond these every value is 0 or infinite.
        let exponent = self.lead.clamp(-10_000, 10_000);
        Cow::Owned(format!("{first}.{rest}e{exponent}"))
    }
}

/// Splits the digits off that a text begins with.
fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at(len)
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    &digits[zeros..]
}

/// Reads an exponent; what a text in memory could never outweigh stays at the end of the range.
fn read_exponent(text: &[u8]) -> Option<i64> {
    let (negative, unsigned) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let (digits, rest) = split_digits(unsigned);
    if digits.is_empty() || !rest.is_empty() {
        return None;
    }
    let size = digits
        .iter()
        .fold(0_i64, |size, digit| size.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    Some(if negative { -size } else { size })
}

#[cfg(test)]
#[path = "decimal_tests.rs"]
mod tests;
