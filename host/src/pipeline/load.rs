//! Fetching what a shard starts from: the checkpoint of each of its cells.
//!
//! Not for putting it into a cell. Invariant: a checkpoint is used whole or not at all; one that does
//! not fit what runs now is left out with words, and the cell reads the horizon again.

use std::sync::Arc;

use super::Shared;
use super::checkpoint::Saved;
use super::ground::{Ground, checkpoint_name};
use super::moved;
use super::page::StatePage;
use super::route::Layout;
use crate::store::{Action, Head, SavedMark, Store, StoreError};

/// Which checkpoints are wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The layout that they must belong to.
    pub(super) layout: Arc<str>,
    /// How trades find their shards in it.
    pub(super) own: Layout,
    /// Which topic their offsets must count, and how the store calls them.
    pub(super) ground: Arc<Ground>,
    /// The cells in their order.
    pub(super) cells: Vec<WantedCell>,
}

impl Wanted {
    /// No checkpoint at all: where none are taken, a shard is claimed and nothing fetched.
    pub(super) fn nothing(shared: &Shared) -> Self {
        Self::of(shared, Vec::new())
    }

    /// The checkpoints of these cells.
    pub(super) fn of(shared: &Shared, cells: Vec<WantedCell>) -> Self {
        let layout = Arc::clone(&shared.layout_name);
        Self { layout, own: shared.layout, ground: shared.ground(), cells }
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
    let name = checkpoint_name(wanted.ground.layout_id, &cell.plugin);
    let Some(head) = store.head(shard, &name).await? else {
        return match &wanted.ground.former {
            Some(former) => moved::fetch(store, shard, (wanted, cell), former, Vec::new()).await,
            None => Ok(None),
        };
    };
    let pages = match fits(&head, &wanted.layout, cell) {
        Ok(()) => fetch_pages(store, shard, &name, &head).await?,
        Err(words) => Err(words),
    };
    if let Err(words) = &pages {
        tracing::warn!(shard, plugin = %cell.plugin, reason = %words, "Checkpoint not used");
        if let Some(former) = &wanted.ground.former {
            let carried = moved::fetch(store, shard, (wanted, cell), former, head.parts.clone()).await?;
            return Ok(Some(carried.unwrap_or(Saved::own(of_topic(head, wanted), None))));
        }
    }
    Ok(Some(Saved::own(of_topic(head, wanted), pages.ok())))
}

/// A head as it is to be used: offsets of another topic, which had the same name, are those of nothing. What was
/// counted stays counted, and all that the new topic holds is new.
pub(super) fn of_topic(head: Head, wanted: &Wanted) -> Head {
    match (&head.topic_id, &wanted.ground.topic_id) {
        (Some(saved), Some(read)) if **saved != **read => {
            let unread = |mark: SavedMark| SavedMark { next: 0, newest_ms: None, ..mark };
            let marks = head.marks.into_iter().map(unread).collect();
            Head { marks, decoded: Vec::new(), quarantined: Vec::new(), ..head }
        }
        _ => head,
    }
}

pub(super) async fn fetch_pages(
    store: &Store,
    shard: u32,
    name: &str,
    head: &Head,
) -> Result<Result<Vec<StatePage>, String>, StoreError> {
    let mut pages = Vec::new();
    for part in &head.parts {
        for index in 0..part.pages {
            let Some(bytes) = store.page(shard, name, part.id, index).await? else {
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
pub(super) fn fits(head: &Head, layout: &str, cell: &WantedCell) -> Result<(), String> {
    if *head.layout != *layout {
        return Err(format!("it belongs to the layout {}, this is {layout}", head.layout));
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
