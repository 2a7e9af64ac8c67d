//! Texts that become values: durations, sizes, numbers, names, addresses.
//!
//! Each function says in its error what is allowed. Not here: what concerns one setting only.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use aggregator_sdk::duration;

use super::secret::Secret;

/// What a parser gives: a value, or what is allowed.
pub(super) type Parsed<T> = Result<T, String>;

/// The longest name of a topic.
const TOPIC_LENGTH: usize = 249;

/// One of several words, in any case.
pub(super) fn choice<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&str) -> Parsed<T> {
    move |text| {
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            format!("allowed is one of {}", words.join(", "))
        })
    }
}

/// `true` or `false`, or as numbers.
pub(super) fn switch(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("allowed is true or false".to_owned()),
    }
}

/// A whole number within limits.
pub(super) fn number<T>(limits: RangeInclusive<T>) -> impl Fn(&str) -> Parsed<T>
where
    T: FromStr + PartialOrd + Display,
{
    move |text| {
        let parsed = text.parse().ok().filter(|value| limits.contains(value));
        parsed.ok_or_else(|| format!("allowed is a whole number from {} to {}", limits.start(), limits.end()))
    }
}

/// A duration in Go's form, from `least` to `most`, both of that form.
pub(super) fn time(least: &'static str, most: &'static str) -> impl Fn(&str) -> Parsed<Duration> {
    move |text| {
        let allowed = format!("allowed is a duration from {least} to {most}");
        // A bare number has no unit, and to guess one would be wrong for half of all operators.
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text != "0" {
            return Err(format!("{allowed}; a bare number has no unit: write {text}ms or {text}s"));
        }
        let value = duration::parse(text).map_err(|error| format!("{allowed}; {error}"))?;
        let within = |limit: &str| duration::parse(limit).map_err(|error| error.to_string());
        if value < within(least)? || value > within(most)? {
            return Err(allowed);
        }
        Ok(value)
    }
}

/// A number of bytes, bare or with a unit, within limits.
pub(super) fn size(limits: RangeInclusive<usize>) -> impl Fn(&str) -> Parsed<usize> {
    move |text| {
        bytes(text).filter(|bytes| limits.contains(bytes)).ok_or_else(|| {
            format!(
                "allowed is a size from {} to {}, in bytes or with KiB, MiB or GiB, like 8MiB",
                sized(*limits.start()),
                sized(*limits.end())
            )
        })
    }
}

fn bytes(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "kib" => 10,
        "mib" => 20,
        "gib" => 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}

fn sized(bytes: usize) -> String {
    match bytes.trailing_zeros() {
        30.. => format!("{}GiB", bytes >> 30),
        20.. => format!("{}MiB", bytes >> 20),
        10.. => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    }
}

/// The name of a topic, or anything else that Kafka holds to the same rule.
pub(super) fn topic(text: &str) -> Parsed<String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let good =
        (1..=TOPIC_LENGTH).contains(&text.len()) && text.bytes().all(legal) && text != "." && text != "..";
    if good {
        return Ok(text.to_owned());
    }
    Err(format!("allowed are 1 to {TOPIC_LENGTH} letters, digits, dots, underscores and hyphens"))
}

/// A short text without control characters.
pub(super) fn label(text: &str) -> Parsed<String> {
    if (1..=255).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err("allowed are 1 to 255 bytes without control characters".to_owned())
}

/// A path.
pub(super) fn path(text: &str) -> Parsed<PathBuf> {
    if text.contains('\0') {
        return Err("allowed is a path".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// A secret of any form but for control characters, which no protocol carries.
pub(super) fn secret(text: &str) -> Parsed<Secret> {
    if text.chars().any(char::is_control) {
        return Err("allowed is a text without control characters".to_owned());
    }
    Ok(Secret::new(text))
}

/// A host with an optional port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint<'a> {
    /// A name, an IPv4 address or a bracketed IPv6 address.
    pub(super) host: &'a str,
    /// The port, where there is one.
    pub(super) port: Option<u16>,
}

/// Reads `host`, `host:port` or `[address]:port`.
pub(super) fn endpoint(text: &str) -> Option<Endpoint<'_>> {
    let bracketed = text.starts_with('[');
    let host_length = if bracketed { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    let (host, rest) = text.split_at(host_length);
    let good = if bracketed {
        host[1..host_length - 1].parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if !good {
        return None;
    }
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port > 0)?)
        }
        _ => return None,
    };
    Some(Endpoint { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_have_a_binary_unit() {
        let parse = size(1024..=1 << 30);
        assert_eq!(parse("8MiB"), Ok(8 << 20));
        assert_eq!(parse("8388608"), Ok(8 << 20));
        assert_eq!(parse("1 GiB"), Ok(1 << 30));
        for wrong in ["", "8MB", "8M", "-1", "1.5MiB", "1023", "2GiB", "99999999999999999999GiB"] {
            let allowed = parse(wrong).unwrap_err();
            assert!(allowed.contains("from 1KiB to 1GiB"), "{wrong}: {allowed}");
        }
    }

    #[test]
    fn a_bare_number_is_no_duration() {
        let parse = time("1ms", "10s");
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(parse("100").unwrap_err().contains("write 100ms or 100s"));
        for wrong in ["", "0", "0s", "11s", "-1s", "1 s", "1d", "999999h"] {
            assert!(parse(wrong).unwrap_err().contains("from 1ms to 10s"), "{wrong}");
        }
    }

    #[test]
    fn an_endpoint_is_a_host_with_an_optional_port() {
        let found = |text| endpoint(text).map(|e| (e.host, e.port));
        assert_eq!(found("redis:6379"), Some(("redis", Some(6379))));
        assert_eq!(found("10.0.0.1"), Some(("10.0.0.1", None)));
        assert_eq!(found("[::1]:1"), Some(("[::1]", Some(1))));
        for wrong in
            ["", ":1", "a:", "a:0", "a:65536", "a:+1", "a b", "[::1", "[x]", "::1", "a/b", "a@b", "[]"]
        {
            assert_eq!(found(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn topics_obey_kafka() {
        assert!(topic("trade-info.v1_x").is_ok());
        for wrong in ["", ".", "..", "a b", "a/b", "ä", &"x".repeat(250)] {
            assert!(topic(wrong).is_err(), "{wrong}");
        }
    }
}
