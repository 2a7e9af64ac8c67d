//! Memory compared with the store: rows that must stand there, and what does.
//!
//! Right after a flush has given every changed row, the same clock is asked for rows of a few tokens once
//! more. Nothing lies between, so these are what the last write of each token must have been, but for the
//! clock in them. They travel behind all rows through the shard's writer, which reads what the store has at
//! their turn: nothing that was written before is pending then, and nothing later was written. What was
//! made before the store forgot is left out: all is written again then. Not for choosing the tokens. Invariant: what
//! differs here differs for a reason that is no delay.

use std::sync::Arc;

use serde_json::Value;

use super::Shared;
use super::cell::Cell;
use super::flush::{self, CHUNK_ROWS};
use super::tokens::Tokens;
use super::writer::{Outgoing, WriterHandle};
use crate::plugin::contract::Kind;
use crate::store::{Chunk, result_value};

/// Rows that are compared.
#[derive(Debug)]
pub(super) struct Audit {
    /// The rows, as they would be written.
    pub(super) chunk: Box<Chunk>,
    /// How often the store had forgotten when everything that it lacks was counted as changed.
    pub(super) lineage: u64,
    /// Fields that hold the clock of a row's last write.
    clocks: Vec<String>,
}

/// A row that differs.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) token: Arc<str>,
    pub(super) memory: String,
    /// What the store has; none: nothing.
    pub(super) store: Option<String>,
}

/// Hands rows of some tokens to the writer to be compared, right after a flush that gave all rows, at the
/// same clock. Returns tokens that turned out to be gone.
pub(super) fn compare(
    (shard, lineage): (u32, u64),
    cell: &mut Cell,
    sample: &[u32],
    clock_ms: i64,
    tokens: &mut Tokens,
    writer: &WriterHandle,
    shared: &Shared,
) -> Vec<Arc<str>> {
    if sample.is_empty() {
        return Vec::new();
    }
    cell.touch(sample, tokens);
    let Some(table) = cell.flush(clock_ms, CHUNK_ROWS, tokens) else {
        return Vec::new();
    };
    let description = cell.running.plugin.description();
    shared.metrics.plugins.add(description, shard, &table);
    if let Some((chunk, _)) = flush::chunk(shard, cell, tokens, &table, clock_ms, &shared.rules) {
        let clocks = description.fields.iter().filter(|field| matches!(field.kind, Kind::Clock));
        let clocks = clocks.map(|field| field.name.clone()).collect();
        writer.send(Outgoing::Audit(Audit { chunk, lineage, clocks }));
    }
    let kept = cell.keeps_removals(&shared.rules);
    table.forgotten.iter().filter_map(|&number| cell.forgotten(number, kept, tokens)).collect()
}

impl Audit {
    /// The rows that differ from what the store has in their places.
    pub(super) fn differences(&self, stored: &[Option<Vec<u8>>]) -> Vec<Difference> {
        let rows = self.chunk.values().zip(stored);
        let differing = rows.filter_map(|((row, own), stored)| {
            let same = stored.as_ref().is_some_and(|stored| stored == own || self.equal(own, stored));
            (!same).then(|| Difference {
                token: Arc::clone(&row.token),
                memory: shown(own),
                store: stored.as_deref().map(shown),
            })
        });
        differing.collect()
    }

    /// Whether two values are the same but for their clocks.
    fn equal(&self, own: &[u8], stored: &[u8]) -> bool {
        let read = |bytes: &[u8]| {
            let mut value = result_value("", bytes).ok()?;
            for group in value.as_object_mut()?.values_mut().filter_map(Value::as_object_mut) {
                group.retain(|field, _| !self.clocks.contains(field));
            }
            Some(value)
        };
        read(own).is_some_and(|own| read(stored) == Some(own))
    }
}

/// A value for people, whatever its encoding, also where it is none of ours.
fn shown(bytes: &[u8]) -> String {
    match result_value("", bytes) {
        Ok(value) if value.is_object() => value.to_string(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Row;

    fn audit(value: &[u8]) -> Audit {
        let mut chunk = Chunk::new(0, "aggregates".into(), true, 0, None);
        chunk.values.extend_from_slice(value);
        chunk.rows.push(Row { token: "a".into(), last_trade_ms: 0, end: value.len() });
        Audit { chunk: Box::new(chunk), lineage: 0, clocks: vec!["last_update".to_owned()] }
    }

    #[test]
    fn the_clock_of_the_last_write_is_no_difference_and_anything_else_is() {
        let own = audit(br#"{"1min":{"buy_count":3,"last_update":"later"}}"#);
        let differs = |stored: &[u8]| !own.differences(&[Some(stored.to_vec())]).is_empty();
        assert!(!differs(br#"{"1min":{"buy_count":3,"last_update":"earlier"}}"#));
        assert!(differs(br#"{"1min":{"buy_count":4,"last_update":"later"}}"#));
        assert!(differs(br#"{"1min":{"buy_count":3}},"#));
        assert!(differs(b"something else"));
        // Its first byte would be a number as MessagePack.
        assert_eq!(
            own.differences(&[Some(b"something else".to_vec())])[0].store.as_deref(),
            Some("something else")
        );
        let missing = own.differences(&[None]);
        assert!(missing[0].store.is_none() && missing[0].memory.contains("buy_count"));
    }
}
