//! Live trades and results for whoever listens: as decoded and as written, sampled.
//!
//! Not a way to read all of a feed: a listener gets so many lines a second at most, and what it does not take in is
//! left out, counted, and told. Invariants: while nobody listens, a batch costs one look at a number; while somebody
//! does, no worker ever waits for him.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::cell::Cell;
use super::tokens::Tokens;
use crate::clock::{WallClock, rfc3339};
use crate::config::Encoding;
use crate::plugin::contract::Table;
use crate::trade::{EVERYTHING, Optional, Rows};

/// How many may listen at once.
pub const MOST_LISTENERS: usize = 4;
/// The most lines that a listener may ask for in a second.
pub const MOST_PER_SECOND: u32 = 100_000;
/// How many pieces of text wait for a listener.
const WAITING: usize = 64;
/// When a piece is handed over and another one begun.
const PIECE_BYTES: usize = 64 << 10;

/// What a listener wants to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Only this token; none: all.
    pub token: Option<String>,
    /// How many lines in a second at most.
    pub per_second: u32,
    /// Decoded trades.
    pub trades: bool,
    /// Rows on their way to the store.
    pub results: bool,
}

/// Where trades and results can be listened to.
#[derive(Debug)]
pub struct Tap {
    clock: Arc<WallClock>,
    /// How many listen.
    listening: AtomicUsize,
    listeners: Mutex<Listeners>,
    next_id: AtomicU64,
}

/// Those who listen; none when there is nothing more to hear.
type Listeners = Option<Vec<Arc<Listener>>>;

/// The workers' side of one who listens.
#[derive(Debug)]
struct Listener {
    id: u64,
    wish: Wish,
    queue: mpsc::Sender<Vec<u8>>,
    budget: Mutex<Budget>,
}

/// What a listener has got in this second.
#[derive(Debug, Default)]
struct Budget {
    second: u64,
    lines: u32,
    /// Lines that were meant for it and left out, since it was told.
    left_out: u64,
}

/// One who listens; dropping it ends that.
#[derive(Debug)]
pub struct Listening {
    tap: Arc<Tap>,
    id: u64,
    queue: mpsc::Receiver<Vec<u8>>,
}

impl Tap {
    /// Makes one that nobody listens to.
    #[must_use]
    pub fn new(clock: Arc<WallClock>) -> Self {
        Self {
            clock,
            listening: AtomicUsize::new(0),
            listeners: Mutex::new(Some(Vec::new())),
            next_id: AtomicU64::new(0),
        }
    }

    /// Begins to listen; none where too many do.
    pub fn listen(self: &Arc<Self>, wish: Wish) -> Option<Listening> {
        let (sender, queue) = mpsc::channel(WAITING);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut listeners = self.listeners();
        // After the end, the sender goes here, and whoever listens hears that.
        if let Some(listeners) = listeners.as_mut() {
            if listeners.len() >= MOST_LISTENERS {
                return None;
            }
            listeners.push(Arc::new(Listener { id, wish, queue: sender, budget: Mutex::default() }));
            self.listening.store(listeners.len(), Ordering::Relaxed);
        }
        drop(listeners);
        Some(Listening { tap: Arc::clone(self), id, queue })
    }

    /// Tells all who listen that there is nothing more to hear.
    pub fn end(&self) {
        *self.listeners() = None;
        self.listening.store(0, Ordering::Relaxed);
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody listens.
    pub(super) fn is_on(&self) -> bool {
        self.listening.load(Ordering::Relaxed) > 0
    }

    /// The columns that must be filled: with somebody listening, all that a trade has.
    pub(super) fn columns(&self, asked: Optional) -> Optional {
        if self.is_on() { asked.and(EVERYTHING) } else { asked }
    }

    /// Tells of the trades of a batch.
    pub(super) fn trades(&self, rows: &Rows) {
        self.each(|wish| wish.trades, |listener, second| listener.trades(rows, second));
    }

    /// Tells of the rows of a table that are on their way to the store.
    pub(super) fn results(&self, cell: &Cell, tokens: &Tokens, table: &Table, clock_ms: i64) {
        self.each(
            |wish| wish.results,
            |listener, second| listener.results(second, cell, tokens, table, clock_ms),
        );
    }

    fn each(&self, wants: impl Fn(&Wish) -> bool, tell: impl Fn(&Listener, u64)) {
        if !self.is_on() {
            return;
        }
        // Cloned, so that nobody who comes or goes is held up.
        let listeners = self.listeners().clone().unwrap_or_default();
        let second = self.clock.monotonic().as_secs();
        listeners.iter().filter(|listener| wants(&listener.wish)).for_each(|listener| tell(listener, second));
    }

    fn leave(&self, id: u64) {
        if let Some(listeners) = self.listeners().as_mut() {
            listeners.retain(|listener| listener.id != id);
            self.listening.store(listeners.len(), Ordering::Relaxed);
        }
    }
}

impl Listener {
    fn wants(&self, token: &str) -> bool {
        self.wish.token.as_deref().is_none_or(|wanted| wanted == token)
    }

