//! Which names a plugin may choose, and how they appear in messages.
//!
//! Invariant: what passes here needs no quoting in a Redis key or a log line; only group names, which
//! people choose, may hold characters that JSON escapes.

/// The result key that would collide with the service's own.
const RESERVED_KEY: &str = "last_update";
/// The longest guest text that is repeated in a message.
const QUOTED_CHARS: usize = 80;

/// Whether a result key may end a Redis key.
pub(super) fn is_result_key(key: &str) -> bool {
    (1..=32).contains(&key.len()) && key.bytes().all(|b| is_word(b) || b == b'-') && key != RESERVED_KEY
}

/// Whether a field may be called so.
pub(super) fn is_field(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(is_word)
}

/// Whether a group may be called so.
pub(super) fn is_group(name: &str) -> bool {
    (1..=64).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Gives a guest's text for a message: in quotes, escaped and cut.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}
