//! Numbers are exact where they can be, and shortest.

use proptest::prelude::*;

use crate::results::{decimal, json};

fn decimal_text(digits: i128, places: u32) -> String {
    let mut out = Vec::new();
    decimal::write(digits, places, &mut out);
    String::from_utf8(out).unwrap()
}

fn float_text(value: f64) -> String {
    let mut out = Vec::new();
    json::float(value, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn decimals_have_all_their_digits_and_no_others() {
    for (digits, places, expected) in [
        (0, 9, "0"),
        (1, 9, "0.000000001"),
        (300_000_000_000, 9, "300"),
        (300_000_000, 9, "0.3"),
        (-1_500_000_000, 9, "-1.5"),
        (-1, 1, "-0.1"),
        (1200, 0, "1200"),
        (1200, 2, "12"),
        (7, 38, "0.00000000000000000000000000000000000007"),
        (i128::MAX, 0, "170141183460469231731687303715884105727"),
        (i128::MIN, 38, "-1.70141183460469231731687303715884105728"),
        (i128::MIN, 0, "-170141183460469231731687303715884105728"),
    ] {
        assert_eq!(decimal_text(digits, places), expected);
    }
}

#[test]
fn floats_are_shortest_and_never_minus_zero() {
    for (value, expected) in [
        (0.0, "0"),
        (-0.0, "0"),
        (f64::NAN, "0"),
        (f64::INFINITY, "0"),
        (f64::NEG_INFINITY, "0"),
        (1.0, "1"),
        (-2.5, "-2.5"),
        (0.1 + 0.2, "0.30000000000000004"),
    ] {
        assert_eq!(float_text(value), expected);
    }
}

#[test]
fn rounding_goes_half_to_even() {
    for (digits, places, expected) in [
        (1_234_567_500, 9, "1.234568"),
        (1_234_566_500, 9, "1.234566"),
        (1_234_566_501, 9, "1.234567"),
        (-400, 9, "0.000000"),
        (-1_000, 9, "-0.000001"),
        (5, 0, "5.000000"),
        (12, 1, "1.200000"),
        (i128::MAX, 38, "1.701412"),
        (i128::MIN, 9, "-170141183460469231731687303715.884106"),
    ] {
        assert_eq!(decimal::rounded(digits, places, 6), expected);
    }
}

/// The digits and places of a decimal text without exponent.
fn read_back(text: &str, places: u32) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<width$}", width = places as usize).parse().unwrap()
}

proptest! {
    #[test]
    fn a_decimal_reads_back(digits in any::<i128>(), small in any::<i64>(), places in 0_u32..=38) {
        for digits in [digits, i128::from(small), digits >> 64] {
            let text = decimal_text(digits, places);
            prop_assert_eq!(read_back(&text, places), digits);
            let needless = text.contains('.') && text.ends_with('0');
            prop_assert!(!needless, "{}", text);
            prop_assert_eq!(decimal::nearest(digits, places), text.parse::<f64>().unwrap());
        }
    }

    #[test]
    fn a_float_reads_back(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        let read: f64 = float_text(value).parse().unwrap();
        prop_assert_eq!(read, if value.is_finite() { value } else { 0.0 });
    }
}
