//! Sixty consecutive panes of one token: the unit of sealing, export and caching.
//!
//! Not for windows; a slot answers what its panes, or those behind a cut, come to. The invariant: a
//! cache never outlives a change of what it was made from.

use super::grid::PANES_PER_SLOT;
use crate::pane::Pane;

/// Slots with at most so many panes are merged anew each time, which is cheaper than keeping a cache.
const FEW: usize = 4;

/// Says in [`Slot::merged`] that the cache holds suffixes.
const SUFFIXES: u8 = u8::MAX;

/// One pane in its slot.
#[derive(Clone)]
struct Cell<P> {
    index: u8,
    pane: P,
}

/// Panes in order of time.
enum Body<P> {
    /// Taking trades.
    Open(Vec<Cell<P>>),
    /// Each pane as its index and its packed form; this is also the exported form.
    Sealed(Box<[u8]>),
}

/// What merging gave before.
enum Cache<P> {
    /// The first [`Slot::merged`] panes as one.
    Prefix(P),
    /// For each pane, it and all later ones as one: answers every cut with one look.
    Suffixes(Vec<Cell<P>>),
}

/// Sixty panes, of which only those with trades exist; never without any.
pub(super) struct Slot<P> {
    /// Which sixty: the number of the first pane divided by 60.
    pub(super) number: i64,
    /// The generation of the last change.
    pub(super) changed: u32,
    /// How many panes a sealed body holds.
    sealed_panes: u8,
    /// How many leading panes the cache covers; kept here so that a trade need not open the cache.
    merged: u8,
    /// It was cut before, and no window has passed it whole since.
    cut: bool,
    body: Body<P>,
    cache: Option<Box<Cache<P>>>,
}

impl<P: Pane> Slot<P> {
    /// Makes an open slot with room for so many panes; the caller adds a trade at once.
    pub(super) fn new(number: i64, room: usize) -> Self {
        Self {
            number,
            changed: 0,
            sealed_panes: 0,
            merged: 0,
            cut: false,
            body: Body::Open(Vec::with_capacity(room)),
            cache: None,
        }
    }

    /// Takes a slot in exported form; none where the bytes are not one.
    pub(super) fn from_packed(number: i64, bytes: &[u8], changed: u32) -> Option<Self> {
        let cells = unpack::<P>(bytes)?;
        Some(Self {
            number,
            changed,
            sealed_panes: cells.len() as u8,
            merged: 0,
            cut: false,
            body: Body::Sealed(bytes.into()),
            cache: None,
        })
    }

    /// The number of its first pane on the whole line of time.
    pub(super) fn begin(&self) -> i64 {
        self.number * PANES_PER_SLOT
    }

    /// The number of the last pane it can have.
    pub(super) fn end(&self) -> i64 {
        self.begin() + PANES_PER_SLOT - 1
    }

