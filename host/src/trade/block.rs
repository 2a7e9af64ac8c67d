//! Several bytes of a message at a time: loading them and finding the end of a plain string in them.
//!
//! Bytes are compared several at a time inside of integers. Loops over arrays of bytes would become vector code in one
//! place and something ten times slower in the next one, and the vector instructions themselves need `unsafe`.
//!
//! Invariant: bytes behind the end of the message are read as 0, a control character, which ends every search.

/// The bytes of a block.
pub(super) const LEN: usize = 16;

/// Returns the sixteen bytes from `at` on, the first one lowest.
#[inline(always)]
pub(super) fn load(bytes: &[u8], at: usize) -> u128 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk::<LEN>) {
        Some(block) => u128::from_le_bytes(*block),
        None => load_tail(bytes, at),
    }
}

#[inline(never)]
fn load_tail(bytes: &[u8], at: usize) -> u128 {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return 0;
    }
    // One wide load and a shift is far cheaper than a copy of unknown length.
    match bytes.last_chunk::<LEN>() {
        Some(block) => u128::from_le_bytes(*block) >> (8 * (LEN - rest.len())),
        None => rest.iter().rev().fold(0, |block, &byte| block << 8 | u128::from(byte)),
    }
}

/// Returns the mask of the lowest `len` bytes; `len` is below 16.
pub(super) const fn low_bytes(len: usize) -> u128 {
    (1 << (8 * len)) - 1
}

/// Returns the eight bytes from `at` on, the first one lowest.
#[inline(always)]
pub(super) fn load_word(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk::<WORD>) {
        Some(word) => u64::from_le_bytes(*word),
        None => load_tail(bytes, at) as u64,
    }
}

/// Returns a word of eight equal bytes.
pub(super) const fn every_byte(byte: u8) -> u64 {
    u64::from_le_bytes([byte; WORD])
}

/// Returns a block of sixteen equal bytes.
pub(super) const fn every(byte: u8) -> u128 {
    u128::from_le_bytes([byte; LEN])
}

/// The bytes of a word.
pub(super) const WORD: usize = 8;

/// Finds where a plain string from `at` on ends: its closing quote, or the first byte that makes it less than plain
/// (an escape, a control character, anything beyond ASCII, the end of the message).
#[inline]
pub(super) fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<WORD>) {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += WORD;
    }
    at + marks(load_tail(bytes, at) as u64).trailing_zeros() as usize / 8
}

/// Returns whether `len` bytes from `at` on hold nothing that ends a plain string. Shorter ones than a word are not
/// looked at.
///
/// Where the length is guessed right, the processor need not find the end before it reads on behind it.
#[inline(always)]
pub(super) fn is_plain(bytes: &[u8], at: usize, len: usize) -> bool {
    let Some(text) = bytes.get(at..at + len) else {
        return false;
    };
    let Some(last) = text.last_chunk::<WORD>() else {
        return false;
    };
    let (words, _) = text.as_chunks::<WORD>();
    let mut found = marks(u64::from_le_bytes(*last));
    for word in words {
        found |= marks(u64::from_le_bytes(*word));
    }
    found == 0
}

/// Marks the bytes that end a plain string. The lowest mark is right, and there is none where no byte does; above the
/// lowest one others may be wrong.
#[inline(always)]
const fn marks(word: u64) -> u64 {
    let quote = (word ^ every_byte(b'"')).wrapping_sub(every_byte(1));
    let escape = (word ^ every_byte(b'\\')).wrapping_sub(every_byte(1));
    let control = word.wrapping_sub(every_byte(0x20));
    (quote | escape | control | word) & every_byte(0x80)
}

#[cfg(test)]
mod tests {
    use super::{is_plain, load, load_word, string_end};

    #[test]
    fn a_block_at_the_end_is_filled_with_zeros() {
        for bytes in [&b"0123456789abcdefXYZ"[..], b"abc", b""] {
            for at in 0..bytes.len() + 3 {
                let mut wanted = [0; 16];
                for (to, from) in wanted.iter_mut().zip(bytes.iter().skip(at)) {
                    *to = *from;
                }
                assert_eq!(load(bytes, at).to_le_bytes(), wanted);
                assert_eq!(load_word(bytes, at).to_le_bytes(), wanted[..8]);
            }
        }
    }

    #[test]
    fn the_first_byte_that_ends_a_plain_string_is_found() {
        for stop in [b'"', b'\\', 0x1f, 0x80, 0xff, 0] {
            for before in 0..50 {
                for after in 0..20 {
                    let mut text = vec![b'~'; before];
                    text.push(stop);
                    text.extend(std::iter::repeat_n(b'"', after));
                    assert_eq!(string_end(&text, 0), before);
                    assert_eq!(string_end(&text[..before], 0), before);
                    assert_eq!(is_plain(&text, 0, before), before >= 8);
                    assert!(!is_plain(&text, 0, before + 1 + after));
                }
            }
        }
    }
}
