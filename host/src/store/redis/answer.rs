//! What `write.lua` answers: a word and what belongs to it.
//!
//! Invariant: the words here are those in the script.

use super::super::chunk::Chunk;
use super::super::error::StoreError;
use super::super::owner::Owner;

/// Reads the answer.
pub(super) fn written(chunk: &Chunk, answer: &[Vec<u8>]) -> Result<(), StoreError> {
    let words: Vec<_> = answer.iter().map(|word| String::from_utf8_lossy(word)).collect();
    let words: Vec<&str> = words.iter().map(|word| &**word).collect();
    match words.as_slice() {
        ["written"] => Ok(()),
        ["fenced"] => Err(StoreError::Fenced { found: None, own: chunk.owner }),
        ["fenced", record] => Err(StoreError::Fenced { found: Owner::parse(record), own: chunk.owner }),
        ["overtaken"] => Err(StoreError::Overtaken { shard: chunk.shard }),
        ["wrong-type", key, found] => {
            Err(StoreError::WrongType { key: (*key).to_owned(), command: "ZADD", found: (*found).to_owned() })
        }
        ["no-permission", command, key] => Err(StoreError::Refused {
            command: (*command).to_owned(),
            key: (*key).to_owned(),
            words: "NOPERM this user has no permission to run the command or to access the key".to_owned(),
        }),
        other => Err(StoreError::Answer { command: "EVALSHA", words: format!("{other:?}") }),
    }
}
