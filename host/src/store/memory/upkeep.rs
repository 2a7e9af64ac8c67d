//! Maintenance in memory: what there is fits one step.
//!
//! Invariant: the one of the folder, for removals.

use super::super::checkpoint::Place;
use super::super::chunk::Chunk;
use super::super::error::StoreError;
use super::super::upkeep::{CheckpointPiece, Found, Removal, Sweep};
use super::{Call, MemoryStore, State};

impl MemoryStore {
    pub(in super::super) async fn walk_active(&self) -> Result<(Vec<String>, u64), StoreError> {
        let active = |state: &mut State| {
            let tokens = state.active(usize::MAX).into_iter().map(|(token, _)| token);
            Ok((tokens.collect(), 0))
        };
        self.through(Call::Read("active"), active).await
    }

    pub(in super::super) async fn walk(&self) -> Result<(Found, u64), StoreError> {
        self.through(Call::Read("keys"), |state| Ok((state.found(), 0))).await
    }

    pub(in super::super) async fn results(&self, chunk: &Chunk) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let attempt = self.attempt(chunk.shard, chunk.owner);
        let read = |state: &mut State| {
            state.compare(&attempt)?;
            let value = |token: &str| state.tokens.get(token)?.values.get(&chunk.result_key).cloned();
            Ok(chunk.rows.iter().map(|row| value(&row.token)).collect())
        };
        self.through(Call::Read("results"), read).await
    }

    pub(in super::super) async fn remove(&self, removal: &Removal) -> Result<(), StoreError> {
        self.change(removal.shard, removal.owner, Call::Record("removal"), |state| {
            for token in &removal.tokens {
                let empty = state.tokens.get(token).is_none_or(|known| known.values.is_empty());
                if !removal.only_list || empty {
                    state.tokens.remove(token);
                }
            }
            Ok(())
        })
        .await
    }

    pub(in super::super) async fn sweep(&self, sweep: &Sweep) -> Result<(), StoreError> {
        self.change(sweep.shard, sweep.owner, Call::Record("sweep"), |state| {
            for CheckpointPiece { shard, plugin, place } in &sweep.pieces {
                let key = (*shard, plugin.clone());
                match (place, state.checkpoints.get_mut(&key)) {
                    (Some(place), Some(cell)) => drop(cell.pages.remove(place)),
                    // Its pages are nobody's without it.
                    (None, _) => drop(state.checkpoints.remove(&key)),
                    (Some(_), None) => {}
                }
            }
            state.checkpoints.retain(|_, cell| cell.head.is_some() || !cell.pages.is_empty());
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
impl MemoryStore {
    /// Puts a value where nobody has written it.
    pub(crate) fn plant(&self, token: &str, result_key: &str, value: &[u8]) {
        let mut state = self.lock();
        let token = state.tokens.entry(token.into()).or_default();
        token.values.insert(result_key.into(), value.to_vec());
        token.leading.get_or_insert(super::Leading { last_trade_ms: 0, last_update_ms: 0 });
    }
}

impl State {
    fn found(&self) -> Found {
        let results = self
            .tokens
            .iter()
            .flat_map(|(token, known)| known.values.keys().map(|key| (token.to_string(), key.to_string())));
        let pieces = self.checkpoints.iter().flat_map(|((shard, plugin), cell)| {
            let piece =
                |place: Option<Place>| CheckpointPiece { shard: *shard, plugin: plugin.clone(), place };
            cell.head
                .iter()
                .map(move |_| piece(None))
                .chain(cell.pages.keys().map(move |&place| piece(Some(place))))
        });
        Found { results: results.collect(), pieces: pieces.collect() }
    }
}
