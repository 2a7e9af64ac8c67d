//! Exact decimals as text and as the nearest float.
//!
//! Invariant: the text has every digit that is not zero and none that is not needed: `300`, `0.3`,
//! `-0.000000001`.

/// The largest integer below which every integer has a float of its own.
const EXACT: u128 = 1 << 53;
/// The powers of ten that are floats without rounding.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
const ZEROS: [u8; 40] = [b'0'; 40];

/// Appends `digits` x 10^-`places`.
pub(super) fn write(digits: i128, places: u32, out: &mut Vec<u8>) {
    if digits < 0 {
        out.push(b'-');
    }
    let size = digits.unsigned_abs();
    let mut buffer = itoa::Buffer::new();
    // Most values have 64 bits, for which there is a much faster way.
    let text = match u64::try_from(size) {
        Ok(short) => buffer.format(short),
        Err(_) => buffer.format(size),
    };
    place_point(text.as_bytes(), places as usize, out);
}

/// Appends digits with the point before the last `places` of them.
fn place_point(digits: &[u8], places: usize, out: &mut Vec<u8>) {
    let whole = digits.len().saturating_sub(places);
    let (whole, fraction) = digits.split_at(whole);
    let used = fraction.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    if used > 0 {
        out.push(b'.');
        let missing = places - fraction.len();
        out.extend_from_slice(ZEROS.get(..missing).unwrap_or(&ZEROS));
        out.extend_from_slice(fraction.get(..used).unwrap_or_default());
    }
}

/// Gives the float that is nearest to `digits` x 10^-`places`.
pub(super) fn nearest(digits: i128, places: u32) -> f64 {
    if let Some(power) = POWERS.get(places as usize)
        && digits.unsigned_abs() <= EXACT
    {
        // Both are exact, so that the division rounds once.
        return digits as f64 / power;
    }
    let mut text = Vec::with_capacity(48);
    write(digits, places, &mut text);
    std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

/// Gives `digits` x 10^-`places` with exactly `kept` places, half to even.
pub(super) fn rounded(digits: i128, places: u32, kept: u32) -> String {
    let size = digits.unsigned_abs();
    let kept_digits = match places.checked_sub(kept) {
        Some(dropped) => drop_places(size, dropped),
        None => size.saturating_mul(10_u128.saturating_pow(kept - places)),
    };
    let sign = if digits < 0 && kept_digits > 0 { "-" } else { "" };
    let width = kept as usize + 1;
    let mut text = format!("{sign}{kept_digits:0width$}");
    if kept > 0 {
        text.insert(text.len() - kept as usize, '.');
    }
    text
}

fn drop_places(size: u128, dropped: u32) -> u128 {
    let Some(unit) = 10_u128.checked_pow(dropped) else {
        return 0;
    };
    let (quotient, rest) = (size / unit, size % unit);
    let up = match rest.cmp(&(unit - rest)) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => unit > 1 && quotient % 2 == 1,
        std::cmp::Ordering::Greater => true,
    };
    quotient + u128::from(up)
}
