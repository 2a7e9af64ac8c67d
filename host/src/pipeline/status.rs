//! What a worker tells people about its shards: the tokens that are alive, and where each shard is.
//!
//! Not for results: those are read from the store. Invariant: answers are bounded by their limit.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Shared;
use super::board::CellStatus;
use super::cell::{Cell, Sight};
use super::shard::Shard;
use crate::results::LEADING_KEY;

/// The order of tokens in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Most trades first, counted since the token became known.
    #[default]
    Trades,
    /// Latest trade first.
    LastTrade,
    /// By address.
    Token,
}

/// One token that is alive.
#[derive(Debug, Clone, Serialize)]
pub struct TokenStatus {
    /// Its address.
    pub token: String,
    /// The event time of its last trade, in unix milliseconds.
    pub last_trade_ms: i64,
    /// Trades since it became known.
    pub trades: u64,
    /// The shard that has it.
    pub shard: u32,
}

/// Sorts tokens and keeps the first ones.
pub fn first(mut tokens: Vec<TokenStatus>, limit: usize, sort: Sort) -> Vec<TokenStatus> {
    tokens.sort_by(|a, b| {
        let by_sort = match sort {
            Sort::Trades => b.trades.cmp(&a.trades),
            Sort::LastTrade => b.last_trade_ms.cmp(&a.last_trade_ms),
            Sort::Token => std::cmp::Ordering::Equal,
        };
        by_sort.then_with(|| a.token.cmp(&b.token))
    });
    tokens.truncate(limit);
    tokens
}

/// The first tokens of these shards.
pub fn tokens<'a>(shards: impl Iterator<Item = &'a Shard>, limit: usize, sort: Sort) -> Vec<TokenStatus> {
    let mut kept = Vec::new();
    for shard in shards {
        for token in shard.tokens.iter() {
            kept.push(TokenStatus {
                token: token.text.to_string(),
                last_trade_ms: token.last_trade_ms,
                trades: token.trades,
                shard: shard.id,
            });
            // Half of what was gathered goes when it is too much, so that a million tokens never
            // stand here at once.
            if kept.len() >= limit.max(64) * 4 {
                kept = first(kept, limit, sort);
            }
        }
    }
    first(kept, limit, sort)
}

/// Posts where a shard stands.
pub fn post(shared: &Shared, worker: usize, shard: &Shard) {
    let leading = shard.cells.iter().find(|cell| *cell.result_key == *LEADING_KEY);
    let clock_ms = leading.or(shard.cells.first()).and_then(|cell| cell.clock.now_ms());
    let cells: Vec<CellStatus> = shard.cells.iter().map(cell_status).collect();
    let (tokens, visible_memory_bytes) = (shard.tokens.len(), shard.visible_memory_bytes());
    shared.board.shard(shard.id, |status| {
        status.clock_ms = clock_ms;
        status.tokens = tokens;
        status.worker = worker;
        status.memory_bytes = cells.iter().map(|cell| cell.memory_bytes).sum();
        status.visible_memory_bytes = visible_memory_bytes;
        status.cells = cells;
    });
    for cell in &shard.cells {
        let topic = format!("{} in shard {}", cell.running.name(), shard.id);
        match cell.recovery.suspended_by() {
            Some(error) => shared.health.fail(crate::health::Part::Plugins, &topic, &error.to_string()),
            None => shared.health.clear(crate::health::Part::Plugins, &topic),
        }
    }
}

fn cell_status(cell: &Cell) -> CellStatus {
    let state = match (cell.recovery.suspended_by(), cell.sight) {
        (Some(_), _) => "suspended",
        (None, _) if !cell.is_active() => "failed",
        (None, _) if cell.lag.is_some() => "catching-up",
        (None, Sight::Visible) => "shown",
        (None, Sight::Withheld) => "withheld",
        (None, Sight::Hidden) => "hidden",
    };
    CellStatus {
        plugin: cell.running.name().into(),
        digest: Arc::clone(&cell.running.digest),
        state,
        memory_bytes: cell.memory_bytes(),
        cost: cell.cost,
        fault: cell.recovery.fault().map(ToString::to_string),
    }
}
