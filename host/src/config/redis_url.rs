//! Addresses of a Redis server: built from parts, or checked and taken apart.
//!
//! Invariant: what is shown of an address is put together from parts that were recognised, so that a
//! password in an unexpected place leads to an error and never into the text that is shown.

use super::parse::{Parsed, endpoint};
use super::secret::Secret;

const ALLOWED: &str = "allowed is redis://[[user]:password@]host[:port][/database], the same with \
    rediss:// for TLS, or unix:///path, with special characters of a password as %XX";

/// Where a server without a port listens.
const PORT: u16 = 6379;

/// A checked address.
#[derive(Clone)]
pub(super) struct Address {
    /// The whole address.
    pub(super) url: String,
    /// The address without user, password and options.
    pub(super) display: String,
    /// Whether the connection is encrypted.
    pub(super) encrypted: bool,
}

/// Reads `host:port`; gives it with a port.
pub(super) fn server(text: &str) -> Parsed<String> {
    let found = endpoint(text).ok_or_else(|| "allowed is host:port".to_owned())?;
    Ok(format!("{}:{}", found.host, found.port.unwrap_or(PORT)))
}

/// Builds an address; `login` is a user, which may be empty, and a password.
pub(super) fn build(server: &str, login: Option<(&str, &Secret)>, database: u16, encrypted: bool) -> Address {
    let scheme = if encrypted { "rediss" } else { "redis" };
    let login = login.map_or_else(String::new, |(user, password)| {
        format!("{}:{}@", encoded(user), encoded(password.expose()))
    });
    Address {
        url: format!("{scheme}://{login}{server}/{database}"),
        display: format!("{scheme}://{server}/{database}"),
        encrypted,
    }
}

/// Checks a whole address.
pub(super) fn parse(text: &str) -> Parsed<Address> {
    checked(text).ok_or_else(|| ALLOWED.to_owned())
}

fn checked(text: &str) -> Option<Address> {
    // A `#` would begin a fragment, by which the client takes switches that weaken TLS.
    if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '#') {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let (place, _options) = rest.split_once('?').unwrap_or((rest, ""));
    let shown = match scheme.as_str() {
        "unix" | "redis+unix" => (place.len() > 1 && place.starts_with('/')).then(|| place.to_owned()),
        "redis" | "rediss" => server_and_database(place),
        _ => None,
    }?;
    Some(Address {
        url: text.to_owned(),
        display: format!("{scheme}://{shown}"),
        encrypted: scheme == "rediss",
    })
}

fn server_and_database(place: &str) -> Option<String> {
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = server(host).ok()?;
    let database: u16 = if path.is_empty() { 0 } else { path.parse().ok()? };
    Some(format!("{host}/{database}"))
}

/// Writes everything but letters, digits and `-._~` as `%XX`.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_an_address() {
        let password = Secret::new("p@ss/w:rd?#%ä");
        let address = build("host:1", Some(("me", &password)), 3, true);
        assert_eq!(address.url, "rediss://me:p%40ss%2Fw%3Ard%3F%23%25%C3%A4@host:1/3");
        assert_eq!(address.display, "rediss://host:1/3");
        assert!(address.encrypted);
        assert_eq!(build("host:1", None, 0, false).url, "redis://host:1/0");
    }

    #[test]
    fn an_address_is_shown_without_login_and_options() {
        for (text, display) in [
            ("redis://host", "redis://host:6379/0"),
            ("redis://:pw@host:1/2?protocol=resp3", "redis://host:1/2"),
            ("rediss://me:p%40@[::1]:1/2", "rediss://[::1]:1/2"),
            ("redis://pw@host/", "redis://host:6379/0"),
            ("redis://me:a@b@host", "redis://host:6379/0"),
            ("unix:///run/redis.sock?pass=pw&user=me", "unix:///run/redis.sock"),
        ] {
            let address = parse(text).unwrap_or_else(|allowed| panic!("{text}: {allowed}"));
            assert_eq!(address.display, display);
            assert_eq!(address.url, text);
        }
    }

    #[test]
    fn an_address_that_could_show_a_password_is_refused() {
        for text in [
            "",
            "host:1",
            "http://host",
            "redis://",
            "redis://:pa/ss@host:1",
            "redis://host/0@pw",
            "redis://host/0/pw",
            "redis://host#pw",
            "redis://me:p w@host",
            "redis://host:pw",
            "unix://",
            "unix://host/path",
            "rediss://host/#insecure",
            "redis://:p?w@host",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
