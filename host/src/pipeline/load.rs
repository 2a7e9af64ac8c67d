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

/// What a cell can start from.
#[derive(Debug, Clone)]
pub(super) struct WantedCell {
    /// The plugin's name.
    pub(super) plugin: Arc<str>,
    /// How far back its longest window reaches.
    pub(super) horizon_ms: u64,
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
            Ok(Ok(found)) => saved.push(found),
            Ok(Err(words)) => {
                tracing::warn!(shard, plugin = %cell.plugin, reason = %words, "Checkpoint not used");
                saved.push(None);
            }
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
) -> Result<Result<Option<Saved>, String>, StoreError> {
    let Some(head) = store.head(shard, &cell.plugin).await? else {
        return Ok(Ok(None));
    };
    if let Err(words) = fits(&head, wanted, cell) {
        return Ok(Err(words));
    }
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
    Ok(Ok(Some(Saved { head, pages })))
}

/// Whether a checkpoint has all that the cell needs.
fn fits(head: &Head, wanted: &Wanted, cell: &WantedCell) -> Result<(), String> {
    if *head.layout != *wanted.layout {
        return Err(format!("it belongs to the layout {}, this is {}", head.layout, wanted.layout));
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
