//! Leftovers in the store: tokens and results that no cell holds, checkpoints that nothing reads any more.
//!
//! The walk over the store takes small steps, some in each round, and goes on where it ended. What it meets
//! is a suspicion only: a shard's worker decides of its own tokens, and its writer removes them behind all
//! that was written before. Where tokens are partitioned by the producer (`by-token`), nobody knows to whom a
//! forgotten one belongs: then only members of the active list go of which no result is stored any more.
//! Records of owners are never touched, since they keep former owners from writing. Invariant: a piece of a
//! checkpoint goes only when nothing could read it at the next start, of any host.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::Work;
use crate::metrics::Leftover;
use crate::pipeline::ground::checkpoint_name;
use crate::pipeline::upkeep::Upkeep;
use crate::store::{CheckpointPiece, Found, REMOVED_AT_ONCE, StoreError, removed_at_once};

/// How many steps over the active list, and over all keys, a round takes.
const STEPS: usize = 100;
/// The rest between two steps, so that the server has others to serve.
const REST: Duration = Duration::from_millis(1);
/// How soon a call of the store is given up when the service ends.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where the walk goes on.
#[derive(Debug, Default)]
pub(super) struct Walk {
    active: u64,
    keys: u64,
    /// Hashes of the tokens that shards were asked about in this round: a removal takes a while to be seen.
    asked: HashSet<u64>,
}

/// Why a walk ended early.
pub(super) enum Interrupted {
    /// The store does not answer, or refuses.
    Store(StoreError),
    /// The service ends.
    End,
}

impl From<StoreError> for Interrupted {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Work {
    /// Walks on; removes what it finds.
    pub(super) fn remove_leftovers(&mut self) -> Result<(), Interrupted> {
        let store = Arc::clone(&self.shared().writing.store);
        self.walk.asked.clear();
        for _ in 0..STEPS {
            let (tokens, next) = self.call(store.walk_active(self.walk.active))?;
            self.walk.active = next;
            self.remove_tokens(tokens);
            if next == 0 {
                break;
            }
            std::thread::sleep(REST);
        }
        for _ in 0..STEPS {
            let (Found { results, pieces }, next) = self.call(store.walk(self.walk.keys))?;
            self.walk.keys = next;
            self.remove_results(results);
            self.remove_pieces(pieces)?;
            if next == 0 {
                break;
            }
            std::thread::sleep(REST);
        }
        Ok(())
    }

