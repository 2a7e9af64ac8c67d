//! `.env.example`: every setting with its default and meaning.
//!
//! Invariant: the file in the repository is exactly what [`example`] gives; a test compares them.

use super::setting::SETTINGS;

/// Columns of a line of help.
const WIDTH: usize = 96;

const HEAD: &str = "\
# Every setting with its default. Copy this file to `.env`, which is read from the working
# directory; the environment wins over it. Durations look like 100ms, 1m30s or 1.5h. An empty value
# counts as not set. Single quotes keep a `$`, a `#` or a blank in a value as it is.
";

/// Writes every setting, commented out, with its default and meaning.
#[must_use]
pub fn example() -> String {
    let mut text = HEAD.to_owned();
    for group in SETTINGS {
        text.push_str(&format!("\n# --- {} ---\n", group.title));
        for setting in group.settings {
            text.push('\n');
            for line in wrapped(setting.help) {
                text.push_str(&format!("# {line}\n"));
            }
            text.push_str(&format!("#{}={}\n", setting.name, setting.default));
        }
    }
    text
}

fn wrapped(help: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in help.split_whitespace() {
        let full = lines.last().is_some_and(|line| line.len() + 1 + word.len() > WIDTH);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
