//! Sixty consecutive panes of one token: the unit of sealing, export and caching.
//!
//! Not for windows; a slot answers what its panes, or those behind a cut, come to. The invariant: a
//! cache never outlives a change of what it was made from.

use super::grid::PANES_PER_SLOT;
use super::present::Present;
use crate::pane::Pane;

/// Slots with at most so many panes are merged anew each time, which is cheaper than keeping a cache.
const FEW: usize = 4;

/// Says in [`Slot::merged`] that the cache holds suffixes.
const SUFFIXES: u8 = u8::MAX;

/// Panes in order of time.
enum Body<P> {
    /// Taking trades.
    Open(Vec<P>),
    /// Each pane as its index and its packed form; this is also the exported form.
    Sealed(Box<[u8]>),
}

/// What merging gave before.
enum Cache<P> {
    /// The first [`Slot::merged`] panes as one.
    Prefix(P),
    /// For each pane, it and all later ones as one: answers every cut with one look.
    Suffixes(Vec<P>),
}

/// Sixty panes, of which only those with trades exist; never without any.
pub(super) struct Slot<P> {
    /// Which sixty: the number of the first pane divided by 60.
    pub(super) number: i64,
    /// The generation of the last change.
    pub(super) changed: u32,
    /// Which panes there are; kept here so that looking for one opens none.
    present: Present,
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
            present: Present::default(),
            merged: 0,
            cut: false,
            body: Body::Open(Vec::with_capacity(room)),
            cache: None,
        }
    }

    /// Takes a slot in exported form; none where the bytes are not one.
    pub(super) fn from_packed(number: i64, bytes: &[u8], changed: u32) -> Option<Self> {
        let present = checked::<P>(bytes)?;
        Some(Self {
            number,
            changed,
            present,
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
        self.begin() + i64::from(self.present.first().unwrap_or(0))
    }

    /// Gives a pane to add a trade to, opening the slot and dropping what the change makes wrong.
    #[inline]
    pub(super) fn pane_mut(&mut self, index: u8) -> &mut P {
        if let Body::Sealed(_) = self.body {
            self.open();
        }
        let Body::Open(panes) = &mut self.body else { unreachable!("the slot was opened above") };
        let at = self.present.place(index);
        if !self.present.has(index) {
            self.present.add(index);
            panes.insert(at, P::default());
        }
        if at < usize::from(self.merged) {
            self.merged = 0;
            self.cache = None;
        }
        &mut panes[at]
    }

    /// Unpacks the panes so that they can change.
    #[cold]
    fn open(&mut self) {
        self.body = Body::Open(self.copies());
    }

    /// Packs the panes, which takes a third of the room; `scratch` is where.
    pub(super) fn seal(&mut self, scratch: &mut Vec<u8>) {
        let Body::Open(panes) = &self.body else {
            return;
        };
        if let Some(Cache::Prefix(prefix)) = self.cache.as_deref_mut() {
            panes[usize::from(self.merged)..].iter().for_each(|pane| prefix.merge(pane));
            self.merged = panes.len() as u8;
        }
        scratch.clear();
        self.pack(scratch);
        self.body = Body::Sealed(scratch.as_slice().into());
    }

    /// Appends the exported form.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        match &self.body {
            Body::Sealed(bytes) => out.extend_from_slice(bytes),
            Body::Open(panes) => {
                for (index, pane) in self.present.indexes().zip(panes) {
                    out.push(index);
                    pane.pack(out);
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
                let whole = suffixes[0].clone();
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
        let (panes, settled): (&[P], usize) = match &self.body {
            Body::Open(panes) => (panes, panes.len() - 1),
            Body::Sealed(_) => {
                unpacked = self.copies();
                (&unpacked, unpacked.len())
            }
        };
        let cache = self.cache.get_or_insert_with(|| Box::new(Cache::Prefix(P::default())));
        let Cache::Prefix(prefix) = &mut **cache else { unreachable!("suffixes answer without a prefix") };
        let merged = usize::from(self.merged);
        let settled = settled.max(merged);
        panes[merged..settled].iter().for_each(|pane| prefix.merge(pane));
        self.merged = settled as u8;
        let mut whole = prefix.clone();
        panes[settled..].iter().for_each(|pane| whole.merge(pane));
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
        let first = self.present.behind(index).first()?;
        Some((self.begin() + i64::from(first), suffixes[self.present.place(first)].clone()))
    }

    /// Merges the few panes behind an index, or all, without a cache; gives the number of the first of them, too.
    fn fold_after(&self, index: Option<u8>) -> Option<(i64, P)> {
        let behind = index.map_or(self.present, |index| self.present.behind(index));
        let first = behind.first()?;
        let before = self.present.len() - behind.len();
        let merged = |mut merged: P, pane: &P| {
            merged.merge(pane);
            merged
        };
        let pane = match &self.body {
            Body::Open(panes) => panes[before + 1..].iter().fold(panes[before].clone(), merged),
            Body::Sealed(_) => {
                let mut rest = self.sealed().skip(before);
                let first = rest.next()?;
                rest.fold(first, |all, pane| merged(all, &pane))
            }
        };
        Some((self.begin() + i64::from(first), pane))
    }

    /// Merges from the newest pane to the oldest, keeping every step.
    fn suffixes(&self) -> Vec<P> {
        let mut panes = self.copies();
        for at in (1..panes.len()).rev() {
            let (earlier, later) = panes.split_at_mut(at);
            earlier[at - 1].merge(&later[0]);
        }
        panes
    }

    /// How many panes have trades.
    pub(super) fn panes(&self) -> usize {
        self.present.len()
    }

    /// Gives copies of all panes.
    fn copies(&self) -> Vec<P> {
        match &self.body {
            Body::Open(panes) => panes.clone(),
            Body::Sealed(_) => {
                let mut panes = Vec::with_capacity(self.panes());
                panes.extend(self.sealed());
                panes
            }
        }
    }

    /// Unpacks the panes of a sealed body one by one.
    fn sealed(&self) -> impl Iterator<Item = P> + '_ {
        let mut rest: &[u8] = match &self.body {
            Body::Sealed(bytes) => bytes,
            Body::Open(_) => &[],
        };
        std::iter::from_fn(move || {
            let (_index, tail) = rest.split_first()?;
            rest = tail;
            // The bytes were packed here or checked at import.
            Some(P::unpack(&mut rest).unwrap_or_else(|| panic!("a pane refuses its own packed form")))
        })
    }
}

/// Checks an exported slot; gives which panes it holds.
fn checked<P: Pane>(mut bytes: &[u8]) -> Option<Present> {
    let mut present = Present::default();
    while let Some((&index, rest)) = bytes.split_first() {
        bytes = rest;
        P::unpack(&mut bytes)?;
        if !present.append(index) {
            return None;
        }
    }
    present.first().map(|_| present)
}
