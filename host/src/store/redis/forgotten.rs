//! Looks whether the server still has what it acknowledged.
//!
//! Not for repair: who claims the shard again also writes everything anew. Invariant: what the server
//! must have is noted before it is asked, so that a write meanwhile is no reason to suspect it.

use super::super::claims::Claim;
use super::super::error::StoreError;
use super::super::keys;
use super::super::owner::Owner;
use super::RedisStore;

impl RedisStore {
    pub(in super::super) async fn forgotten(&self, shards: &[u32]) -> Result<Vec<u32>, StoreError> {
        let claims: Vec<(u32, Claim)> =
            shards.iter().filter_map(|&shard| Some((shard, self.claims.of(&keys::shard(shard))?))).collect();
        if claims.is_empty() {
            self.ping().await?;
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("MGET");
        for (shard, _) in &claims {
            let scope = keys::shard(*shard);
            command.arg(keys::owner(&scope)).arg(keys::written(&scope));
        }
        let first = keys::owner(&keys::shard(claims[0].0));
        let found: Vec<Option<String>> = self.reader.call(&command, "MGET", &first).await?;
        let forgotten = claims.iter().zip(found.chunks_exact(2)).filter(|((_, claim), found)| {
            let owner = found[0].as_deref().and_then(Owner::parse);
            let number = found[1].as_deref().and_then(|number| number.parse().ok());
            claim.is_forgotten(owner, number)
        });
        Ok(forgotten.map(|((shard, _), _)| *shard).collect())
    }
}
