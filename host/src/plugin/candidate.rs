//! A component with its configuration, before anybody has looked whether it is a plugin.
//!
//! Invariant: the digest is of the component as it is here, and the configuration is the one that the
//! plugin will be given, so that equal identities mean equal plugins.

use std::sync::Arc;

use crate::digest;

/// What may become a running plugin.
#[derive(Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The name under which it came: its file's, or the one it is asked for by.
    pub name: Arc<str>,
    /// The component.
    pub wasm: Arc<[u8]>,
    /// SHA-256 of the component, hexadecimal.
    pub digest: Arc<str>,
    /// The configuration, a JSON object.
    pub configuration: Arc<str>,
}

impl Candidate {
    /// Makes a candidate, and names its component.
    #[must_use]
    pub fn new(name: &str, wasm: impl Into<Arc<[u8]>>, configuration: &str) -> Self {
        let wasm = wasm.into();
        let digest = digest::of(&wasm).into();
        Self { name: name.into(), wasm, digest, configuration: configuration.into() }
    }

    /// What tells it from every other candidate of its name.
    #[must_use]
    pub fn identity(&self) -> String {
        identity(&self.digest, &self.configuration)
    }
}

/// Without the component's bytes, which nobody wants to read.
impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate")
            .field("name", &self.name)
            .field("digest", &self.digest)
            .field("configuration", &self.configuration)
            .finish_non_exhaustive()
    }
}

/// What tells a component with a configuration from every other one.
#[must_use]
pub fn identity(digest: &str, configuration: &str) -> String {
    digest::of(format!("{digest}\n{configuration}").as_bytes())
}

/// Whether two names are one plugin's: Cargo names a file with underscores where the crate has hyphens.
#[must_use]
pub fn same_name(one: &str, other: &str) -> bool {
    canonical(one) == canonical(other)
}

/// The one of a plugin's names that stands for all.
#[must_use]
pub fn canonical(name: &str) -> String {
    name.replace('_', "-")
}

/// Whether a plugin may be called so.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path() {
        for name in ["", ".", "..", "../x", "/x", "a/b", "a.b", "a\0", "A", "ü", &"a".repeat(65)] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name("sliding-window") && is_name("sliding_window2"));
        assert!(same_name("sliding-window", "sliding_window") && !same_name("a", "b"));
    }

    #[test]
    fn the_configuration_is_part_of_the_identity() {
        let one = Candidate::new("a", *b"wasm", "{}");
        assert_eq!(one.identity(), Candidate::new("b", *b"wasm", "{}").identity());
        assert_ne!(one.identity(), Candidate::new("a", *b"wasm", r#"{"a":1}"#).identity());
        assert_ne!(one.identity(), Candidate::new("a", *b"wasn", "{}").identity());
    }
}
