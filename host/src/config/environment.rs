//! The environment and `.env`, gathered into one map.
//!
//! Invariant: the process environment is only read, never changed, and wins over the file.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{ConfigErrors, Problem};
use super::setting;

/// The file in the working directory that is read first.
const FILE: &str = ".env";

/// Gathers the environment and the file `.env` of the working directory, if there is one.
///
/// # Errors
/// A file that is there but cannot be read or understood, and a setting that is not valid UTF-8.
pub fn read() -> Result<BTreeMap<String, String>, ConfigErrors> {
    let mut problems = Vec::new();
    let mut map = from_file(Path::new(FILE), &mut problems);
    for (name, value) in std::env::vars_os() {
        // A name that is not UTF-8 is no setting.
        let Ok(name) = name.into_string() else {
            continue;
        };
        match value.into_string() {
            Ok(value) => {
                map.insert(name, value);
            }
            Err(_) if setting::find(&name).is_some() => {
                problems.push(problem(&name, "the value is not valid UTF-8".to_owned()));
            }
            Err(_) => {}
        }
    }
    if problems.is_empty() { Ok(map) } else { Err(ConfigErrors { problems }) }
}

/// Reads the file; the first of two lines for one name counts.
fn from_file(path: &Path, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    let lines = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines,
        Err(error) if error.not_found() => return map,
        Err(error) => {
            problems.push(problem(FILE, format!("the file cannot be read: {error}")));
            return map;
        }
    };
    let mut place = "the first setting".to_owned();
    for line in lines {
        match line {
            Ok((name, value)) => {
                place = format!("what follows {name}");
                map.entry(name).or_insert(value);
            }
            // Nothing of the line is told: it may hold a secret, and the error may begin with it.
            Err(dotenvy::Error::LineParse(..)) => {
                let words = "is not of the form NAME=value; single quotes go round a value with blanks, backslashes or #";
                problems.push(problem(FILE, format!("{place} {words}")));
            }
            Err(error) => {
                problems.push(problem(FILE, format!("the file cannot be read: {error}")));
                // An error of reading comes again and again.
                break;
            }
        }
    }
    map
}

fn problem(variable: &str, allowed: String) -> Problem {
    Problem { variable: variable.to_owned(), value: Some("***".to_owned()), allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str, text: &str) -> (BTreeMap<String, String>, Vec<Problem>) {
        let path = std::env::temp_dir().join(format!("aggregator-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let mut problems = Vec::new();
        let map = from_file(&path, &mut problems);
        std::fs::remove_file(&path).unwrap();
        (map, problems)
    }

    #[test]
    fn a_file_gives_its_lines() {
        let (map, problems) = parsed("good", "# comment\nA=1\nexport B='two words'\nA=3\n");
        assert_eq!(problems, []);
        assert_eq!(map["A"], "1");
        assert_eq!(map["B"], "two words");
    }

    #[test]
    fn a_broken_line_is_told_without_its_value() {
        let broken = [
            "REDIS_PASSWORD=\"hunter2 and no end",
            "REDIS_PASSWORD=hunter2 and more",
            "REDIS_PASSWORD=hunter2\\pw",
            "REDIS_PASSWORD: hunter2",
        ];
        for (at, line) in broken.iter().enumerate() {
            let (_, problems) = parsed(&format!("bad-{at}"), &format!("FIRST=1\n{line}\n"));
            assert_eq!(problems.len(), 1, "{problems:?}");
            let told = format!("{problems:?}");
            assert!(told.contains("what follows FIRST") && !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn a_missing_file_is_no_problem() {
        let mut problems = Vec::new();
        assert!(from_file(Path::new("/nowhere/.env"), &mut problems).is_empty());
        assert_eq!(problems, []);
    }
}
