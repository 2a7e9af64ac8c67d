//! Decimal texts as whole billionths, exactly.
//!
//! Slow and obvious, for the oracle. The invariant: no float is used on the way.

use anyhow::{Context, Result, ensure};

/// Decimal places of the chain's coin.
pub const PLACES: usize = 9;

/// Reads a decimal as whole billionths, half to even. An exponent is understood, a sign is not.
///
/// # Errors
/// Fails where the text is no such decimal.
pub fn billionths(text: &str) -> Result<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().with_context(|| text.to_owned())?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    ensure!(!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()), "{text:?} is no decimal");
    // The value is `digits` x 10^shift billionths.
    let shift = exponent - fraction.len() as i64 + PLACES as i64;
    if shift >= 0 {
        let zeros = "0".repeat(usize::try_from(shift)?);
        return format!("{digits}{zeros}").parse().with_context(|| text.to_owned());
    }
    let dropped = usize::try_from(-shift)?;
    let digits = format!("{}{digits}", "0".repeat(dropped));
    let (kept, rest) = digits.split_at(digits.len() - dropped);
    let kept: i128 = format!("0{kept}").parse().with_context(|| text.to_owned())?;
    let half = format!("5{}", "0".repeat(dropped - 1));
    let up = rest > half.as_str() || (rest == half && kept % 2 == 1);
    Ok(kept + i128::from(up))
}

/// Writes billionths, which are not negative, as the shortest decimal.
pub fn text(billionths: i128) -> String {
    let unit = 10_i128.pow(PLACES as u32);
    let text = format!("{}.{:0PLACES$}", billionths / unit, billionths % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{billionths, text};

    #[test]
    fn decimals_are_read_half_to_even() {
        for (decimal, wanted) in [
            ("0", 0),
            ("1", 1_000_000_000),
            ("0.1", 100_000_000),
            ("12.5e-1", 1_250_000_000),
            ("1e3", 1_000_000_000_000),
            ("0.0000000005", 0),
            ("0.0000000015", 2),
            ("0.00000000250000001", 3),
            ("0.00000000049999", 0),
        ] {
            assert_eq!(billionths(decimal).unwrap(), wanted, "{decimal}");
        }
        for wrong in ["", ".", "-1", "NaN", "1e", "0x1"] {
            assert!(billionths(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn billionths_are_written_short() {
        assert_eq!(text(0), "0");
        assert_eq!(text(1_500_000_000), "1.5");
        assert_eq!(text(20_000_000_000), "20");
        assert_eq!(text(1), "0.000000001");
    }
}
