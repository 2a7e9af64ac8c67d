//! Figures for people: prices of any size, amounts, changes, times, sizes.
//!
//! The page and `aggregator top` write them alike. Invariant: no exponents, and every text of a price above zero
//! shows its first significant digits, however small it is.

/// Significant digits of a price.
const DIGITS: i32 = 5;

/// More places than this show nothing that anybody could read.
const MOST_PLACES: i32 = 24;

/// A price, with five significant digits.
pub fn price(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    let places = (DIGITS - 1 - magnitude).clamp(0, MOST_PLACES);
    format!("{value:.*}", places.unsigned_abs() as usize)
}

/// An amount: two places, with `k`, `M`, `B`, `T` for what is large.
pub fn amount(value: f64) -> String {
    let scales = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")];
    match scales.into_iter().find(|(scale, _)| value.abs() >= *scale) {
        Some((1e4, unit)) => format!("{:.2}{unit}", value / 1e3),
        Some((scale, unit)) => format!("{:.2}{unit}", value / scale),
        None => format!("{value:.2}"),
    }
}

/// A change in percent, with its sign.
pub fn percent(value: f64) -> String {
    if value == 0.0 {
        return "0.00 %".to_owned();
    }
    format!("{value:+.2} %")
}

/// A count, with its thousands apart.
pub fn count(value: u64) -> String {
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

/// A time in seconds, in the units that people would use.
pub fn span(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".to_owned();
    }
    let whole = seconds.max(0.0) as u64;
    match seconds {
        ..1.0 => format!("{:.0} ms", seconds.max(0.0) * 1e3),
        ..10.0 => format!("{seconds:.1} s"),
        ..60.0 => format!("{seconds:.0} s"),
        ..3_600.0 => format!("{} min {:02} s", whole / 60, whole % 60),
        ..86_400.0 => format!("{} h {:02} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// A short time in nanoseconds, with about three digits.
pub fn short_span(nanos: f64) -> String {
    if !nanos.is_finite() {
        return "–".to_owned();
    }
    let (value, unit) = match nanos {
        ..1e3 => return format!("{:.0} ns", nanos.max(0.0)),
        ..1e6 => (nanos / 1e3, "µs"),
        ..1e9 => (nanos / 1e6, "ms"),
        _ => (nanos / 1e9, "s"),
    };
    format!("{value:.*} {unit}", places(value))
}

/// A size of memory.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.*} {}", places(value).min(1), UNITS[unit])
}

/// A rate: whole where it is large, with one place where it is not.
pub fn rate(value: f64) -> String {
    if value >= 10.0 || value == 0.0 { count(value.round() as u64) } else { format!("{value:.1}") }
}

/// How many places show three digits of a value between 1 and 1000.
fn places(value: f64) -> usize {
    match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    }
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
        assert_eq!((rate(1234.4), rate(1.25), rate(0.0)), ("1\u{202f}234".into(), "1.2".into(), "0".into()));
    }

    #[test]
    fn times_and_sizes_have_the_units_that_people_use() {
        for (seconds, text) in [
            (0.25, "250 ms"),
            (2.34, "2.3 s"),
            (59.2, "59 s"),
            (125.0, "2 min 05 s"),
            (7_320.0, "2 h 02 min"),
            (180_000.0, "2 d 02 h"),
            (-1.0, "0 ms"),
            (f64::INFINITY, "–"),
        ] {
            assert_eq!(span(seconds), text);
        }
        for (nanos, text) in
            [(38.4, "38 ns"), (1_234.0, "1.23 µs"), (45_600_000.0, "45.6 ms"), (2e9, "2.00 s")]
        {
            assert_eq!(short_span(nanos), text);
        }
        for (size, text) in
            [(512, "0.5 KiB"), (86 << 20, "86.0 MiB"), (5 << 30, "5.0 GiB"), (999 << 20, "999 MiB")]
        {
            assert_eq!(bytes(size), text);
        }
    }
}
