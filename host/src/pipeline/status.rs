//! What a worker tells people about its shards: the tokens that are alive, and where each shard is.
//!
//! Not for results: those are read from the store. Invariant: answers are bounded by their limit.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Shared;
use super::board::CellStatus;
use super::cell::{Cell, Sight};
use super::shard::Shard;
use super::tokens::Token;
use crate::health::{Part, shard_topic};
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

impl TokenStatus {
    fn rank(&self) -> Rank<'_> {
        (self.trades, self.last_trade_ms, &self.token)
    }
}

/// What an order looks at: trades, last trade, address.
type Rank<'a> = (u64, i64, &'a str);

impl Sort {
    fn compare(self, a: Rank<'_>, b: Rank<'_>) -> Ordering {
        let by_sort = match self {
            Self::Trades => b.0.cmp(&a.0),
            Self::LastTrade => b.1.cmp(&a.1),
            Self::Token => Ordering::Equal,
        };
        by_sort.then_with(|| a.2.cmp(b.2))
    }
}

/// Sorts tokens and keeps the first ones.
pub fn first(mut tokens: Vec<TokenStatus>, limit: usize, sort: Sort) -> Vec<TokenStatus> {
    tokens.sort_by(|a, b| sort.compare(a.rank(), b.rank()));
    tokens.truncate(limit);
    tokens
}

/// The first tokens of these shards, in no order.
pub fn tokens<'a>(shards: impl Iterator<Item = &'a Shard>, limit: usize, sort: Sort) -> Vec<TokenStatus> {
    let keep_first = |kept: &mut Vec<(u32, &Token)>| {
        if kept.len() > limit {
            kept.select_nth_unstable_by(limit, |(_, a), (_, b)| sort.compare(rank(a), rank(b)));
            kept.truncate(limit);
        }
    };
    let mut kept: Vec<(u32, &Token)> = Vec::new();
    for shard in shards {
        for token in shard.tokens.iter() {
            kept.push((shard.id, token));
            // Selected only when there are many more than asked for, so that each is looked at a few times.
            if kept.len() >= limit.max(64) * 4 {
                keep_first(&mut kept);
            }
        }
    }
    keep_first(&mut kept);
    let status = |(shard, token): (u32, &Token)| TokenStatus {
        token: token.text.to_string(),
        last_trade_ms: token.last_trade_ms,
        trades: token.trades,
        shard,
    };
    kept.into_iter().map(status).collect()
}

fn rank(token: &Token) -> Rank<'_> {
    (token.trades, token.last_trade_ms, &token.text)
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
        status.checkpoints_ms.retain(|plugin, _| cells.iter().any(|cell| cell.plugin == *plugin));
        status.cells = cells;
    });
    let (topic, part) = (shard_topic(shard.id), Part::Plugins);
    match shard.cells.iter().find_map(|cell| cell.recovery.suspended_by()) {
        Some(error) => shared.health.fail(part, &topic, &error.to_string()),
        None => shared.health.clear(part, &topic),
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
