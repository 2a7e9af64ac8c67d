//! Figures for people: prices of any size, amounts, changes.
//!
//! The script of the page writes the same forms. Invariant: no exponents, and every text of a price
//! above zero shows its first significant digits, however small it is.

/// Significant digits of a price.
const DIGITS: i32 = 5;

/// More places than this show nothing that anybody could read.
const MOST_PLACES: i32 = 24;

/// A price, with [`DIGITS`] significant digits.
pub(super) fn price(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    let places = (DIGITS - 1 - magnitude).clamp(0, MOST_PLACES);
    format!("{value:.*}", places.unsigned_abs() as usize)
}

/// An amount: two places, with `k`, `M`, `B`, `T` for what is large.
pub(super) fn amount(value: f64) -> String {
    let scales = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")];
    match scales.into_iter().find(|(scale, _)| value.abs() >= *scale) {
        Some((1e4, unit)) => format!("{:.2}{unit}", value / 1e3),
        Some((scale, unit)) => format!("{:.2}{unit}", value / scale),
        None => format!("{value:.2}"),
    }
}

/// A change in percent, with its sign.
pub(super) fn percent(value: f64) -> String {
    if value == 0.0 {
        return "0.00 %".to_owned();
    }
    format!("{value:+.2} %")
}

/// A count, with its thousands apart.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_of_any_size_show_their_first_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.000_001_234_5, "0.0000012345"),
            (1.234_567e-9, "0.0000000012346"),
            (0.5, "0.50000"),
            (151.239_4, "151.24"),
            (123_456_789.0, "123456789"),
        ] {
            assert_eq!(price(value), text);
        }
    }

    #[test]
    fn amounts_changes_and_counts_are_short() {
        assert_eq!(amount(12.345), "12.35");
        assert_eq!(amount(9_999.0), "9999.00");
        assert_eq!(amount(12_345.0), "12.35k");
        assert_eq!(amount(2_500_000.0), "2.50M");
        assert_eq!(percent(1.234), "+1.23 %");
        assert_eq!(percent(-0.5), "-0.50 %");
        assert_eq!(percent(0.0), "0.00 %");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(12), "12");
    }
}