    fn trades(&self, rows: &Rows, second: u64) {
        let wanted: Vec<bool> =
            (0..rows.tokens.len() as u32).map(|token| self.wants(rows.tokens.text(token))).collect();
        let lines = (0..rows.len()).filter(|&row| wanted[rows.token[row] as usize]).map(|row| {
            move |line: &mut Vec<u8>| {
                // A batch that was decoded before somebody listened lacks columns.
                let Some(trade) = rows.json(row) else { return false };
                line.extend_from_slice(b"{\"trade\":");
                line.extend_from_slice(trade.as_bytes());
                line.extend_from_slice(b"}\n");
                true
            }
        });
        self.tell(second, lines);
    }

    fn results(&self, second: u64, cell: &Cell, tokens: &Tokens, table: &Table, clock_ms: i64) {
        let named = table.tokens.iter().enumerate().filter_map(|(row, &number)| {
            let token = tokens.get(number).filter(|token| self.wants(&token.text))?;
            Some((row, Arc::clone(&token.text)))
        });
        let lines = named.map(|(row, token)| {
            move |line: &mut Vec<u8>| {
                let head = serde_json::json!({
                    "plugin": cell.running.name(), "token": &*token, "clock": rfc3339::text(clock_ms),
                });
                let head = head.to_string();
                line.extend_from_slice(head.strip_suffix('}').unwrap_or(&head).as_bytes());
                line.extend_from_slice(b",\"result\":");
                cell.running.schema.encode_row(Encoding::Json, table, row, clock_ms, line);
                line.extend_from_slice(b"}\n");
                true
            }
        });
        self.tell(second, lines);
    }

    /// Writes lines as far as this second has room for them, and hands them over as far as the queue has.
    fn tell(&self, second: u64, lines: impl Iterator<Item = impl FnOnce(&mut Vec<u8>) -> bool>) {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        if budget.second != second {
            (budget.second, budget.lines) = (second, 0);
        }
        let (mut piece, mut pieced) = (Vec::new(), 0);
        for line in lines {
            if budget.lines >= self.wish.per_second {
                budget.left_out += 1;
            } else if line(&mut piece) {
                budget.lines += 1;
                pieced += 1;
                if piece.len() >= PIECE_BYTES {
                    self.hand_over(std::mem::take(&mut piece), std::mem::take(&mut pieced), &mut budget);
                }
            }
        }
        if pieced > 0 {
            self.hand_over(piece, pieced, &mut budget);
        }
    }

    fn hand_over(&self, mut piece: Vec<u8>, lines: u64, budget: &mut Budget) {
        if budget.left_out > 0 {
            piece.extend_from_slice(format!("{{\"left_out\":{}}}\n", budget.left_out).as_bytes());
        }
        match self.queue.try_send(piece) {
            Ok(()) => budget.left_out = 0,
            // Full: it is told with the next piece that finds room. Closed: nobody is left to tell.
            Err(_) => budget.left_out += lines,
        }
    }
}

impl Listening {
    /// Waits for the next lines: JSON objects, one a line, whole. None when the pipeline has ended.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.queue.recv().await
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.tap.leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trade::{Decoder, Limits};

    fn wish(token: Option<&str>, per_second: u32) -> Wish {
        Wish { token: token.map(str::to_owned), per_second, trades: true, results: false }
    }

