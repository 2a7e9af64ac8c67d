//! Times as texts, and the wall clock for tests that run on it.
//!
//! The invariant: the calendar is computed here in its own way, so that the host's own code is checked by it.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

const DAY_MS: i64 = 86_400_000;

/// The wall clock in unix milliseconds.
#[expect(clippy::disallowed_methods, reason = "the one home of the wall clock in this crate")]
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Writes a time as `2026-03-01T12:00:00.000Z`.
pub fn rfc3339_ms(time_ms: i64) -> String {
    let (year, month, day) = date(time_ms.div_euclid(DAY_MS));
    let in_day_ms = time_ms.rem_euclid(DAY_MS);
    let (hour, minute) = (in_day_ms / 3_600_000, in_day_ms / 60_000 % 60);
    let (second, ms) = (in_day_ms / 1000 % 60, in_day_ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Writes a time as `2026-03-01T12:00:00Z`, with milliseconds where it has some.
pub fn rfc3339(time_ms: i64) -> String {
    let text = rfc3339_ms(time_ms);
    text.strip_suffix(".000Z").map_or(text.clone(), |whole| format!("{whole}Z"))
}

/// Reads a time as [`rfc3339_ms`] writes it.
///
/// # Errors
/// Fails where the text is not of this form.
pub fn parse_ms(text: &str) -> Result<i64> {
    let part = |from: usize, to: usize| {
        let digits = text.get(from..to).with_context(|| format!("{text} is too short"))?;
        digits.parse::<i64>().with_context(|| format!("{text} has {digits:?}"))
    };
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let mut days = (1970..year).map(days_of_year).sum::<i64>() + day - 1;
    days += months(year).iter().take(month as usize - 1).sum::<i64>();
    let seconds = (part(11, 13)? * 60 + part(14, 16)?) * 60 + part(17, 19)?;
    let ms = if text.as_bytes().get(19) == Some(&b'.') { part(20, 23)? } else { 0 };
    ensure!(text.ends_with('Z'), "{text} is not in UTC");
    Ok(days * DAY_MS + seconds * 1000 + ms)
}

/// Counts the days off year by year and month by month: slow and obvious.
fn date(mut days: i64) -> (i64, i64, i64) {
    let mut year = 1970;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    for length in months(year) {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// The lengths of a year's months in days.
fn months(year: i64) -> [i64; 12] {
    let february = days_of_year(year) - 337;
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

fn days_of_year(year: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::{parse_ms, rfc3339, rfc3339_ms};

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        assert_eq!(rfc3339_ms(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339_ms(1_772_366_399_999), "2026-03-01T11:59:59.999Z");
        assert_eq!(rfc3339(1_772_366_400_000), "2026-03-01T12:00:00Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_735_689_599_000), "2024-12-31T23:59:59Z");
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for time_ms in [0, 951_782_400_000, 1_772_366_399_999, 1_735_689_599_001] {
            assert_eq!(parse_ms(&rfc3339_ms(time_ms)).unwrap(), time_ms);
            assert_eq!(parse_ms(&rfc3339(time_ms)).unwrap(), time_ms);
        }
        assert!(parse_ms("2026-03-01T12:00:00").is_err());
    }
}
