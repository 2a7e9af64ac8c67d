//! RFC 3339 texts become unix milliseconds.
//!
//! By the letter of RFC 3339: `T` and `Z` in either case, an offset from -23:59 to +23:59, a fraction of any length,
//! years 0000 to 9999, dates of the calendar only. A fraction is cut, never rounded, which is toward the past for
//! every year. A leap second (`:60`) is refused: unix time has no place for it.
//!
//! Invariant: the short way for `YYYY-MM-DDTHH:MM:SSZ` accepts nothing that the long way refuses.

use super::block;

/// The length of `YYYY-MM-DDTHH:MM:SSZ`.
pub(super) const SECONDS_LEN: usize = 20;

/// What stands between the digits of the first sixteen characters.
const FORM: u128 = u128::from_le_bytes(*b"0000-00-00T00:00");

/// The bytes of `FORM` that are no digits.
const SEPARATORS: u128 = {
    let mut form = FORM.to_le_bytes();
    let mut index = 0;
    while index < form.len() {
        form[index] = if form[index] == b'0' { 0 } else { 0xff };
        index += 1;
    }
    u128::from_le_bytes(form)
};

/// Days before each month in a year that begins with March.
const DAYS_BEFORE: [u16; 12] = [306, 337, 0, 31, 61, 92, 122, 153, 184, 214, 245, 275];

/// Reads an RFC 3339 time as unix milliseconds.
pub(super) fn read(text: &[u8]) -> Option<i64> {
    if let Some(seconds) = text.first_chunk::<SECONDS_LEN>()
        && text.len() == SECONDS_LEN
        && let Some(time_ms) = read_seconds(seconds)
    {
        return Some(time_ms);
    }
    read_any(text)
}

/// Reads `YYYY-MM-DDTHH:MM:SSZ`, the form of nearly every time on the wire.
#[inline(always)]
pub(super) fn read_seconds(text: &[u8; SECONDS_LEN]) -> Option<i64> {
    let digits = block::load(text, 0) ^ FORM;
    let above_nine = digits.wrapping_add(block::every(0x76)) | digits;
    let wrong = (above_nine & block::every(0x80)) | (digits & SEPARATORS);
    if wrong != 0 || text[16] != b':' || text[19] != b'Z' {
        return None;
    }
    // In each half every digit is joined with its right neighbour; a separator is 0, so nothing carries.
    let date = join_neighbours(digits as u64);
    let time = join_neighbours((digits >> 64) as u64);
    let second = two_digits([text[17], text[18]])?;
    unix_seconds(
        byte_of(date, 0) * 100 + byte_of(date, 2),
        byte_of(date, 5),
        byte_of(time, 0),
        [byte_of(time, 3), byte_of(time, 6), second],
    )
    .map(|seconds| seconds * 1000)
}

#[inline(always)]
const fn join_neighbours(digits: u64) -> u64 {
    digits.wrapping_mul(10).wrapping_add(digits >> 8)
}

#[inline(always)]
const fn byte_of(word: u64, index: u32) -> u32 {
    (word >> (8 * index)) as u32 & 0xff
}

#[inline(always)]
fn two_digits([tens, ones]: [u8; 2]) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then_some(u32::from(tens) * 10 + u32::from(ones))
}

/// Returns the unix seconds of a date and a time of day in UTC; none where the calendar has no such second.
#[inline(always)]
fn unix_seconds(year: u32, month: u32, day: u32, [hour, minute, second]: [u32; 3]) -> Option<i64> {
    if hour > 23 || minute > 59 || second > 59 || day == 0 || day > days_in(year, month) {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    Some(days * 86_400 + i64::from(hour * 3600 + minute * 60 + second))
}

#[inline(always)]
const fn days_in(year: u32, month: u32) -> u32 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 0,
    }
}

/// Returns the days from 1970-01-01 in the Gregorian calendar, by years that begin with March (so that a leap day is
/// their last) and are counted from 400 years before year 0, which keeps all of it positive.
#[inline(always)]
fn days_since_epoch(year: u32, month: u32, day: u32) -> i64 {
    const EPOCH: i64 = 719_468 + 146_097;
    let year = year + 400 - u32::from(month <= 2);
    let leap_days = year / 4 - year / 100 + year / 400;
    let before = u32::from(DAYS_BEFORE[month as usize - 1]);
    i64::from(year * 365 + leap_days + before + day - 1) - EPOCH
}

fn read_any(text: &[u8]) -> Option<i64> {
    let (instant, zone) = text.split_first_chunk::<19>()?;
    let number = |at: usize| two_digits([instant[at], instant[at + 1]]);
    let separators = [4, 7, 13, 16].map(|at| instant[at]);
    if separators != *b"--::" || !instant[10].eq_ignore_ascii_case(&b'T') {
        return None;
    }
    let seconds = unix_seconds(
        number(0)? * 100 + number(2)?,
        number(5)?,
        number(8)?,
        [number(11)?, number(14)?, number(17)?],
    )?;
    let (millis, zone) = read_fraction(zone)?;
    Some((seconds - read_offset(zone)?) * 1000 + millis)
}

/// Splits an optional fraction off and cuts it to milliseconds.
fn read_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', rest)) = text.split_first() else {
        return Some((0, text));
    };
    let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, zone) = rest.split_at(len);
    if digits.is_empty() {
        return None;
    }
    let padded = digits.iter().chain(b"000").take(3);
    let millis = padded.fold(0, |millis, digit| millis * 10 + i64::from(digit - b'0'));
    Some((millis, zone))
}

/// Reads `Z` or `+HH:MM` as seconds east of UTC.
fn read_offset(zone: &[u8]) -> Option<i64> {
    match *zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two_digits([h1, h2])?, two_digits([m1, m2])?);
            let seconds = i64::from(hours * 3600 + minutes * 60);
            let valid = hours <= 23 && minutes <= 59;
            valid.then_some(if sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "instant_tests.rs"]
mod tests;
