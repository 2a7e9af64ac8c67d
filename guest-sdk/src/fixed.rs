//! Sums of floats that are exact and free of order: 128-bit fixed point.
//!
//! Not a number type for formulas; derived values are computed in `f64` at output. The invariant: a
//! float is rounded once, on entry, and never again, so what entered a sum is what leaves it.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bits behind the binary point.
const FRACTION_BITS: i32 = 48;

/// Bits of an `f64`'s stored mantissa.
const MANTISSA_BITS: u32 = 52;

/// A sum of floats as a 128-bit integer of 2^-48ths.
///
/// Holds magnitudes up to 6e23; a float beyond that saturates and one that is not a number counts as 0.
/// Sums wrap instead of failing, which the contract's bounds on trades keep out of reach.
///
/// ```
/// use aggregator_sdk::Fixed;
///
/// let sum: Fixed = [0.1, 1e15, -1e15].into_iter().map(Fixed::from).sum();
/// assert_eq!(sum, Fixed::from(0.1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fixed(i128);

impl Fixed {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Takes a number of 2^-48ths, for packing.
    #[must_use]
    pub const fn from_bits(bits: i128) -> Self {
        Self(bits)
    }

    /// Gives the number of 2^-48ths, for packing.
    #[must_use]
    pub const fn to_bits(self) -> i128 {
        self.0
    }

    /// Gives the nearest float.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        // The conversion rounds once to the nearest even; the scale is a power of two, thus exact.
        self.0 as f64 * (1.0 / (1u64 << FRACTION_BITS) as f64)
    }

    /// Gives `self / divisor` as a float, and 0 where the divisor is 0.
    #[must_use]
    pub fn ratio(self, divisor: Self) -> f64 {
        if divisor.0 == 0 {
            return 0.0;
        }
        // Both carry the same scale, which cancels.
        self.0 as f64 / divisor.0 as f64
    }
}

impl From<f64> for Fixed {
    /// Rounds half to even.
    #[inline]
    fn from(value: f64) -> Self {
        let bits = value.to_bits();
        let exponent = ((bits >> MANTISSA_BITS) & 0x7ff) as i32;
        let fraction = bits & ((1 << MANTISSA_BITS) - 1);
        // A subnormal lies below half of the smallest step, as everything beyond a shift of 54 does.
        let mantissa = fraction | (1 << MANTISSA_BITS);
        let shift = exponent - 1023 - MANTISSA_BITS as i32 + FRACTION_BITS;
        // In words of 64 bits: a component calls a function for each shift of 128.
        let (high, low) = match shift {
            ..-54 => (0, 0),
            -54..0 => {
                let kept = mantissa >> -shift;
                let rest = mantissa & ((1 << -shift) - 1);
                let half = 1 << (-shift - 1);
                (0, kept + u64::from(rest > half || (rest == half && kept & 1 == 1)))
            }
            0 => (0, mantissa),
            1..64 => (mantissa >> (64 - shift), mantissa << shift),
            64..=74 => (mantissa << (shift - 64), 0),
            _ if value.is_nan() => (0, 0),
            _ => (i64::MAX as u64, u64::MAX),
        };
        let magnitude = (u128::from(high) << 64 | u128::from(low)).cast_signed();
        Self(if value.is_sign_negative() { -magnitude } else { magnitude })
    }
}

impl Add for Fixed {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

impl AddAssign for Fixed {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl AddAssign<f64> for Fixed {
    #[inline]
    fn add_assign(&mut self, value: f64) {
        *self += Self::from(value);
    }
}

impl Sum for Fixed {
    fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
        values.fold(Self::ZERO, Add::add)
    }
}

// Two words, since MessagePack knows no 128-bit integer.
impl Serialize for Fixed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ((self.0 >> 64) as i64, self.0 as u64).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fixed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (high, low) = <(i64, u64)>::deserialize(deserializer)?;
        Ok(Self(i128::from(high) << 64 | i128::from(low)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Fixed;

    const STEP: f64 = 1.0 / (1u64 << 48) as f64;

    #[test]
    fn whole_steps_are_exact() {
        assert_eq!(Fixed::from(0.0), Fixed::ZERO);
        assert_eq!(Fixed::from(-0.0), Fixed::ZERO);
        assert_eq!(Fixed::from(STEP).to_bits(), 1);
        assert_eq!(Fixed::from(1.0).to_bits(), 1 << 48);
        assert_eq!(Fixed::from(-3.5).to_bits(), -(7i128 << 47));
        assert_eq!(Fixed::from(1e15).to_f64(), 1e15);
    }

    #[test]
    fn half_a_step_goes_to_the_even_neighbour() {
        let bits = |steps: f64| Fixed::from(steps * STEP).to_bits();
        assert_eq!([bits(0.5), bits(1.5), bits(2.5)], [0, 2, 2]);
        assert_eq!([bits(0.500_000_1), bits(0.499_999_9)], [1, 0]);
        assert_eq!([bits(-0.5), bits(-1.5)], [0, -2]);
    }

    #[test]
    fn what_no_sum_can_hold_saturates_and_nan_is_zero() {
        assert_eq!(Fixed::from(f64::INFINITY).to_bits(), i128::MAX);
        assert_eq!(Fixed::from(f64::MIN).to_bits(), -i128::MAX);
        assert_eq!(Fixed::from(f64::NAN), Fixed::ZERO);
        assert_eq!(Fixed::from(f64::MIN_POSITIVE), Fixed::ZERO);
        assert_eq!(Fixed::from(5e-324), Fixed::ZERO);
    }

    #[test]
    fn a_ratio_by_zero_is_zero() {
        assert_eq!(Fixed::from(2.0).ratio(Fixed::ZERO), 0.0);
        assert_eq!(Fixed::from(3.0).ratio(Fixed::from(2.0)), 1.5);
    }

    /// Rounds by the definition: scales exactly, then rounds.
    fn slow(value: f64) -> i128 {
        let scaled = value * (1u64 << 48) as f64;
        scaled.round_ties_even() as i128
    }

    proptest! {
        #[test]
        fn rounding_equals_the_definition(value in -1e18f64..1e18, scale in -20i32..1) {
            let value = value * 10f64.powi(scale);
            prop_assert_eq!(Fixed::from(value).to_bits(), slow(value));
        }

        #[test]
        fn a_packed_value_comes_back(high: i64, low: u64) {
            let value = Fixed::from_bits(i128::from(high) << 64 | i128::from(low));
            let packed = rmp_serde::to_vec(&value).unwrap();
            prop_assert_eq!(rmp_serde::from_slice::<Fixed>(&packed).unwrap(), value);
        }
    }
}
