//! The list of windows over which a metric slides.
//!
//! Not the windows' contents (see [`crate::Engine`]). The invariant: a list that was accepted has at
//! least one window, each a positive multiple of the resolution, no two equal in name or length.

use std::fmt;

use serde::Deserialize;

use crate::duration;

/// The longest window, and so the longest a trade can matter: 24 hours.
pub const LONGEST_MS: u64 = 24 * 3_600_000;

/// How many windows a list may hold.
pub const MOST_WINDOWS: usize = 256;

/// The windows of a configuration that names none.
pub const DEFAULT_WINDOWS: &str = "1min,5min,15min,30min,1hour";

/// The resolution of a configuration that names none.
pub const DEFAULT_RESOLUTION_MS: u64 = 1000;

/// One window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its name in results: the text that configured it.
    pub name: String,
    /// Its length in milliseconds of event time.
    pub length_ms: u64,
}

/// Windows in configured order, with the step in which they slide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    list: Vec<Window>,
    resolution_ms: u64,
}

/// What is wrong with a list of windows, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowsError(String);

impl fmt::Display for WindowsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WindowsError {}

/// The JSON form of a configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    windows: Option<List>,
    resolution: Option<String>,
}

/// A list of windows as JSON: an array, or the text form.
#[derive(Deserialize)]
#[serde(untagged)]
enum List {
    Texts(Vec<String>),
    Text(String),
}

impl Windows {
    /// Reads a list like `1min,90s,4h`; spaces around a name are no part of it.
    ///
    /// # Errors
    /// Says in words what is wrong, naming the value.
    ///
    /// ```
    /// use aggregator_sdk::windows::Windows;
    ///
    /// let windows = Windows::parse("1min,90s,4h", 1000).unwrap();
    /// assert_eq!(windows.list()[1].length_ms, 90_000);
    /// assert!(Windows::parse("1min,60s", 1000).is_err());
    /// ```
    pub fn parse(text: &str, resolution_ms: u64) -> Result<Self, WindowsError> {
        if text.trim().is_empty() {
            return Err(WindowsError("the list of windows is empty; write it like 1min,90s,4h".to_owned()));
        }
        Self::from_names(text.split(','), resolution_ms)
    }

    /// Takes windows as separate texts.
    ///
    /// # Errors
    /// Says in words what is wrong, naming the value.
    pub fn from_names<'a>(
        names: impl IntoIterator<Item = &'a str>,
        resolution_ms: u64,
    ) -> Result<Self, WindowsError> {
        if resolution_ms == 0 || resolution_ms > LONGEST_MS {
            return Err(WindowsError(format!(
                "a resolution of {resolution_ms} ms is not between 1 ms and 24 h"
            )));
        }
        let mut list: Vec<Window> = Vec::new();
        for name in names {
            if list.len() == MOST_WINDOWS {
                return Err(WindowsError(format!("more than {MOST_WINDOWS} windows")));
            }
            let window = window(name.trim(), resolution_ms)?;
            for other in &list {
                distinct(other, &window)?;
            }
            list.push(window);
        }
        if list.is_empty() {
            return Err(WindowsError("the list of windows is empty".to_owned()));
        }
        Ok(Self { list, resolution_ms })
    }

    /// Reads a plugin's configuration: `{"windows": ["1min", "4h"], "resolution": "1s"}`, where both
    /// may be absent and `windows` may be the text form.
    ///
    /// # Errors
    /// Says in words what is wrong, naming the value.
    pub fn from_json(json: &str) -> Result<Self, WindowsError> {
        let config: Config = serde_json::from_str(json).map_err(|error| {
            WindowsError(format!(
                "{error}; the configuration looks like \
                 {{\"windows\": [\"1min\", \"1hour\"], \"resolution\": \"1s\"}}"
            ))
        })?;
        let resolution_ms = match config.resolution {
            None => DEFAULT_RESOLUTION_MS,
            Some(text) => {
                duration::parse_ms(&text).map_err(|error| WindowsError(format!("the resolution {error}")))?
            }
        };
        match config.windows {
            None => Self::parse(DEFAULT_WINDOWS, resolution_ms),
            Some(List::Text(text)) => Self::parse(&text, resolution_ms),
            Some(List::Texts(texts)) => Self::from_names(texts.iter().map(String::as_str), resolution_ms),
        }
    }

    /// The windows in configured order.
    #[must_use]
    pub fn list(&self) -> &[Window] {
        &self.list
    }

    /// The step in which windows slide, in milliseconds.
    #[must_use]
    pub fn resolution_ms(&self) -> u64 {
        self.resolution_ms
    }

    /// The longest window's length in milliseconds.
    #[must_use]
    pub fn longest_ms(&self) -> u64 {
        self.list.iter().map(|w| w.length_ms).max().unwrap_or(0)
    }
}

