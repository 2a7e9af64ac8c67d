//! Times against an oracle that counts the days of the calendar one year and one month at a time.

use proptest::prelude::*;

use super::read;

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_of(year: i64) -> i64 {
    (1..=12).map(|month| days_in(year, month)).sum()
}

fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let years: i64 = (1970..year).map(days_of).sum::<i64>() - (year..1970).map(days_of).sum::<i64>();
    years + (1..month).map(|month| days_in(year, month)).sum::<i64>() + day - 1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn times_are_those_of_the_calendar(
        (year, month, day) in (0_i64..10_000, 0_i64..14, 0_i64..33),
        (hour, minute, second) in (0_i64..25, 0_i64..61, 0_i64..61),
        fraction in "(\\.[0-9]{0,12})?",
        (letter_t, zone) in ("[Tt]", "[Zz]|[+-][01][0-9]:[0-5][0-9]|[+-]2[0-4]:[5-6][0-9]"),
    ) {
        let text = format!(
            "{year:04}-{month:02}-{day:02}{letter_t}{hour:02}:{minute:02}:{second:02}{fraction}{zone}"
        );
        let (offset, zone_valid) = if zone.len() == 1 {
            (0, true)
        } else {
            let hours: i64 = zone[1..3].parse().unwrap();
            let minutes: i64 = zone[4..6].parse().unwrap();
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            (sign * (hours * 60 + minutes) * 60, hours < 24 && minutes < 60)
        };
        let valid = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && day <= days_in(year, month)
            && hour < 24
            && minute < 60
            && second < 60
            && fraction != "."
            && zone_valid;
        let wanted = valid.then(|| {
            let millis: i64 = format!("{:0<3.3}", fraction.trim_start_matches('.')).parse().unwrap();
            let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
            (seconds - offset) * 1000 + millis
        });
        prop_assert_eq!(read(text.as_bytes()), wanted, "{}", text);
    }

    #[test]
    fn a_time_with_one_wrong_byte_is_no_time(at in 0_usize..20, byte in any::<u8>()) {
        let mut text = *b"2026-03-01T12:00:00Z";
        let right = text[at];
        text[at] = byte;
        let fits = byte.eq_ignore_ascii_case(&right) || (byte.is_ascii_digit() && right.is_ascii_digit());
        prop_assert!(read(&text).is_none() || fits);
    }
}

#[test]
fn texts_beside_rfc_3339_are_no_times() {
    for text in [
        "",
        "2026-03-01 12:00:00Z",
        "2026-03-01T12:00:00",
        "2026-03-01T12:00Z",
        "2026-03-01T12:00:00,5Z",
        "2026-03-01T12:00:00+0800",
        "2026-03-01T12:00:00+08",
        "2026-03-01T12:00:00ZZ",
        "2026-03-01T12:00:60Z",
        "2026-02-29T12:00:00Z",
        "1772366400",
        "+026-03-01T12:00:00Z",
    ] {
        assert_eq!(read(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn fractions_are_cut_toward_the_past() {
    assert_eq!(read(b"2026-03-01T11:59:59.9999999Z"), Some(1_772_366_399_999));
    assert_eq!(read(b"1969-12-31T23:59:59.0009Z"), Some(-1000));
    assert_eq!(read(b"1969-12-31T23:59:59.999999-00:00"), Some(-1));
}