    fn tap() -> Arc<Tap> {
        Arc::new(Tap::new(Arc::new(WallClock::start())))
    }

    /// Trades of these tokens, one each.
    fn rows(tokens: &[&str]) -> Rows {
        let limits = Limits { max_future_ms: 0, max_message_bytes: usize::MAX };
        let (mut rows, mut rejected) = (Rows::new(), Vec::new());
        for token in tokens {
            let message = format!(
                r#"{{"Token":"{token}","Wallet":"w\"1","SellBuy":"buy","NativeAmount":"1.5","TokenAmount":"1e3","PriceUsd":"0.1","TransTime":"2026-03-01T12:00:00.5Z","TxHash":"t"}}"#
            );
            let mut decoder = Decoder::new(limits, EVERYTHING);
            decoder.decode(message.as_bytes(), 0, None, i64::MAX, &mut rows, &mut rejected);
        }
        assert!(rejected.is_empty());
        rows
    }

    fn heard(listening: &mut Listening) -> String {
        let mut text = Vec::new();
        while let Ok(piece) = listening.queue.try_recv() {
            text.extend(piece);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_trade_is_heard_in_a_form_that_decodes_into_the_same_values() {
        let tap = tap();
        let mut listening = tap.listen(wish(None, 10)).unwrap();
        let told = rows(&["a"]);
        tap.trades(&told);
        let line = heard(&mut listening);
        let trade: serde_json::Value = serde_json::from_str(line.trim_end()).unwrap();
        let limits = Limits { max_future_ms: 0, max_message_bytes: usize::MAX };
        let (mut again, mut rejected) = (Rows::new(), Vec::new());
        let text = trade["trade"].to_string();
        Decoder::new(limits, EVERYTHING).decode(
            text.as_bytes(),
            0,
            None,
            i64::MAX,
            &mut again,
            &mut rejected,
        );
        assert_eq!(again, told, "{text}");
    }

    #[test]
    fn only_so_many_lines_a_second_are_heard_and_the_others_are_told() {
        let tap = tap();
        let mut listening = tap.listen(wish(Some("a"), 2)).unwrap();
        tap.trades(&rows(&["a", "b", "a", "a", "b", "a"]));
        let text = heard(&mut listening);
        assert_eq!(text.matches("\"Token\":\"a\"").count(), 2, "{text}");
        assert!(!text.contains("\"b\"") && text.ends_with("{\"left_out\":2}\n"), "{text}");
    }

    #[test]
    fn who_does_not_take_in_what_is_told_holds_nobody_up_and_hears_how_much_was_left_out() {
        let tap = tap();
        let mut listening = tap.listen(wish(None, MOST_PER_SECOND)).unwrap();
        let told = rows(&["a"]);
        for _ in 0..WAITING + 10 {
            tap.trades(&told);
        }
        assert_eq!(heard(&mut listening).matches("trade").count(), WAITING);
        tap.trades(&told);
        assert!(heard(&mut listening).ends_with("{\"left_out\":10}\n"));
    }

    #[test]
    fn the_end_is_heard_by_those_who_listen_and_by_those_who_come_later() {
        let tap = tap();
        let mut listening = tap.listen(wish(None, 1)).unwrap();
        tap.end();
        let mut later = tap.listen(wish(None, 1)).unwrap();
        let closed = mpsc::error::TryRecvError::Disconnected;
        assert_eq!(listening.queue.try_recv(), Err(closed));
        assert_eq!(later.queue.try_recv(), Err(closed));
    }

    #[test]
    fn nothing_is_filled_or_kept_when_the_last_listener_has_gone_and_places_are_bounded() {
        let tap = tap();
        assert_eq!(tap.columns(Optional::default()), Optional::default());
        let all: Vec<Listening> = (0..MOST_LISTENERS).filter_map(|_| tap.listen(wish(None, 1))).collect();
        assert_eq!(all.len(), MOST_LISTENERS);
        assert!(tap.listen(wish(None, 1)).is_none());
        assert_eq!(tap.columns(Optional::default()), EVERYTHING);
        drop(all);
        assert!(!tap.is_on());
        assert!(tap.listen(wish(None, 1)).is_some());
    }
}