/// Reads one window.
fn window(name: &str, resolution_ms: u64) -> Result<Window, WindowsError> {
    let length_ms = length_ms(name)?;
    let wrong = if length_ms == 0 {
        "has no length".to_owned()
    } else if length_ms > LONGEST_MS {
        "is longer than 24 h".to_owned()
    } else if length_ms % resolution_ms != 0 {
        format!("is no multiple of the resolution, {resolution_ms} ms")
    } else {
        return Ok(Window { name: name.to_owned(), length_ms });
    };
    Err(WindowsError(format!("the window {name:?} {wrong}")))
}

/// Reads a whole number with a unit of the ancestor's, or a Go duration.
fn length_ms(name: &str) -> Result<u64, WindowsError> {
    let unit_at = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    let (number, unit) = name.split_at(unit_at);
    let unit_ms = match unit {
        "min" => 60_000,
        "hour" => 3_600_000,
        _ => {
            return duration::parse_ms(name)
                .map_err(|error| WindowsError(format!("the window {error}, or like 10min, 90s, 1hour")));
        }
    };
    match number.parse::<u64>() {
        Ok(number) => Ok(number.saturating_mul(unit_ms)),
        Err(_) => Err(WindowsError(format!("the window {name:?} has no whole number before {unit:?}"))),
    }
}

/// Refuses two windows that could not be told apart.
fn distinct(one: &Window, other: &Window) -> Result<(), WindowsError> {
    if one.name == other.name {
        let name = &one.name;
        return Err(WindowsError(format!("the window {name:?} is named twice")));
    }
    if one.length_ms == other.length_ms {
        let (one, other) = (&one.name, &other.name);
        return Err(WindowsError(format!("the windows {one:?} and {other:?} are equally long")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Windows;

    fn lengths(text: &str, resolution_ms: u64) -> Vec<u64> {
        let windows = Windows::parse(text, resolution_ms).unwrap();
        windows.list().iter().map(|w| w.length_ms).collect()
    }

    #[test]
    fn every_unit_is_read() {
        assert_eq!(
            lengths("1min, 90s,4h,2hour,1m30.5s,10m,24h", 500),
            [60_000, 90_000, 14_400_000, 7_200_000, 90_500, 600_000, 86_400_000]
        );
    }

    #[test]
    fn names_are_the_texts_in_configured_order() {
        let windows = Windows::parse("1hour, 1min", 1000).unwrap();
        let names: Vec<_> = windows.list().iter().map(|w| w.name.as_str()).collect();
        assert_eq!(names, ["1hour", "1min"]);
        assert_eq!(windows.longest_ms(), 3_600_000);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_value() {
        for (text, value, words) in [
            ("", "list", "is empty"),
            (" ", "list", "is empty"),
            ("1min,,5min", "\"\"", "is empty"),
            ("1min,1min", "\"1min\"", "is named twice"),
            ("1min,60s", "\"60s\"", "equally long"),
            ("0s", "\"0s\"", "has no length"),
            ("25h", "\"25h\"", "longer than 24 h"),
            ("99999999999999hour", "\"99999999999999hour\"", "longer"),
            ("1500ms", "\"1500ms\"", "no multiple of the resolution, 1000 ms"),
            ("60", "\"60\"", "the unit is missing"),
            ("min", "\"min\"", "no whole number"),
            ("1.5min", "\"1.5min\"", "the unit is none of"),
            ("-1min", "\"-1min\"", "negative"),
            ("1day", "\"1day\"", "the unit is none of"),
        ] {
            let error = Windows::parse(text, 1000).expect_err(text).to_string();
            assert!(error.contains(value) && error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_configuration_may_leave_everything_out() {
        let windows = Windows::from_json("{}").unwrap();
        let lengths: Vec<_> = windows.list().iter().map(|w| w.length_ms).collect();
        assert_eq!(lengths, [60_000, 300_000, 900_000, 1_800_000, 3_600_000]);
        assert_eq!(windows.resolution_ms(), 1000);
    }

    #[test]
    fn a_configuration_names_windows_as_list_or_text() {
        let list = Windows::from_json(r#"{"windows": ["1min", "90s"], "resolution": "500ms"}"#);
        let text = Windows::from_json(r#"{"windows": "1min,90s", "resolution": "500ms"}"#);
        assert_eq!(list, text);
        assert_eq!(list.unwrap().resolution_ms(), 500);
    }

    #[test]
    fn a_wrong_configuration_is_refused_in_words() {
        for (json, words) in [
            ("", "the configuration looks like"),
            ("[]", "the configuration looks like"),
            (r#"{"window": "1min"}"#, "unknown field `window`"),
            (r#"{"windows": []}"#, "is empty"),
            (r#"{"windows": 60}"#, "the configuration looks like"),
            (r#"{"resolution": "1"}"#, "the resolution \"1\""),
            (r#"{"resolution": "0s"}"#, "a resolution of 0 ms"),
        ] {
            let error = Windows::from_json(json).expect_err(json).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
