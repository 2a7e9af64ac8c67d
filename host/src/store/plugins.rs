//! Which plugins a restart runs: one record for each plugin, and the components that the records name.
//!
//! Components are stored in chunks under their digest, staged first like the pages of a checkpoint; the
//! switch of the record makes them stay and removes those that no record names any more. Not for deciding
//! what runs. Invariant: a stored record names only components that are stored whole, and a record is
//! replaced only by somebody who has seen it.

use serde::{Deserialize, Serialize};

use super::error::{StoreError, undecodable};
use crate::digest;

/// How much of a component is stored under one key.
pub const CHUNK_BYTES: usize = 1 << 20;
/// The most chunks of a component: a record that names more would have the service ask for each.
const MOST_CHUNKS: u32 = 4096;

/// What is known of one plugin; stored as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// The version of this record, [`PluginRecord::FORMAT`]; another one is refused.
    pub format: u32,
    /// Rises with every change.
    pub revision: u64,
    /// What runs.
    pub current: PluginVersion,
    /// What ran before; a rollback runs it again.
    pub previous: Option<PluginVersion>,
    /// Identities that were refused: a file that has one starts no swap. The oldest first.
    pub refused: Vec<String>,
}

/// A component with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginVersion {
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// How many chunks the component has.
    pub chunks: u32,
    /// The plugin's configuration, a JSON object.
    pub configuration: String,
    /// The version as the plugin says it, for people.
    pub version: String,
    /// When it was accepted, unix milliseconds.
    pub since_ms: i64,
}

/// What came of a change of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switched {
    /// The record is the new one.
    Done,
    /// Somebody else has changed it meanwhile: read it and decide again. Nothing was changed.
    Stale,
    /// A component that it names is not stored whole: store it and try again. Nothing was changed.
    Incomplete,
}

/// Where a chunk lies among those of its plugin: its component, and its place in it.
pub(super) type ChunkPlace<'a> = (&'a str, u32);

impl PluginRecord {
    /// The version of this record.
    pub const FORMAT: u32 = 1;
    /// How many refusals a record remembers.
    pub const MOST_REFUSED: usize = 16;

    /// The first record of a plugin.
    #[must_use]
    pub fn first(current: PluginVersion) -> Self {
        Self { format: Self::FORMAT, revision: 1, current, previous: None, refused: Vec::new() }
    }

    /// The record after this version was accepted: it runs, and what ran before can be returned to.
    #[must_use]
    pub fn accepted(&self, current: PluginVersion) -> Self {
        let mut next = self.next();
        next.previous = Some(std::mem::replace(&mut next.current, current));
        next
    }

    /// The record after a candidate with this identity was refused.
    #[must_use]
    pub fn refusing(&self, identity: &str) -> Self {
        let mut next = self.next();
        next.refused.retain(|refused| refused != identity);
        next.refused.push(identity.to_owned());
        let too_many = next.refused.len().saturating_sub(Self::MOST_REFUSED);
        next.refused.drain(..too_many);
        next
    }

    /// The record after somebody asked for a candidate with this identity although it was refused.
    #[must_use]
    pub fn forgiving(&self, identity: &str) -> Self {
        let mut next = self.next();
        next.refused.retain(|refused| refused != identity);
        next
    }

    fn next(&self) -> Self {
        Self { revision: self.revision + 1, ..self.clone() }
    }

    /// The chunks of the components that it names.
    pub(super) fn chunks(&self) -> impl Iterator<Item = ChunkPlace<'_>> {
        let same = |one: &PluginVersion| one.digest == self.current.digest;
        let previous = self.previous.as_ref().filter(|previous| !same(previous));
        std::iter::once(&self.current).chain(previous).flat_map(PluginVersion::places)
    }

    pub(super) fn encode(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|error| undecodable(key, error.to_string()))
    }

    pub(super) fn decode(key: &str, bytes: &[u8]) -> Result<Self, StoreError> {
        /// What all versions of the record have in common.
        #[derive(Deserialize)]
        struct AnyFormat {
            format: u32,
        }

        let read = |error: serde_json::Error| undecodable(key, error.to_string());
        let any: AnyFormat = serde_json::from_slice(bytes).map_err(read)?;
        if any.format != Self::FORMAT {
            let words = format!("a plugin of format {}, this version reads {}", any.format, Self::FORMAT);
            return Err(undecodable(key, words));
        }
        let record: Self = serde_json::from_slice(bytes).map_err(read)?;
        let most = std::iter::once(&record.current).chain(&record.previous).map(|one| one.chunks).max();
        match most {
            Some(chunks) if chunks > MOST_CHUNKS => Err(undecodable(
                key,
                format!("a component of {chunks} chunks, at most {MOST_CHUNKS} are read"),
            )),
            _ => Ok(record),
        }
    }
}

