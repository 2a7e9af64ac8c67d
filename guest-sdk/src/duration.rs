//! Durations as text in Go's form: `100ms`, `1m30s`, `1.5s`.
//!
//! Not for window lists, which allow more (see [`crate::windows`]). The invariant: a text means the
//! same here, in the host's configuration and in a plugin's.

use std::fmt;
use std::time::Duration;

/// What is wrong with a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationError {
    text: String,
    reason: &'static str,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, reason } = self;
        write!(f, "{text:?} is no duration: {reason}; write it like 100ms, 1m30s or 1.5s")
    }
}

impl std::error::Error for DurationError {}

/// Reads a duration that is not negative.
///
/// # Errors
/// Says in words what is wrong with the text.
///
/// ```
/// use std::time::Duration;
/// use aggregator_sdk::duration;
///
/// assert_eq!(duration::parse("1m30s"), Ok(Duration::from_secs(90)));
/// assert!(duration::parse("90").is_err());
/// ```
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let fail = |reason| DurationError { text: text.to_owned(), reason };
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    match rest {
        "" => return Err(fail("it is empty")),
        "0" => return Ok(Duration::ZERO),
        negative if negative.starts_with('-') => return Err(fail("it is negative")),
        _ => {}
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (part, tail) = part(rest).map_err(fail)?;
        nanos += part;
        rest = tail;
    }
    let nanos = i64::try_from(nanos).map_err(|_| fail("it is longer than 292 years"))?;
    Ok(Duration::from_nanos(nanos.unsigned_abs()))
}

/// Reads a duration in whole milliseconds.
///
/// # Errors
/// As [`parse`]; also where a fraction of a millisecond would be lost.
pub fn parse_ms(text: &str) -> Result<u64, DurationError> {
    let duration = parse(text)?;
    let fail = |reason| DurationError { text: text.to_owned(), reason };
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err(fail("it is not whole in milliseconds"));
    }
    u64::try_from(duration.as_millis()).map_err(|_| fail("it is too long"))
}

/// Reads one number with its unit; gives nanoseconds and what follows.
fn part(text: &str) -> Result<(u128, &str), &'static str> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err("a number is missing");
    }
    let unit_length = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_length);
    let nanos_per_unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err("the unit is missing"),
        _ => return Err("the unit is none of ns, us, ms, s, m, h"),
    };
    if whole.len() > 19 {
        return Err("the number is too large");
    }
    let number = whole.bytes().fold(0, |sum: u128, digit| sum * 10 + u128::from(digit - b'0'));
    // Digits below a nanosecond are cut, as in Go.
    let mut nanos = number * nanos_per_unit;
    let mut place = nanos_per_unit;
    for digit in fraction.bytes().take(13) {
        nanos += u128::from(digit - b'0') * place / 10;
        place /= 10;
    }
    Ok((nanos, rest))
}

/// Splits off the leading decimal digits.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse, parse_ms};

    #[test]
    fn every_unit_and_their_sums_are_read() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("5ns", 5),
            ("7us", 7_000),
            ("7µs", 7_000),
            ("7μs", 7_000),
            ("100ms", 100_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1m30s", 90_000_000_000),
            ("+2h", 7_200_000_000_000),
            ("1h1m1.001s", 3_661_001_000_000),
            ("1.0000000019s", 1_000_000_001),
            ("0.1h", 360_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_value() {
        for (text, words) in [
            ("", "it is empty"),
            ("90", "the unit is missing"),
            ("1m30", "the unit is missing"),
            ("-1s", "negative"),
            ("s", "a number is missing"),
            (".s", "a number is missing"),
            ("1d", "the unit is none of"),
            ("1 s", "the unit is none of"),
            ("1min", "the unit is none of"),
            ("99999999999999999999s", "the number is too large"),
            ("9999999999s", "longer than 292 years"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(words), "{error}");
            assert!(error.starts_with(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn milliseconds_are_whole() {
        assert_eq!(parse_ms("1m30s"), Ok(90_000));
        assert!(parse_ms("1.5ms").is_err());
        assert!(parse_ms("10us").is_err());
    }
}
