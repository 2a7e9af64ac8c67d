//! What can go wrong with a store, and what the caller does about it.
//!
//! Callers match on [`StoreError::action`] only; the words are for people, and name the command and the
//! key, or the server. Invariant: no text here holds a password.

use std::path::PathBuf;
use std::time::Duration;

use super::owner::Owner;

/// What a caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Count it, report it, and go on: trying again would not help, and the rest was done.
    Skip,
    /// Try again, with a growing wait, until it works; the store is not ready.
    Retry,
    /// Another owner is on record; none: the store has forgotten that the caller is it.
    Fenced(Option<Owner>),
    /// The store has forgotten writes that it had acknowledged: claim the shard again and write
    /// everything anew.
    Regressed,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, or it broke.
    #[error("redis at {server} cannot be reached: {source}")]
    Unreachable {
        /// The address, without password.
        server: String,
        /// What the client says.
        source: redis::RedisError,
    },
    /// No answer in time.
    #[error("redis at {server} did not answer {command} within {limit:?}")]
    Timeout {
        /// The address, without password.
        server: String,
        /// What was asked.
        command: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// The server answered with an error: it loads, is full, is a replica, forbids the command.
    #[error("redis refused {command} for {key}: {words}")]
    Refused {
        /// What was asked.
        command: String,
        /// The key, or the first of them.
        key: String,
        /// The server's words.
        words: String,
    },
    /// The answer is none that the command can have.
    #[error("redis answered {command} with something else: {words}")]
    Answer {
        /// What was asked.
        command: &'static str,
        /// What is wrong with the answer.
        words: String,
    },
    /// Another owner is on record. Nothing was written.
    #[error("the shard is not owned by {own}: on record is {}", words(*found))]
    Fenced {
        /// The owner on record.
        found: Option<Owner>,
        /// Who wanted to write.
        own: Owner,
    },
    /// Other processes claimed the same scope each time. Nothing was written.
    #[error("{scope} is being claimed by several processes")]
    Contended {
        /// The scope.
        scope: String,
    },
    /// A later write of the same shard was there first. Nothing was written.
    #[error("a later write to shard {shard} was taken before this one")]
    Overtaken {
        /// The shard.
        shard: u32,
    },
    /// The store went back to an older state, or lost pages of the checkpoint. Nothing was written.
    #[error("the store has forgotten writes to shard {shard} that it had acknowledged")]
    Regressed {
        /// The shard.
        shard: u32,
    },
    /// Something else than the service keeps its own values in a key. That key was left out, everything
    /// else is written.
    #[error("{key} holds a {found}, {command} cannot be used on it: delete the key")]
    WrongType {
        /// The key.
        key: String,
        /// The command that it needs.
        command: &'static str,
        /// The type that the key has.
        found: String,
    },
    /// A stored value is not one that this service writes.
    #[error("{key} holds something that this service does not write: {words}")]
    Undecodable {
        /// The key.
        key: String,
        /// What is wrong with it.
        words: String,
    },
}

impl StoreError {
    /// What the caller does.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            // An older epoch on record means that the server went back to an older state.
            Self::Fenced { found, own } => Action::Fenced(found.filter(|found| found.epoch >= own.epoch)),
            Self::Regressed { .. } => Action::Regressed,
            Self::WrongType { .. } | Self::Undecodable { .. } => Action::Skip,
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Refused { .. }
            | Self::Answer { .. }
            | Self::Contended { .. }
            | Self::Overtaken { .. } => Action::Retry,
        }
    }
}

/// What stands under a key is not what this service writes there.
pub(super) fn undecodable(key: &str, words: String) -> StoreError {
    StoreError::Undecodable { key: key.to_owned(), words }
}

fn words(found: Option<Owner>) -> String {
    found.map_or_else(|| "nobody".to_owned(), |owner| owner.to_string())
}

/// Why a store cannot work with its settings: the start stops.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is none that the client understands.
    #[error("redis address {server} cannot be used: {source}")]
    Address {
        /// The address, without password.
        server: String,
        /// What the client says.
        source: redis::RedisError,
    },
    /// The certificates cannot be read.
    #[error("the certificates in {} cannot be read: {source}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}
