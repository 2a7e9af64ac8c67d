//! The packed form of a candle, about 40 bytes.
//!
//! Not for any other reader: another form needs another `STATE_VERSION`. The invariant: whatever bytes
//! are read, the candle they give is one that trades can make, or there is none.
//!
//! A head of four bytes says how many bytes each number takes, from the lowest bit: sells 3 bits, buys
//! 3, the two volumes, USD and amount 5 each; then whether all four prices are one, and whether the
//! times are absent because both are 0. The numbers follow, little endian, without leading zeros.

use aggregator_sdk::{Fixed, Pack};

use crate::Candle;

/// Widths in bits of the six lengths in the head.
const LENGTH_BITS: [u32; 6] = [3, 3, 5, 5, 5, 5];
const ONE_PRICE: u32 = 1 << 26;
const NO_TIMES: u32 = 1 << 27;
const HEAD_BITS: u32 = 28;
const HEAD_BYTES: usize = 4;
/// The longest packed form: the head, two counts, four sums of 16 bytes, four prices, two times.
const MOST_BYTES: usize = HEAD_BYTES + 2 * 4 + 4 * 16 + 4 * 8 + 2 * 4;

impl Pack for Candle {
    fn pack(&self, out: &mut Vec<u8>) {
        let numbers = [
            u128::from(self.sells),
            u128::from(self.buys),
            self.sell_volume.cast_unsigned(),
            self.buy_volume.cast_unsigned(),
            self.usd.to_bits().cast_unsigned(),
            self.amount.to_bits().cast_unsigned(),
        ];
        let one_price =
            [self.end, self.high, self.low].iter().all(|price| price.to_bits() == self.start.to_bits());
        let no_times = self.start_ms == 0 && self.end_ms == 0;
        let mut head = if one_price { ONE_PRICE } else { 0 } | if no_times { NO_TIMES } else { 0 };
        // Whole words one over the other, appended once: each copy of some bytes is a call in a component.
        let mut packed = [0; MOST_BYTES];
        let mut end = HEAD_BYTES;
        let mut shift = 0;
        for (number, bits) in numbers.into_iter().zip(LENGTH_BITS) {
            let length = (128 - number.leading_zeros()).div_ceil(8);
            head |= length << shift;
            shift += bits;
            put(&mut packed, end, number.to_le_bytes());
            end += length as usize;
        }
        put(&mut packed, 0, head.to_le_bytes());
        let prices = if one_price { &[self.start][..] } else { &[self.start, self.end, self.high, self.low] };
        for price in prices {
            put(&mut packed, end, price.to_le_bytes());
            end += size_of::<f64>();
        }
        if !no_times {
            for time in [self.start_ms, self.end_ms] {
                put(&mut packed, end, time.to_le_bytes());
                end += size_of::<u32>();
            }
        }
        out.extend_from_slice(&packed[..end]);
    }

    fn unpack(bytes: &mut &[u8]) -> Option<Self> {
        let mut head = u32::from_le_bytes(*array(bytes)?);
        if head >> HEAD_BITS != 0 {
            return None;
        }
        let (one_price, no_times) = (head & ONE_PRICE != 0, head & NO_TIMES != 0);
        let mut numbers = [0; LENGTH_BITS.len()];
        for (number, bits) in numbers.iter_mut().zip(LENGTH_BITS) {
            *number = read_number(bytes, (head & ((1 << bits) - 1)) as usize)?;
            head >>= bits;
        }
        let [sells, buys, sell_volume, buy_volume, usd, amount] = numbers;
        let start = read_price(bytes)?;
        let [end, high, low] =
            if one_price { [start; 3] } else { [read_price(bytes)?, read_price(bytes)?, read_price(bytes)?] };
        let [start_ms, end_ms] = if no_times {
            [0; 2]
        } else {
            [u32::from_le_bytes(*array(bytes)?), u32::from_le_bytes(*array(bytes)?)]
        };
        let candle = Self {
            sells: u32::try_from(sells).ok()?,
            buys: u32::try_from(buys).ok()?,
            sell_volume: positive(sell_volume)?,
            buy_volume: positive(buy_volume)?,
            usd: Fixed::from_bits(positive(usd)?),
            amount: Fixed::from_bits(positive(amount)?),
            start,
            end,
            high,
            low,
            start_ms,
            end_ms,
        };
        let possible = (sells > 0 || buys > 0)
            && start_ms <= end_ms
            && [start, end].iter().all(|&price| low <= price && price <= high);
        possible.then_some(candle)
    }
}

/// Puts bytes somewhere, over what was there.
fn put<const N: usize>(packed: &mut [u8; MOST_BYTES], at: usize, bytes: [u8; N]) {
    packed[at..at + N].copy_from_slice(&bytes);
}

/// Takes a fixed number of bytes from the front.
fn array<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (array, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(array)
}

/// Reads a number of so many bytes.
fn read_number(bytes: &mut &[u8], length: usize) -> Option<u128> {
    if length > 16 {
        return None;
    }
    let (number, rest) = bytes.split_at_checked(length)?;
    let number = match bytes.first_chunk::<8>() {
        // One load and a shift, since nearly every number is short and none is the last.
        Some(word) if (1..=8).contains(&length) => {
            u128::from(u64::from_le_bytes(*word) << (64 - 8 * length) >> (64 - 8 * length))
        }
        _ => {
            let mut padded = [0; 16];
            padded[..length].copy_from_slice(number);
            u128::from_le_bytes(padded)
        }
    };
    *bytes = rest;
    Some(number)
}

/// Reads a price.
fn read_price(bytes: &mut &[u8]) -> Option<f64> {
    let price = f64::from_le_bytes(*array(bytes)?);
    (price.is_finite() && price >= 0.0).then_some(price)
}

/// Takes a sum of what is never negative.
fn positive(sum: u128) -> Option<i128> {
    i128::try_from(sum).ok()
}