impl PluginVersion {
    /// A version of a component.
    #[must_use]
    pub fn new(digest: &str, wasm: &[u8], configuration: &str, version: &str, since_ms: i64) -> Self {
        Self {
            digest: digest.to_owned(),
            chunks: chunks_of(wasm).count() as u32,
            configuration: configuration.to_owned(),
            version: version.to_owned(),
            since_ms,
        }
    }

    /// The places of its component's chunks, in their order.
    pub(super) fn places(&self) -> impl Iterator<Item = ChunkPlace<'_>> {
        (0..self.chunks).map(move |index| (self.digest.as_str(), index))
    }

    /// Puts the chunks of its component together; none where one is missing.
    pub(super) fn assemble(
        &self,
        key: &str,
        chunks: impl IntoIterator<Item = Option<Vec<u8>>>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut wasm = Vec::new();
        for chunk in chunks {
            match chunk {
                Some(chunk) => wasm.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
        let found = digest::of(&wasm);
        if found == self.digest {
            Ok(Some(wasm))
        } else {
            Err(undecodable(key, format!("a component with SHA-256 {found}")))
        }
    }
}

/// The chunks that a component is stored in, each with its place.
pub(super) fn chunks_of(wasm: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    (0..).zip(wasm.chunks(CHUNK_BYTES))
}

/// The chunks that go when one record takes the place of another.
pub(super) fn obsolete<'a>(
    seen: Option<&'a PluginRecord>,
    new: Option<&'a PluginRecord>,
) -> Vec<ChunkPlace<'a>> {
    let named: Vec<ChunkPlace<'_>> = new.into_iter().flat_map(PluginRecord::chunks).collect();
    seen.into_iter().flat_map(PluginRecord::chunks).filter(|place| !named.contains(place)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Action;

    fn version(digest: &str) -> PluginVersion {
        PluginVersion {
            digest: digest.to_owned(),
            ..PluginVersion::new("", &[0; CHUNK_BYTES + 1], "{}", "1", 5)
        }
    }

    #[test]
    fn what_runs_and_what_ran_before_are_kept_and_nothing_else() {
        let first = PluginRecord::first(version("a"));
        let second = first.accepted(version("b"));
        let third = second.accepted(version("c"));
        assert_eq!((third.revision, third.current.chunks), (3, 2));
        assert_eq!(third.previous, Some(version("b")));
        assert_eq!(obsolete(Some(&second), Some(&third)), [("a", 0), ("a", 1)]);
        assert_eq!(obsolete(None, Some(&first)), []);
        assert_eq!(obsolete(Some(&first), None), [("a", 0), ("a", 1)]);
        // Another configuration of the same component.
        let same = first.accepted(PluginVersion { configuration: r#"{"a":1}"#.to_owned(), ..version("a") });
        assert_eq!(same.chunks().count(), 2);
        assert_eq!(obsolete(Some(&first), Some(&same)), []);
        // A rollback.
        let back = second.accepted(version("a"));
        assert_eq!(obsolete(Some(&second), Some(&back)), []);
    }

    #[test]
    fn the_last_refusals_are_remembered() {
        let mut record = PluginRecord::first(version("a"));
        for number in 0..40 {
            record = record.refusing(&format!("{}", number % 20));
        }
        assert_eq!(record.refused.len(), PluginRecord::MOST_REFUSED);
        assert_eq!(record.refused.last().unwrap(), "19");
        assert!(!record.forgiving("19").refused.contains(&"19".to_owned()));
    }

    #[test]
    fn a_record_of_another_format_is_refused_with_words() {
        let record = PluginRecord::first(version("a"));
        assert_eq!(PluginRecord::decode("k", &record.encode("k").unwrap()).unwrap(), record);
        for bytes in [&b"{\"format\":2,\"other\":1}"[..], b"[]", b"{\"format\":1}", b"\xff"] {
            let error = PluginRecord::decode("the key", bytes).unwrap_err();
            assert_eq!(error.action(), Action::Skip);
            assert!(error.to_string().contains("the key"), "{error}");
        }
    }
}
