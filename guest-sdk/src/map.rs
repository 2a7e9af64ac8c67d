//! Hash maps whose look-ups are fast and the same in every run.
//!
//! Not for keys that an attacker chooses freely and in great number: the hasher is not keyed. The
//! invariant: the hasher is fixed, since a plugin has no randomness and equal calls give equal bytes.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A `HashMap` with a fixed, fast hasher.
///
/// Its order of iteration depends on how the map was filled, and two instances that hold the same
/// state after an export and an import filled it differently. So iteration order must never reach a
/// result or a packed state: sort first, or fold with something free of order (a count, an exact sum,
/// a maximum).
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<FastHasher>>;

/// A `HashSet` with a fixed, fast hasher; what [`Map`] says about order holds here too.
pub type Set<T> = HashSet<T, BuildHasherDefault<FastHasher>>;

/// 2^64 divided by the golden ratio, odd: spreads neighbours.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Multiplies and folds, eight bytes a step.
#[derive(Clone, Copy, Debug, Default)]
pub struct FastHasher(u64);

impl FastHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    }
}

impl Hasher for FastHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // The length tells texts apart that differ in trailing zeros.
        self.mix(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    #[inline]
    fn finish(&self) -> u64 {
        // Buckets are chosen by low bits, which a product mixes worst.
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, BuildHasherDefault};

    use super::{FastHasher, Map, Set};

    #[test]
    fn equal_keys_hash_equally_in_every_map() {
        let hash = |text: &str| BuildHasherDefault::<FastHasher>::default().hash_one(text);
        assert_eq!(
            hash("So11111111111111111111111111111111111111112"),
            hash("So11111111111111111111111111111111111111112")
        );
        assert_ne!(hash("a"), hash("a\0"));
    }

    #[test]
    fn neighbouring_numbers_spread_over_the_low_bits() {
        let hasher = BuildHasherDefault::<FastHasher>::default();
        let buckets: Set<u64> = (0u64..1024).map(|key| hasher.hash_one(key << 32) & 1023).collect();
        assert!(buckets.len() > 500, "{}", buckets.len());
    }

    #[test]
    fn a_map_keeps_what_it_is_given() {
        let map: Map<String, u32> = (0..1000).map(|n| (n.to_string(), n)).collect();
        assert!((0..1000).all(|n| map.get(&n.to_string()) == Some(&n)));
    }
}
