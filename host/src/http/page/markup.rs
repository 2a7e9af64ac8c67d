//! Text that is safe in HTML and in an address, and short ways to write markup.
//!
//! Invariant: what [`escaped`] writes can neither open a tag nor end an attribute in double quotes.

use std::fmt::{self, Display, Formatter, Write};

use crate::figure;

/// Appends formatted text.
pub(super) fn append(out: &mut String, text: fmt::Arguments<'_>) {
    // A string takes everything.
    out.write_fmt(text).ok();
}

/// Puts rows together as long as they fit into so many bytes; says how many they are.
pub(super) fn fitting(rows: impl Iterator<Item = String>, most: usize) -> (String, usize) {
    let (mut out, mut shown) = (String::new(), 0);
    for row in rows {
        if out.len() + row.len() > most {
            break;
        }
        out.push_str(&row);
        shown += 1;
    }
    (out, shown)
}

/// Begins a card: what it shows, and a note beside it.
pub(super) fn head(name: &str, note: &str) -> String {
    format!(
        "<section class=\"card\"><div class=\"head\"><h2>{name}</h2><span class=\"note\">{note}</span></div>"
    )
}

/// How many there are, and where all of them are where only some are shown.
pub(super) fn note(all: usize, shown: usize, path: &str) -> String {
    match all == shown {
        true => figure::count(all as u64),
        false => format!("{shown} of {}; all at {path}", figure::count(all as u64)),
    }
}

/// Shows the beginning of a text that may be long.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Shows a text so that a browser takes it as text.
pub(super) fn escaped(text: &str) -> impl Display {
    Escaped(text)
}

struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Controls and marks of direction could make one text look like another.
                '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{200e}' | '\u{200f}' => f.write_char('�')?,
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => f.write_char('�')?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// Shows a text as one segment of a path.
pub(super) fn segment(text: &str) -> impl Display {
    Segment(text)
}

struct Segment<'a>(&'a str);

impl Display for Segment<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                    f.write_char(char::from(byte))?;
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_html_means_survives() {
        let shown = escaped("<b a=\"1\" b='2'>&\u{202e}\n").to_string();
        assert_eq!(shown, "&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt;&amp;��");
    }

    #[test]
    fn rows_are_taken_as_long_as_they_fit() {
        let rows = || ["123", "45", "6"].into_iter().map(str::to_owned);
        assert_eq!(fitting(rows(), 5), ("12345".to_owned(), 2));
        assert_eq!(fitting(rows(), 2), (String::new(), 0));
        assert_eq!((cut("äöü", 2), cut("äöü", 3)), ("äö…".to_owned(), "äöü".to_owned()));
    }

    #[test]
    fn a_segment_stays_one() {
        assert_eq!(segment("a/b?c#.é").to_string(), "a%2Fb%3Fc%23%2E%C3%A9");
    }
}
