//! What maintenance needs of a store: walking over what it holds in small steps, reading results as they
//! are, and removing what nobody needs any more.
//!
//! Not for deciding what that is. Invariant: nothing is removed but by the owner of a shard, whose record is
//! compared in the same step.

use std::sync::Arc;

use super::checkpoint::Place;
use super::owner::Owner;

/// The most tokens, or keys, that one removal names.
pub const REMOVED_AT_ONCE: usize = 256;

/// Takes as many as one removal may name.
pub fn removed_at_once<T>(all: &mut Vec<T>) -> Vec<T> {
    all.split_off(all.len().saturating_sub(REMOVED_AT_ONCE))
}

/// Tokens whose results go, and that leave the active list.
#[derive(Debug, Clone)]
pub struct Removal {
    /// The shard; its owner record is compared.
    pub shard: u32,
    /// Who removes.
    pub owner: Owner,
    /// The tokens, at most [`REMOVED_AT_ONCE`] of them.
    pub tokens: Vec<Arc<str>>,
    /// The last parts of their keys, but for `last_update`, which goes too.
    pub result_keys: Vec<Arc<str>>,
    /// Only tokens leave the list of which no result is stored, and no result goes.
    pub only_list: bool,
}

/// Pieces of checkpoints that nothing will read any more.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// A shard of whoever sweeps; its owner record is compared. The pieces may be of another one.
    pub shard: u32,
    /// Who sweeps.
    pub owner: Owner,
    /// The pieces, at most [`REMOVED_AT_ONCE`] of them.
    pub pieces: Vec<CheckpointPiece>,
}

/// The head or a page of a checkpoint, as its key names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointPiece {
    /// The shard.
    pub shard: u32,
    /// The plugin.
    pub plugin: Arc<str>,
    /// Part and index of a page; none: the head.
    pub place: Option<Place>,
}

/// What a step over all keys has found.
#[derive(Debug, Default)]
pub struct Found {
    /// Tokens with the last part of a key of theirs.
    pub results: Vec<(String, String)>,
    /// Pieces of checkpoints.
    pub pieces: Vec<CheckpointPiece>,
}

impl Found {
    /// Takes a key in; one of another kind is left out.
    pub(super) fn take(&mut self, key: &str) {
        if let Some((address, result_key)) = key.strip_prefix("token:").and_then(|rest| rest.rsplit_once(':'))
        {
            self.results.push((address.to_owned(), result_key.to_owned()));
        } else if let Some(piece) = CheckpointPiece::parse(key) {
            self.pieces.push(piece);
        }
    }
}

impl CheckpointPiece {
    fn parse(key: &str) -> Option<Self> {
        let (shard, rest) = key.strip_prefix("aggregator:{shard-")?.split_once("}:")?;
        let (kind, rest) = rest.split_once(':')?;
        let mut fields = rest.split(':');
        let plugin = fields.next()?.into();
        let place = match kind {
            "head" => None,
            "page" => Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)),
            _ => return None,
        };
        fields.next().is_none().then_some(Self { shard: shard.parse().ok()?, plugin, place })
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::*;

    #[test]
    fn keys_of_the_service_are_read_back_and_others_left() {
        let mut found = Found::default();
        found.take(&keys::of_token("a:b", "aggregates"));
        found.take(&keys::head(3, "p-1"));
        found.take(&keys::page(12, "p_2", (7, 1)));
        for other in
            ["tokens:active", keys::LAYOUT, &keys::owner("shard-3"), "token:", "aggregator:{shard-x}:head:p"]
        {
            found.take(other);
        }
        assert_eq!(found.results, [("a:b".to_owned(), "aggregates".to_owned())]);
        let piece = |shard, plugin: &str, place| CheckpointPiece { shard, plugin: plugin.into(), place };
        assert_eq!(found.pieces, [piece(3, "p-1", None), piece(12, "p_2", Some((7, 1)))]);
    }
}
