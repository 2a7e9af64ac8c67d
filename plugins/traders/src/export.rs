//! Taking state out and reading what comes in: a minute with the wallets that were last seen in it is a piece.
//!
//! Pages may be read while trades flow: a wallet that moves to another minute meanwhile changes both, and both come
//! again in the next round. The invariant: whatever changes after the first page carries a later generation.

use aggregator_sdk::contract::{Entries, Page};
use aggregator_sdk::{MOST_TOKENS, Side};

use crate::Traders;
use crate::minute::{Minute, take};

/// What a piece takes besides its bytes.
const PIECE_BYTES: usize = 16;
/// The lowest bits of a generation, as many as a cursor has room for.
const GENERATION_BITS: u32 = 24;

/// Minutes that went away, until [`Removed::trim`]: generation, token, minute.
#[derive(Default)]
pub(crate) struct Removed(Vec<(u32, u32, i64)>);

impl Removed {
    pub(crate) fn push(&mut self, generation: u32, token: u32, minute: i64) {
        // Before the first export nobody can miss it.
        if generation > 1 {
            self.0.push((generation, token, minute));
        }
    }

    pub(crate) fn trim(&mut self, generation: u64) {
        self.0.retain(|(removed, _, _)| u64::from(*removed) > generation);
    }
}

/// Where a page begins: the generation that the export closed, a token, and the low bits of a minute.
#[derive(Clone, Copy)]
struct Cursor {
    closed: u32,
    token: u32,
    minute: Option<u16>,
}

impl Cursor {
    fn encode(closed: u32, token: u32, minute: i64) -> u64 {
        u64::from(closed) << (64 - GENERATION_BITS) | u64::from(token) << 16 | u64::from(minute as u16)
    }

    fn decode(cursor: u64, generation: u32) -> Self {
        // The last generation before this one that has these bits.
        let back = (generation - 1).wrapping_sub((cursor >> (64 - GENERATION_BITS)) as u32);
        let closed = generation - 1 - (back & ((1 << GENERATION_BITS) - 1)).min(generation - 1);
        Self { closed, token: (cursor >> 16) as u32 % MOST_TOKENS, minute: Some(cursor as u16) }
    }

    /// Whether a page that begins here has this minute.
    fn reaches(self, token: u32, minute: i64) -> bool {
        // The minutes of a token lie nearer to each other than half of what 16 bits count.
        let low = self.minute.filter(|_| token == self.token);
        low.is_none_or(|low| (minute as u16).wrapping_sub(low).cast_signed() >= 0)
    }
}

impl Traders {
    pub(crate) fn export(&mut self, since: u64, cursor: u64, max_bytes: usize) -> Page {
        let begun = match cursor {
            0 => self.close_generation(),
            _ => Cursor::decode(cursor, self.generation),
        };
        let mut page = Page { generation: u64::from(begun.closed), ..Page::default() };
        if cursor == 0 && since > 0 {
            self.report_removed(since, &mut page);
        }
        let tokens = self.tokens.get(begun.token as usize..).unwrap_or_default();
        for (number, token) in (begun.token..).zip(tokens) {
            let Some(token) = token.as_deref().filter(|token| u64::from(token.changed) > since) else {
                continue;
            };
            for minute in &token.minutes {
                if u64::from(minute.changed) <= since || !begun.reaches(number, minute.number) {
                    continue;
                }
                let entries = &mut page.entries;
                if entries.bytes.len() + entries.tokens.len() * PIECE_BYTES >= max_bytes.max(1) {
                    page.next = Some(Cursor::encode(begun.closed, number, minute.number));
                    return page;
                }
                minute.pack(&mut entries.bytes);
                for (wallet, side, pane) in token.members(minute.number) {
                    entries.bytes.extend_from_slice(&wallet.to_le_bytes());
                    let place = (pane - minute.begin()) as u8;
                    entries.bytes.push(if side == Side::Buy { place } else { place | SOLD });
                }
                entries.tokens.push(number);
                entries.slots.push(minute.number.cast_unsigned());
                entries.ends.push(entries.bytes.len() as u32);
            }
        }
        page
    }

    fn close_generation(&mut self) -> Cursor {
        let closed = self.generation;
        // No cursor is 0, which begins an export.
        let zero = (closed + 1).is_multiple_of(1 << GENERATION_BITS);
        self.generation += 1 + u32::from(zero);
        Cursor { closed, token: 0, minute: None }
    }

    /// Reports what went away, in one page: a number and a minute each.
    fn report_removed(&self, since: u64, page: &mut Page) {
        for &(generation, token, minute) in &self.removed.0 {
            let place = self.tokens.get(token as usize).and_then(Option::as_deref);
            // What came back is a piece; reported as removed it would be deleted.
            let back = place.is_some_and(|token| token.minutes.iter().any(|other| other.number == minute));
            if u64::from(generation) > since && !back {
                page.removed.tokens.push(token);
                page.removed.slots.push(minute.cast_unsigned());
            }
        }
    }
}

/// Marks the place of a sale.
const SOLD: u8 = 0x80;

/// A minute as it is carried.
pub(crate) struct Piece {
    pub(crate) minute: Minute,
    /// Wallets that were last seen in it: hash, side, pane.
    pub(crate) members: Vec<(u64, Side, i64)>,
}

/// Reads all pieces, so that a fault in the last one leaves the state as it was.
pub(crate) fn pieces(entries: &Entries, generation: u32) -> Result<Vec<(u32, Piece)>, String> {
    let count = entries.tokens.len();
    if entries.slots.len() != count || entries.ends.len() != count {
        return Err("the columns of the entries are not equally long".to_owned());
    }
    let mut begin = 0;
    let mut pieces = Vec::with_capacity(count);
    for (at, &token) in entries.tokens.iter().enumerate() {
        let (number, end) = (entries.slots[at].cast_signed(), entries.ends[at] as usize);
        let piece = entries
            .bytes
            .get(begin..end)
            .filter(|_| token < MOST_TOKENS && number.unsigned_abs() < 1 << 50)
            .and_then(|bytes| piece(number, bytes, generation))
            .ok_or_else(|| format!("minute {number} of token {token} is no packed minute"))?;
        pieces.push((token, piece));
        begin = end;
    }
    Ok(pieces)
}

fn piece(number: i64, mut bytes: &[u8], generation: u32) -> Option<Piece> {
    let mut minute = Minute::unpack(number, &mut bytes)?;
    minute.changed = generation;
    let mut members = Vec::with_capacity(bytes.len() / 9);
    while !bytes.is_empty() {
        let wallet = u64::from_le_bytes(take(&mut bytes)?);
        let [place] = take(&mut bytes)?;
        let side = if place & SOLD == 0 { Side::Buy } else { Side::Sell };
        let pane = minute.begin() + i64::from(place & !SOLD);
        if !minute.holds(pane) {
            return None;
        }
        members.push((wallet, side, pane));
    }
    Some(Piece { minute, members })
}
