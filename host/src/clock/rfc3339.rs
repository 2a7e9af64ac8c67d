//! Times as text: `2026-03-01T12:00:10.123Z`.
//!
//! Not here: reading such texts, which belongs to the decoding of trades.
//!
//! Invariant: the text has [`LENGTH`] bytes for every time, since the years are bounded to four digits.

/// The bytes of every text.
pub const LENGTH: usize = 24;

/// `0000-01-01T00:00:00.000Z`: earlier times are written as this one.
pub const EARLIEST_MS: i64 = -62_167_219_200_000;

/// `9999-12-31T23:59:59.999Z`: later times are written as this one.
pub const LATEST_MS: i64 = 253_402_300_799_999;

const DAY_MS: i64 = 86_400_000;

/// Appends a time, given in unix milliseconds.
pub fn format_ms(ms: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&bytes(ms));
}

/// Gives a time, given in unix milliseconds, as a text of its own.
#[must_use]
pub fn text(ms: i64) -> String {
    bytes(ms).map(char::from).iter().collect()
}

/// Gives a time, given in unix milliseconds, as ASCII bytes.
#[must_use]
pub fn bytes(ms: i64) -> [u8; LENGTH] {
    let bounded_ms = ms.clamp(EARLIEST_MS, LATEST_MS);
    let (year, month, day) = date(bounded_ms.div_euclid(DAY_MS));
    let of_day = bounded_ms.rem_euclid(DAY_MS);
    let mut out = *b"0000-00-00T00:00:00.000Z";
    put(&mut out[0..4], year);
    put(&mut out[5..7], month);
    put(&mut out[8..10], day);
    put(&mut out[11..13], of_day / 3_600_000);
    put(&mut out[14..16], of_day / 60_000 % 60);
    put(&mut out[17..19], of_day / 1_000 % 60);
    put(&mut out[20..23], of_day % 1_000);
    out
}

/// Writes a number that is not negative into a field, with leading zeros.
fn put(field: &mut [u8], number: i64) {
    let mut rest = number.unsigned_abs();
    for slot in field.iter_mut().rev() {
        *slot = b"0123456789"[(rest % 10) as usize];
        rest /= 10;
    }
}

/// Gives year, month and day of the day with this number; day 0 is 1970-01-01.
///
/// This is `civil_from_days` of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms": years
/// begin in March, so that a leap day is the last one, and 400 years make an era of 146,097 days.
fn date(day_number: i64) -> (i64, i64, i64) {
    let from_march_0000 = day_number + 719_468;
    let era = from_march_0000.div_euclid(146_097);
    let of_era = from_march_0000.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leap(year: i64) -> bool {
        year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    }

    /// Counts years and months one by one from the year 0.
    fn counted(ms: i64) -> String {
        let mut days = (ms - EARLIEST_MS) / DAY_MS;
        let of_day = (ms - EARLIEST_MS) % DAY_MS;
        let mut year = 0;
        while days >= 365 + i64::from(leap(year)) {
            days -= 365 + i64::from(leap(year));
            year += 1;
        }
        let february = 28 + i64::from(leap(year));
        let mut month = 1;
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
        let (second, milli) = (of_day / 1_000 % 60, of_day % 1_000);
        let day = days + 1;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }

    #[test]
    fn known_times_are_written_as_they_should() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_772_366_410_123, "2026-03-01T12:00:10.123Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (EARLIEST_MS, "0000-01-01T00:00:00.000Z"),
            (LATEST_MS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(text(ms), expected);
        }
    }

    #[test]
    fn times_beyond_four_digits_of_year_are_bounded() {
        assert_eq!(text(i64::MIN), text(EARLIEST_MS));
        assert_eq!(text(i64::MAX), text(LATEST_MS));
    }

    #[test]
    fn days_of_all_years_are_those_that_counting_gives() {
        for day in (EARLIEST_MS / DAY_MS..=LATEST_MS / DAY_MS).step_by(397) {
            assert_eq!(text(day * DAY_MS), counted(day * DAY_MS));
        }
    }

    proptest! {
        #[test]
        fn every_time_is_the_one_that_counting_gives(ms in EARLIEST_MS..=LATEST_MS) {
            let mut out = b"at ".to_vec();
            format_ms(ms, &mut out);
            prop_assert_eq!(String::from_utf8(out), Ok(format!("at {}", counted(ms))));
        }
    }
}
