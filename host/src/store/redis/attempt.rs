//! A try of a write to a shard: what `fence.lua` is asked with, and what it answers.
//!
//! Invariant: each try has a number of its own, above those of all tries before it; the answers here are
//! those in the scripts.

use redis::Cmd;

use super::super::error::StoreError;
use super::super::keys;
use super::super::owner::Owner;
use super::RedisStore;
use super::script::Script;

/// One try.
#[derive(Debug)]
pub(super) struct Attempt {
    shard: u32,
    owner: Owner,
    scope: String,
    owner_key: String,
    number: u64,
    /// The number that the server must have come to, if it has forgotten nothing.
    acknowledged: u64,
}

impl RedisStore {
    /// Numbers a try.
    pub(super) fn attempt(&self, shard: u32, owner: Owner) -> Attempt {
        let scope = keys::shard(shard);
        let acknowledged = self.claims.of(&scope).map_or(0, |claim| claim.acknowledged);
        let owner_key = keys::owner(&scope);
        Attempt { shard, owner, scope, owner_key, number: self.next_try(), acknowledged }
    }

    /// Sends a try, and remembers that the server has taken it.
    pub(super) async fn send(
        &self,
        script: &Script,
        attempt: &Attempt,
        command: &Cmd,
    ) -> Result<(), StoreError> {
        let link = self.writer(attempt.shard as usize);
        let answer: Vec<Vec<u8>> = script.call(link, command, &attempt.owner_key).await?;
        let taken = attempt.read(&answer);
        if matches!(taken, Ok(()) | Err(StoreError::WrongType { .. })) {
            self.claims.acknowledged(&attempt.scope, attempt.owner, attempt.number);
        }
        if matches!(taken, Err(StoreError::WrongType { .. })) {
            self.note_left_out();
        }
        taken
    }
}

impl Attempt {
    /// Begins the call of a script with these keys of its own; its own arguments follow. The numbers are
    /// hints for its size.
    pub(super) fn command<K: AsRef<str>>(
        &self,
        script: &Script,
        keys: &[K],
        arguments: usize,
        bytes: usize,
    ) -> Cmd {
        let bytes = bytes + keys.iter().map(|key| key.as_ref().len()).sum::<usize>();
        let mut command = script.command(2 + keys.len(), 3 + arguments, 256 + bytes);
        command.arg(&self.owner_key).arg(keys::written(&self.scope));
        for key in keys {
            command.arg(key.as_ref());
        }
        command.arg(self.owner.to_string()).arg(self.number).arg(self.acknowledged);
        command
    }

    /// The key of the owner record, for the words of an error.
    pub(super) fn owner_key(&self) -> &str {
        &self.owner_key
    }

    /// Reads the answer: a word and what belongs to it.
    pub(super) fn read(&self, answer: &[Vec<u8>]) -> Result<(), StoreError> {
        let words: Vec<_> = answer.iter().map(|word| String::from_utf8_lossy(word)).collect();
        let words: Vec<&str> = words.iter().map(|word| &**word).collect();
        match words.as_slice() {
            ["written"] => Ok(()),
            ["fenced"] => Err(StoreError::Fenced { found: None, own: self.owner }),
            ["fenced", record] => Err(StoreError::Fenced { found: Owner::parse(record), own: self.owner }),
            ["overtaken"] => Err(StoreError::Overtaken { shard: self.shard }),
            ["regressed"] => Err(StoreError::Regressed { shard: self.shard }),
            ["wrong-type", key, found] => Err(StoreError::WrongType {
                key: (*key).to_owned(),
                command: "ZADD",
                found: (*found).to_owned(),
            }),
            ["no-permission", command, key] => Err(StoreError::Refused {
                command: (*command).to_owned(),
                key: (*key).to_owned(),
                words: "NOPERM this user has no permission to run the command or to access the key"
                    .to_owned(),
            }),
            other => Err(StoreError::Answer { command: "EVALSHA", words: format!("{other:?}") }),
        }
    }
}
