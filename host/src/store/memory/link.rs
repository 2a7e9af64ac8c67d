//! What may stand between a client and a store in memory: nothing in a demo; in a simulation, time and
//! faults.
//!
//! Invariant: whatever a link does, a call changes the store at one moment and whole, or not at all.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use super::super::checkpoint::{Commit, StagedPage};
use super::super::chunk::Chunk;
use super::super::error::StoreError;

/// What is asked of the store.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// Rows of a shard.
    Write(&'a Chunk),
    /// A page of a checkpoint.
    Stage(&'a StagedPage),
    /// The end of a checkpoint.
    Commit(&'a Commit),
    /// The claim of a scope.
    Claim(&'a str),
    /// A record of the whole service.
    Record(&'static str),
    /// Something that changes nothing.
    Read(&'static str),
}

/// Resolves when a call or its answer has arrived, with the error of a call that was given up.
pub type Passage = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// The way to a store and back.
pub trait Link: Debug + Send + Sync {
    /// A call is on its way to the store. With an error it does not get there.
    fn request(&self, call: Call<'_>) -> Passage;
    /// An answer is on its way back; `taken` says that the call did what it was to do. With an error the
    /// caller does not hear of it.
    fn answer(&self, call: Call<'_>, taken: bool) -> Passage;
}