    /// Whether trades can be added without opening it.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.body, Body::Open(_))
    }

    /// The oldest pane's number on the whole line of time.
    pub(super) fn oldest_pane(&self) -> i64 {
        let index = match &self.body {
            Body::Open(cells) => cells.first().map_or(0, |cell| cell.index),
            Body::Sealed(bytes) => bytes[0],
        };
        self.begin() + i64::from(index)
    }

    /// Gives a pane to add a trade to, opening the slot and dropping what the change makes wrong.
    #[inline]
    pub(super) fn pane_mut(&mut self, index: u8) -> &mut P {
        if let Body::Sealed(_) = self.body {
            self.open();
        }
        let Body::Open(cells) = &mut self.body else { unreachable!("the slot was opened above") };
        let at = match cells.last() {
            Some(cell) if cell.index == index => cells.len() - 1,
            _ => insert(cells, index),
        };
        if at < usize::from(self.merged) {
            self.merged = 0;
            self.cache = None;
        }
        &mut cells[at].pane
    }

    /// Unpacks the panes so that they can change.
    #[cold]
    fn open(&mut self) {
        self.body = Body::Open(self.cells());
    }

    /// Packs the panes, which takes a third of the room; `scratch` is where.
    pub(super) fn seal(&mut self, scratch: &mut Vec<u8>) {
        let Body::Open(cells) = &self.body else {
            return;
        };
        let rest = cells.iter().skip(usize::from(self.merged));
        if let Some(Cache::Prefix(prefix)) = self.cache.as_deref_mut() {
            rest.for_each(|cell| prefix.merge(&cell.pane));
            self.merged = cells.len() as u8;
        }
        self.sealed_panes = cells.len() as u8;
        scratch.clear();
        self.pack(scratch);
        self.body = Body::Sealed(scratch.as_slice().into());
    }

    /// Appends the exported form.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        match &self.body {
            Body::Sealed(bytes) => out.extend_from_slice(bytes),
            Body::Open(cells) => {
                for cell in cells {
                    out.push(cell.index);
                    cell.pane.pack(out);
                }
            }
        }
    }

    /// Gives all panes as one. `cut` says that some window's edge lies in this slot, so that its
    /// suffixes are worth keeping.
    pub(super) fn whole(&mut self, cut: bool) -> P {
        self.cut &= cut;
        let panes = self.panes();
        if panes <= FEW {
            return match self.fold_after(None) {
                Some((_, pane)) => pane,
                None => P::default(),
            };
        }
        match self.cache.as_deref() {
            Some(Cache::Prefix(prefix)) if usize::from(self.merged) == panes => prefix.clone(),
            Some(Cache::Suffixes(suffixes)) => {
                let whole = suffixes[0].pane.clone();
                if !cut {
                    self.cache = Some(Box::new(Cache::Prefix(whole.clone())));
                    self.merged = panes as u8;
                }
                whole
            }
            _ => self.whole_by_prefix(),
        }
    }

    /// Extends the merged prefix by the panes that came after it. The newest pane of an open slot is
    /// about to change, and stays outside.
    fn whole_by_prefix(&mut self) -> P {
        let unpacked;
        let (cells, settled): (&[Cell<P>], usize) = match &self.body {
            Body::Open(cells) => (cells, cells.len() - 1),
            Body::Sealed(_) => {
                unpacked = self.cells();
                (&unpacked, unpacked.len())
            }
        };
        let cache = self.cache.get_or_insert_with(|| Box::new(Cache::Prefix(P::default())));
        let Cache::Prefix(prefix) = &mut **cache else { unreachable!("suffixes answer without a prefix") };
        let merged = usize::from(self.merged);
        let settled = settled.max(merged);
        for cell in &cells[merged..settled] {
            prefix.merge(&cell.pane);
        }
        self.merged = settled as u8;
        let mut whole = prefix.clone();
        for cell in &cells[settled..] {
            whole.merge(&cell.pane);
        }
        whole
    }

    /// Gives the panes behind an index as one, with the number of the first of them. Suffixes are made when it is cut
    /// once more: where time goes on in leaps, as in a replay, no edge comes to the same slot again.
    pub(super) fn after(&mut self, index: u8) -> Option<(i64, P)> {
        let again = std::mem::replace(&mut self.cut, true);
        if self.panes() <= FEW || (!again && self.merged != SUFFIXES) {
            return self.fold_after(Some(index));
        }
        if self.merged != SUFFIXES {
            let suffixes = self.suffixes();
            self.cache = Some(Box::new(Cache::Suffixes(suffixes)));
            self.merged = SUFFIXES;
        }
        let Some(Cache::Suffixes(suffixes)) = self.cache.as_deref() else {
            unreachable!("the suffixes were made above")
        };
        // In a slot without gaps the place is known; a search would read many cold lines.
        let guess = suffixes.len().min(usize::from(index) + 1);
        let before = suffixes[guess - 1].index <= index;
        let behind = suffixes.get(guess).is_none_or(|cell| cell.index > index);
        let at = if before && behind { guess } else { suffixes.partition_point(|cell| cell.index <= index) };
        let cell = suffixes.get(at)?;
        Some((self.begin() + i64::from(cell.index), cell.pane.clone()))
    }

    /// Merges the few panes behind an index, or all, without a cache.
    fn fold_after(&self, index: Option<u8>) -> Option<(i64, P)> {
        let behind = |cell: &Cell<P>| index.is_none_or(|index| cell.index > index);
        let fold = |folded: Option<(u8, P)>, cell: &Cell<P>| match folded {
            None => Some((cell.index, cell.pane.clone())),
            Some((first, mut pane)) => {
                pane.merge(&cell.pane);
                Some((first, pane))
            }
        };
        let folded = match &self.body {
            Body::Open(cells) => cells.iter().filter(|cell| behind(cell)).fold(None, fold),
            Body::Sealed(_) => self.sealed().filter(behind).fold(None, |folded, cell| fold(folded, &cell)),
        };
        folded.map(|(first, pane)| (self.begin() + i64::from(first), pane))
    }

    /// Merges from the newest pane to the oldest, keeping every step.
    fn suffixes(&self) -> Vec<Cell<P>> {
        let mut cells = self.cells();
        for at in (1..cells.len()).rev() {
            let (earlier, later) = cells.split_at_mut(at);
            earlier[at - 1].pane.merge(&later[0].pane);
        }
        cells
    }

    /// How many panes have trades.
    pub(super) fn panes(&self) -> usize {
        match &self.body {
            Body::Open(cells) => cells.len(),
            Body::Sealed(_) => usize::from(self.sealed_panes),
        }
    }

    /// Gives copies of all panes.
    fn cells(&self) -> Vec<Cell<P>> {
        match &self.body {
            Body::Open(cells) => cells.clone(),
            Body::Sealed(_) => {
                let mut cells = Vec::with_capacity(usize::from(self.sealed_panes));
                cells.extend(self.sealed());
                cells
            }
        }
    }

    /// Unpacks the panes of a sealed body one by one.
    fn sealed(&self) -> impl Iterator<Item = Cell<P>> + '_ {
        let mut rest: &[u8] = match &self.body {
            Body::Sealed(bytes) => bytes,
            Body::Open(_) => &[],
        };
        std::iter::from_fn(move || {
            let (&index, tail) = rest.split_first()?;
            rest = tail;
            // The bytes were packed here or checked at import.
            let pane = P::unpack(&mut rest);
            let pane = pane.unwrap_or_else(|| panic!("a pane refuses its own packed form"));
            Some(Cell { index, pane })
        })
    }
}

/// Finds or makes the pane of an index; gives its place. Looked for from the newest on, where nearly all trades belong: a
/// search by halves would read many cold lines.
fn insert<P: Pane>(cells: &mut Vec<Cell<P>>, index: u8) -> usize {
    let behind = cells.iter().rposition(|cell| cell.index <= index);
    match behind {
        Some(at) if cells[at].index == index => at,
        _ => {
            let at = behind.map_or(0, |at| at + 1);
            let pane = P::default();
            cells.insert(at, Cell { index, pane });
            at
        }
    }
}

/// Checks and reads an exported slot.
fn unpack<P: Pane>(mut bytes: &[u8]) -> Option<Vec<Cell<P>>> {
    let mut cells: Vec<Cell<P>> = Vec::new();
    while let Some((&index, rest)) = bytes.split_first() {
        let in_order = cells.last().is_none_or(|last| last.index < index);
        if !in_order || i64::from(index) >= PANES_PER_SLOT {
            return None;
        }
        bytes = rest;
        let pane = P::unpack(&mut bytes)?;
        cells.push(Cell { index, pane });
    }
    (!cells.is_empty()).then_some(cells)
}
