//! Fetching what a shard starts from: the checkpoint of each of its cells.
//!
//! Not for putting it into a cell. Invariant: a checkpoint is used whole or not at all; one that does
//! not fit what runs now is left out with words, and the cell reads the horizon again.

use std::sync::Arc;

use super::checkpoint::{Saved, StatePage};
use crate::store::{Action, Head, Store, StoreError};

/// Which checkpoints are wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The layout that they must belong to.
    pub(super) layout: Arc<str>,
    /// The cells in their order.
    pub(super) cells: Vec<WantedCell>,
}

impl Wanted {
    /// No checkpoint at all: where none are taken, a shard is claimed and nothing fetched.
    pub(super) fn nothing(layout: &Arc<str>) -> Self {
        Self { layout: Arc::clone(layout), cells: Vec::new() }
    }
}

/// What a cell can start from.
#[derive(Debug, Clone)]
pub(super) struct WantedCell {
    /// The plugin's name.
    pub(super) plugin: Arc<str>,
    /// How far back its longest window reaches.
    pub(super) horizon_ms: u64,
    /// The steps in which its results move with time.
    pub(super) step_ms: u64,
}

/// Fetches the checkpoints of a shard's cells.
pub(super) async fn fetch(
    store: &Store,
    shard: u32,
    wanted: &Wanted,
) -> Result<Vec<Option<Saved>>, StoreError> {
    let mut saved = Vec::new();
    for cell in &wanted.cells {
        match fetch_cell(store, shard, wanted, cell).await {
            Ok(found) => saved.push(found),
            Err(error) if error.action() == Action::Skip => {
                tracing::error!(shard, plugin = %cell.plugin, %error, "Checkpoint not used");
                saved.push(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(saved)
}

async fn fetch_cell(
    store: &Store,
    shard: u32,
    wanted: &Wanted,
    cell: &WantedCell,
) -> Result<Option<Saved>, StoreError> {
    let Some(head) = store.head(shard, &cell.plugin).await? else {
        return Ok(None);
    };
    let pages = match fits(&head, wanted, cell) {
        Ok(()) => fetch_pages(store, shard, cell, &head).await?,
        Err(words) => Err(words),
    };
    if let Err(words) = &pages {
        tracing::warn!(shard, plugin = %cell.plugin, reason = %words, "Checkpoint not used");
    }
    Ok(Some(Saved { head, pages: pages.ok() }))
}

async fn fetch_pages(
    store: &Store,
    shard: u32,
    cell: &WantedCell,
    head: &Head,
) -> Result<Result<Vec<StatePage>, String>, StoreError> {
    let mut pages = Vec::new();
    for part in &head.parts {
        for index in 0..part.pages {
            let Some(bytes) = store.page(shard, &cell.plugin, part.id, index).await? else {
                return Ok(Err(format!("page {index} of part {} is missing", part.id)));
            };
            match StatePage::decode(&bytes) {
                Ok(page) => pages.push(page),
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
    }
    Ok(Ok(pages))
}

/// Whether a checkpoint has all that the cell needs.
fn fits(head: &Head, wanted: &Wanted, cell: &WantedCell) -> Result<(), String> {
    if *head.layout != *wanted.layout {
        return Err(format!("it belongs to the layout {}, this is {}", head.layout, wanted.layout));
    }
    if head.step_ms != cell.step_ms {
        return Err(format!("its steps are {} ms, by now they are {} ms", head.step_ms, cell.step_ms));
    }
    if head.horizon_ms < cell.horizon_ms {
        return Err(format!(
            "it reaches {} s back, the longest window by now {} s",
            head.horizon_ms / 1000,
            cell.horizon_ms / 1000
        ));
    }
    Ok(())
}
