//! SHA-256 as lower-case hexadecimal text: the name of a component, a configuration, a compiled file.
//!
//! Invariant: the text of a digest is what is compared, stored and shown, everywhere.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// How much of a file is read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Names bytes.
#[must_use]
pub fn of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Names what a reader gives until its end.
///
/// # Errors
/// When it cannot be read.
pub fn of_reader(mut reader: impl Read) -> io::Result<String> {
    let mut digest = Growing::default();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match reader.read(&mut piece)? {
            0 => return Ok(digest.finish()),
            read => digest.add(&piece[..read]),
        }
    }
}

/// Whether a text has the form of a digest.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The digest of bytes that come piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Growing(Sha256);

impl Growing {
    /// Adds the next piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    #[must_use]
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_have_one_name_however_they_come() {
        let bytes = vec![7; 3 * PIECE_BYTES / 2];
        let mut growing = Growing::default();
        bytes.chunks(999).for_each(|piece| growing.add(piece));
        assert_eq!(growing.finish(), of(&bytes));
        assert_eq!(of_reader(&bytes[..]).unwrap(), of(&bytes));
        assert_eq!(of(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(is_digest(&of(b"a")));
        assert!(!is_digest(&of(b"a").to_uppercase()) && !is_digest("../x"));
    }
}