    /// Calls the store, as long as the service does not end.
    fn call<R>(&self, call: impl Future<Output = Result<R, StoreError>>) -> Result<R, Interrupted> {
        let ended = async {
            while !self.ends() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        self.shared().runtime.block_on(async {
            tokio::select! {
                biased;
                () = ended => Err(Interrupted::End),
                answer = call => Ok(answer?),
            }
        })
    }

    /// Has shards look at members of the active list.
    fn remove_tokens(&mut self, mut tokens: Vec<String>) {
        tokens.retain(|token| self.walk.asked.insert(xxh3_64(token.as_bytes())));
        let mut by_shard: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        let mut nobodys = Vec::new();
        for token in tokens {
            match self.shared().layout.home(xxh3_64(token.as_bytes())) {
                Some(shard) => by_shard.entry(shard).or_default().push(token),
                None => nobodys.push(token),
            }
        }
        for (shard, tokens) in by_shard {
            self.remove_unheld(shard, tokens, true);
        }
        if let Some(&shard) = self.shards().first() {
            self.remove_unheld(shard, nobodys, false);
        }
    }

    fn remove_unheld(&self, shard: u32, mut tokens: Vec<String>, own: bool) {
        while !tokens.is_empty() {
            let some = removed_at_once(&mut tokens);
            let removed = self.ask(shard, |reply| Upkeep::Unheld { tokens: some, own, reply });
            if own {
                let removed = removed.unwrap_or(0);
                self.shared().metrics.maintenance.removed(Leftover::Tokens, removed);
            }
        }
    }

    /// Has shards look at tokens of which a result was met.
    fn remove_results(&mut self, results: Vec<(String, String)>) {
        let shared = self.shared();
        let running = shared.changes.running();
        let ours = |key: &str| running.iter().any(|plugin| plugin.result_key() == key);
        let mut tokens: Vec<String> =
            results.into_iter().filter(|(_, key)| ours(key)).map(|(token, _)| token).collect();
        tokens.retain(|token| shared.layout.home(xxh3_64(token.as_bytes())).is_some());
        tokens.sort_unstable();
        tokens.dedup();
        self.remove_tokens(tokens);
    }

    /// Removes pieces of checkpoints that nothing can read any more.
    fn remove_pieces(&self, pieces: Vec<CheckpointPiece>) -> Result<(), Interrupted> {
        if self.shared().ground().former.is_some() {
            // A change of the layout is under way, which reads the checkpoints of the former one.
            return Ok(());
        }
        let mut cells: BTreeMap<(u32, Arc<str>), Vec<CheckpointPiece>> = BTreeMap::new();
        for piece in pieces {
            cells.entry((piece.shard, Arc::clone(&piece.plugin))).or_default().push(piece);
        }
        for ((shard, plugin), mut pieces) in cells {
            if !self.may_judge(shard)? {
                continue;
            }
            pieces = self.permanent(pieces)?;
            // Read behind the pages' time to live: whatever has none was named by a head by then.
            let head = match self.call(self.shared().writing.store.head(shard, &plugin)) {
                Ok(head) => head,
                Err(Interrupted::Store(StoreError::Undecodable { .. })) => continue,
                Err(interrupted) => return Err(interrupted),
            };
            if !head.as_ref().is_some_and(|head| self.is_outlived(shard, &plugin, head)) {
                let named = |&(part, index): &(u64, u32)| {
                    let parts = head.iter().flat_map(|head| &head.parts);
                    parts.clone().any(|own| own.id == part && index < own.pages)
                };
                pieces.retain(|piece| piece.place.as_ref().is_some_and(|place| !named(place)));
            }
            self.sweep(pieces);
        }
        Ok(())
    }

    /// Whether this host may judge a shard's checkpoints: it owns it, or nobody can any more. While the layout
    /// on record is another one, somebody may be reading all of them.
    fn may_judge(&self, shard: u32) -> Result<bool, Interrupted> {
        let shared = self.shared();
        if shared.board.shards().contains_key(&shard) {
            return Ok(true);
        }
        let vanished = shared.layout.has_vanished(shard) && shared.checkpoint_interval.is_some();
        if !vanished {
            return Ok(false);
        }
        let layout = self.call(shared.writing.store.layout())?;
        Ok(layout.is_some_and(|layout| layout.to_string() == *shared.layout_name))
    }

    /// Those that do not go by themselves.
    fn permanent(&self, pieces: Vec<CheckpointPiece>) -> Result<Vec<CheckpointPiece>, Interrupted> {
        let store = &self.shared().writing.store;
        let mut kept = Vec::new();
        for piece in pieces {
            if piece.place.is_none() || self.call(store.is_permanent(&piece))? {
                kept.push(piece);
            }
        }
        Ok(kept)
    }

    /// Whether a checkpoint is of no use any more: of a plugin that does not run, or of a shard that nobody
    /// has, and older than what its windows hold.
    fn is_outlived(&self, shard: u32, plugin: &str, head: &crate::store::Head) -> bool {
        let shared = self.shared();
        let (name, _) = plugin.split_once('@').unwrap_or((plugin, ""));
        let of_layout = *checkpoint_name(shared.ground().layout_id, name) == *plugin;
        let runs = of_layout && shared.changes.has(name) && !shared.layout.has_vanished(shard);
        // A part is numbered by the wall clock.
        let newest_ms = head.parts.iter().map(|part| part.id).max().unwrap_or(0);
        let now_ms = shared.clock.now_ms().unsigned_abs();
        !runs && newest_ms.saturating_add(head.horizon_ms) < now_ms
    }

    fn sweep(&self, mut pieces: Vec<CheckpointPiece>) {
        // The head last: what it names is then gone, and nothing is left that nobody names.
        pieces.sort_by_key(|piece| piece.place.is_none());
        for some in pieces.chunks(REMOVED_AT_ONCE) {
            // Whichever shard of ours: its owner record stands for this host.
            let Some(&shard) = self.shards().first() else {
                return;
            };
            let pieces = some.to_vec();
            let swept = self.ask(shard, |reply| Upkeep::Sweep { pieces, reply });
            self.shared().metrics.maintenance.removed(Leftover::Checkpoints, swept.unwrap_or(0));
        }
    }
}
