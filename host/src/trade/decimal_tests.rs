//! Decimals against oracles: schoolbook arithmetic on digit strings, and the float parser of the standard library.

use proptest::prelude::*;

use super::{native, real};
use crate::trade::Reason;

/// Whole billionths by schoolbook arithmetic: the digits are written out, cut and rounded as a string.
fn billionths(whole: &str, fraction: &str, exponent: i64) -> Result<i64, Reason> {
    let digits = format!("{whole}{fraction}");
    let point = whole.len() as i64 + exponent + 9;
    let cut = point.max(0) as usize;
    let zeros_before = "0".repeat(point.min(0).unsigned_abs() as usize);
    let written = format!("{zeros_before}{digits}");
    let padded = format!("{written:0<cut$}");
    let (kept, rest) = padded.split_at(cut);
    let kept = kept.trim_start_matches('0');
    if kept.len() > 19 {
        return Err(Reason::OutOfRange);
    }
    let kept: u128 = if kept.is_empty() { 0 } else { kept.parse().unwrap() };
    if kept >= 9_200_000_000_000_000_000 {
        return Err(Reason::OutOfRange);
    }
    let half = format!("{:0<1$}", "5", rest.len().max(1));
    let rest = if rest.is_empty() { "0" } else { rest };
    let up = rest > half.as_str() || (rest == half && kept % 2 == 1);
    Ok((kept + u128::from(up)) as i64)
}

fn parts() -> impl Strategy<Value = (String, String, Option<i64>)> {
    let digits = "(0{0,12}[0-9]{0,12}|[0-9]{0,30}|[0-9]{0,10}50{0,9}|9{0,20})";
    (digits, digits, proptest::option::of(-40_i64..40))
        .prop_filter("a digit", |(whole, fraction, _)| !whole.is_empty() || !fraction.is_empty())
}

fn written(whole: &str, fraction: &str, exponent: Option<i64>) -> String {
    let exponent = exponent.map_or(String::new(), |exponent| format!("e{exponent}"));
    format!("{whole}.{fraction}{exponent}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn native_amounts_are_exact_billionths_half_to_even((whole, fraction, exponent) in parts()) {
        let text = written(&whole, &fraction, exponent);
        let wanted = billionths(&whole, &fraction, exponent.unwrap_or(0));
        prop_assert_eq!(native(text.as_bytes()), wanted, "{}", text);
        if fraction.is_empty() && exponent.is_none() {
            prop_assert_eq!(native(whole.as_bytes()), wanted);
        }
    }

    #[test]
    fn floats_are_those_of_the_standard_library((whole, fraction, exponent) in parts()) {
        let text = written(&whole, &fraction, exponent);
        let wanted: f64 = text.parse().unwrap();
        match real(text.as_bytes(), 30) {
            Ok(found) => prop_assert_eq!(found.to_bits(), wanted.to_bits(), "{}", text),
            Err(reason) => {
                prop_assert_eq!(reason, Reason::OutOfRange);
                prop_assert!(wanted >= 1e30, "{}", text);
            }
        }
    }

    #[test]
    fn the_grammar_is_that_of_the_standard_library_without_words(text in "[-+0-9.eE]{1,12}|[ -~]{1,6}") {
        let is_word = text.bytes().any(|byte| byte.is_ascii_alphabetic() && byte != b'e' && byte != b'E');
        let wanted = text.parse::<f64>().ok().filter(|_| !is_word);
        match real(text.as_bytes(), 1000) {
            Ok(found) => prop_assert_eq!(Some(found.to_bits()), wanted.map(|wanted| (wanted + 0.0).to_bits())),
            // No number, a negative one, or one beyond the exponents that the limit allows.
            Err(Reason::BadNumber) => prop_assert!(wanted.is_none_or(|wanted| wanted <= 0.0)),
            Err(_) => prop_assert_eq!(wanted, Some(f64::INFINITY)),
        }
    }
}

#[test]
fn minus_zero_is_zero_and_every_other_negative_is_a_bad_number() {
    for text in ["-0", "-0.0", "-.0", "-0e9"] {
        assert_eq!(native(text.as_bytes()), Ok(0), "{text}");
        assert_eq!(real(text.as_bytes(), 15).map(f64::to_bits), Ok(0), "{text}");
    }
    for text in ["-1", "-1e-400", "-1e400", "-0.000000000000000001"] {
        assert_eq!(native(text.as_bytes()), Err(Reason::BadNumber), "{text}");
        assert_eq!(real(text.as_bytes(), 15), Err(Reason::BadNumber), "{text}");
    }
}

#[test]
fn limits_are_judged_by_the_exact_value() {
    let native_of = |text: &str| native(text.as_bytes());
    assert_eq!(native_of("9199999999.9999999999"), Ok(9_200_000_000_000_000_000));
    assert_eq!(native_of("9200000000"), Err(Reason::OutOfRange));
    assert_eq!(native_of("9.2e9"), Err(Reason::OutOfRange));
    let real_of = |text: &str| real(text.as_bytes(), 18);
    assert_eq!(real_of("999999999999999999"), Ok(1e18));
    assert_eq!(real_of("999999999999999999.99999999"), Ok(1e18));
    assert_eq!(real_of("1000000000000000000"), Err(Reason::OutOfRange));
    assert_eq!(real(b"999999999999999", 15), Ok(999_999_999_999_999.0));
    assert_eq!(real(b"1000000000000000", 15), Err(Reason::OutOfRange));
}

#[test]
fn halves_go_to_the_even_billionth() {
    for (text, wanted) in [
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("0.0000000025", 2),
        ("0.00000000250000000000000001", 3),
        ("0.00000000249999999999999999", 2),
        ("0.00000000005", 0),
    ] {
        assert_eq!(native(text.as_bytes()), Ok(wanted), "{text}");
    }
}

#[test]
fn long_texts_and_huge_exponents_are_read_right_and_in_time() {
    let zeros = "0".repeat(1_000_000);
    let nines = "9".repeat(1_000_000);
    for (text, wanted) in [
        (format!("0.{zeros}1e1000001"), Ok(1.0)),
        (format!("1{zeros}e-1000000"), Ok(1.0)),
        (format!("0.{nines}"), Ok(1.0)),
        (format!("1.{zeros}1"), Ok(1.0)),
        ("1e-999999999999999999999".to_owned(), Ok(0.0)),
        ("0e999999999999999999999".to_owned(), Ok(0.0)),
        ("1e999999999999999999999".to_owned(), Err(Reason::OutOfRange)),
        (nines.clone(), Err(Reason::OutOfRange)),
        (format!("{nines}x"), Err(Reason::BadNumber)),
    ] {
        assert_eq!(real(text.as_bytes(), 15), wanted);
    }
    let text = format!("0.{zeros}1e1000001");
    assert_eq!(native(text.as_bytes()), Ok(1_000_000_000));
    // Exactly between two floats but for a digit far behind.
    let halfway = format!("9007199254740993.{}", "0".repeat(900));
    assert_eq!(real(halfway.as_bytes(), 18), Ok(9_007_199_254_740_992.0));
    assert_eq!(real(format!("{halfway}1").as_bytes(), 18), Ok(9_007_199_254_740_994.0));
}
