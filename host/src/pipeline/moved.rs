//! State that comes to a shard from the shards of a former layout.
//!
//! Each former shard had a vector of its own, so the state that is put together is of no single moment: a partition is
//! read from the smallest of their offsets, and of each token what its former shard had taken is skipped, until every
//! partition has passed the largest. Only then does one vector say what the cell has, and its first checkpoint is
//! taken; until then a start begins with the former ones again. Not for naming the layouts. Invariants: a token's
//! state comes whole from one former shard; where two have some of it, nothing is carried over.

use std::collections::{BTreeMap, HashMap};

use xxhash_rust::xxh3::xxh3_64;

use super::cell_clock::CellClock;
use super::checkpoint::Saved;
use super::ground::Former;
use super::load::{self, Wanted, WantedCell};
use super::page::{SavedToken, StatePage};
use super::route::Layout;
use crate::store::{Action, Head, Part, SavedMark, Store, StoreError};

/// What a cell has taken of each token.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    former: Former,
    /// By former shard: its vector.
    vectors: BTreeMap<u32, BTreeMap<i32, i64>>,
    /// For each partition the largest offset of those vectors.
    until: BTreeMap<i32, i64>,
}

impl Moved {
    /// Whether the state holds a trade already, by the hash of its token and its place.
    pub(super) fn has(&self, hash: u64, partition: i32, offset: i64) -> bool {
        let vector = self.vectors.get(&self.former.shard_of(hash, partition));
        vector.and_then(|vector| vector.get(&partition)).is_some_and(|next| offset < *next)
    }

    /// Notes that a partition ends here: what was behind that is gone, and others will have its offsets.
    pub(super) fn cut(&mut self, partition: i32, end: i64) {
        let nexts = self.vectors.values_mut().filter_map(|vector| vector.get_mut(&partition));
        for next in nexts.chain(self.until.get_mut(&partition)) {
            *next = end.min(*next);
        }
    }

    /// Whether the cell's own vector says by now all that is to be said.
    pub(super) fn is_passed(&self, clock: &CellClock) -> bool {
        let passed =
            |(&partition, &until): (&i32, &i64)| clock.next(partition).is_some_and(|next| next >= until);
        self.until.iter().all(passed)
    }
}

/// Puts together what a cell starts from; none where nothing can be carried over. `left` are pages in its place that
/// are to be replaced.
pub(super) async fn fetch(
    store: &Store,
    shard: u32,
    (wanted, cell): (&Wanted, &WantedCell),
    former: &Former,
    left: Vec<Part>,
) -> Result<Option<Saved>, StoreError> {
    let mut gathered = Gathered::new(shard, wanted.own, former.clone());
    let name = super::ground::checkpoint_name(former.layout_id, &cell.plugin);
    for old in former.shards_for(shard, &wanted.own) {
        let found = match store.head(old, &name).await {
            Ok(Some(head)) => head,
            // What it had is read again.
            Ok(None) => continue,
            Err(error) if error.action() == Action::Skip => {
                tracing::error!(shard = old, plugin = %cell.plugin, %error, "Checkpoint not used");
                continue;
            }
            Err(error) => return Err(error),
        };
        let pages = match load::fits(&found, &former.name, cell) {
            Ok(()) => load::fetch_pages(store, old, &name, &found).await?,
            Err(words) => Err(words),
        };
        let taken = pages.and_then(|pages| gathered.add(old, load::of_topic(found, wanted), &pages));
        if let Err(words) = taken {
            tracing::warn!(shard = old, plugin = %cell.plugin, reason = %words, "Checkpoint not used");
        }
    }
    match gathered.finish(left) {
        Ok(saved) => Ok(saved),
        Err(words) => {
            tracing::warn!(shard, plugin = %cell.plugin, reason = %words, "State not carried over; the windows are read again");
            Ok(None)
        }
    }
}

/// What was found so far.
struct Gathered {
    shard: u32,
    own: Layout,
    former: Former,
    heads: BTreeMap<u32, Head>,
    pages: Vec<StatePage>,
    /// In which former shard a token was found.
    places: HashMap<String, u32>,
    /// Why nothing can be carried over.
    hindrance: Option<String>,
}

impl Gathered {
    fn new(shard: u32, own: Layout, former: Former) -> Self {
        let (heads, pages, places) = (BTreeMap::new(), Vec::new(), HashMap::new());
        Self { shard, own, former, heads, pages, places, hindrance: None }
    }

    /// Takes what belongs to our shard out of a former shard's checkpoint.
    fn add(&mut self, old: u32, head: Head, pages: &[StatePage]) -> Result<(), String> {
        let first = self.heads.values().next();
        if let Some(other) = first.filter(|other| other.state_version != head.state_version) {
            return Err(format!(
                "its state has version {}, others {}",
                head.state_version, other.state_version
            ));
        }
        for page in pages {
            let ours = page.only(|token| self.is_ours(token, old));
            if !ours.is_empty() {
                self.pages.push(ours);
            }
            for token in &page.tokens {
                self.note(token, old);
            }
        }
        self.heads.insert(old, head);
        Ok(())
    }

    /// The partition that a token's trades come from, where that decides about its shard.
    fn partition(&self, token: &SavedToken, old: u32) -> Option<i32> {
        match (self.own.shuffles(), self.former.layout.shuffles()) {
            (true, _) => Some(0),
            (false, true) => token.partition,
            (false, false) => Some(old.cast_signed()),
        }
    }

    fn is_ours(&self, token: &SavedToken, old: u32) -> bool {
        let shard = |partition| self.own.shard(xxh3_64(token.text.as_bytes()), partition);
        self.partition(token, old).is_some_and(|partition| shard(partition) == self.shard)
    }

    /// Looks whether a token stands in the way.
    fn note(&mut self, token: &SavedToken, old: u32) {
        if self.partition(token, old).is_none() {
            self.hindrance = Some(format!("of token {} it is not known what partition it is in", token.text));
        }
        if !self.is_ours(token, old) {
            return;
        }
        match self.places.get(&token.text) {
            Some(other) if *other != old => {
                self.hindrance = Some(format!(
                    "token {} was in the shards {other} and {old} of the former layout",
                    token.text
                ));
            }
            Some(_) => {}
            None => drop(self.places.insert(token.text.clone(), old)),
        }
    }

    fn finish(self, left: Vec<Part>) -> Result<Option<Saved>, String> {
        if let Some(words) = self.hindrance {
            return Err(words);
        }
        let Some(first) = self.heads.values().next() else {
            return Ok(None);
        };
        let vectors: BTreeMap<u32, BTreeMap<i32, i64>> =
            self.heads.iter().map(|(&shard, head)| (shard, vector(head))).collect();
        let mut decoded: BTreeMap<i32, i64> = BTreeMap::new();
        for &(partition, next) in self.heads.values().flat_map(|head| &head.decoded) {
            let known = decoded.entry(partition).or_insert(next);
            *known = next.max(*known);
        }
        let mut quarantined: Vec<_> =
            self.heads.values().flat_map(|head| head.quarantined.iter().copied()).collect();
        quarantined.sort_unstable();
        quarantined.dedup();
        let until = self.partitions().into_iter().filter_map(|partition| {
            let offsets = vectors.iter().filter(|(shard, _)| self.former.feeds(partition, **shard));
            Some((partition, offsets.filter_map(|(_, vector)| vector.get(&partition).copied()).max()?))
        });
        // Of a partition of which nothing was taken there is nothing to pass; it may be one of a former topic.
        let until = until.filter(|(_, until)| *until > 0).collect();
        let head = Head {
            clock_ms: self.heads.values().filter_map(|head| head.clock_ms).max(),
            marks: self.marks(&vectors),
            decoded: decoded.into_iter().collect(),
            quarantined,
            parts: left,
            bytes: 0,
            ..first.clone()
        };
        let moved = Moved { former: self.former, vectors, until };
        Ok(Some(Saved { head, pages: Some(self.pages), moved: Some(moved) }))
    }

    /// The partitions that feed our shard.
    fn partitions(&self) -> Vec<i32> {
        let marks = self.heads.values().flat_map(|head| &head.marks).map(|mark| mark.partition);
        let mut partitions: Vec<i32> =
            marks.filter(|&one| self.own.fed_by(self.shard).is_none_or(|fed| fed == one)).collect();
        partitions.sort_unstable();
        partitions.dedup();
        partitions
    }

    /// For each partition the smallest offset that any token needs; none where some former shard has not begun it.
    fn marks(&self, vectors: &BTreeMap<u32, BTreeMap<i32, i64>>) -> Vec<SavedMark> {
        let smallest = |&partition: &i32| {
            let former: Vec<u32> = self
                .former
                .shards_for(self.shard, &self.own)
                .filter(|&old| self.former.feeds(partition, old))
                .collect();
            let next = former.iter().map(|old| vectors.get(old)?.get(&partition).copied()).min().flatten()?;
            let newest_ms = self.heads.iter().filter(|(old, _)| former.contains(old));
            let newest_ms = newest_ms.flat_map(|(_, head)| &head.marks);
            let newest_ms =
                newest_ms.filter(|mark| mark.partition == partition).filter_map(|mark| mark.newest_ms);
            Some(SavedMark { partition, next, newest_ms: newest_ms.max(), progress: 0 })
        };
        self.partitions().iter().filter_map(smallest).collect()
    }
}

fn vector(head: &Head) -> BTreeMap<i32, i64> {
    head.marks.iter().map(|mark| (mark.partition, mark.next)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Partitioning;

    fn layout(partitioning: Partitioning, shards: u32) -> Layout {
        Layout { partitioning, shards, workers: 1 }
    }

    fn gathered(shard: u32, before: Layout, now: Layout) -> Gathered {
        let former = Former { layout_id: 1, name: "before".into(), layout: before, successors: now.shards };
        Gathered::new(shard, now, former)
    }

    fn head(clock_ms: i64, marks: &[(i32, i64)]) -> Head {
        let mark = |&(partition, next): &(i32, i64)| SavedMark {
            partition,
            next,
            newest_ms: Some(next * 10),
            progress: 1,
        };
        let decoded = marks.iter().map(|&(partition, next)| (partition, next + 5)).collect();
        Head {
            clock_ms: Some(clock_ms),
            marks: marks.iter().map(mark).collect(),
            decoded,
            quarantined: vec![(0, clock_ms, 1)],
            ..Head::default()
        }
    }

    fn token(text: &str, partition: Option<i32>) -> SavedToken {
        SavedToken { text: text.to_owned(), last_trade_ms: 0, partition }
    }

    fn page(tokens: &[(&str, Option<i32>)]) -> StatePage {
        StatePage::naming(tokens.iter().map(|(text, partition)| token(text, *partition)).collect())
    }

    fn next(saved: &Saved) -> Vec<(i32, i64)> {
        saved.head.marks.iter().map(|mark| (mark.partition, mark.next)).collect()
    }

    /// A text whose hash belongs to a shard of so many.
    fn of_shard(shard: u32, shards: u32) -> String {
        let own = layout(Partitioning::Shuffle, shards);
        let texts = (0..).map(|number| format!("token-{number}"));
        let mut fitting = texts.filter(|text| own.shard(xxh3_64(text.as_bytes()), 0) == shard);
        fitting.next().unwrap_or_default()
    }

    #[test]
    fn reading_begins_at_the_smallest_offset_and_each_token_skips_what_its_former_shard_had() {
        let mut found = gathered(0, layout(Partitioning::Shuffle, 2), layout(Partitioning::Shuffle, 3));
        found.add(0, head(70, &[(0, 100), (1, 9)]), &[]).unwrap();
        found.add(1, head(80, &[(0, 60), (1, 20)]), &[]).unwrap();
        let saved = found.finish(vec![Part { id: 4, pages: 1 }]).unwrap().unwrap();
        assert_eq!(next(&saved), [(0, 60), (1, 9)]);
        assert_eq!((saved.head.clock_ms, saved.head.decoded), (Some(80), vec![(0, 105), (1, 25)]));
        assert_eq!(saved.head.quarantined, [(0, 70, 1), (0, 80, 1)]);
        assert_eq!(saved.head.parts, [Part { id: 4, pages: 1 }]);

        let moved = saved.moved.unwrap();
        let hash = |shard| xxh3_64(of_shard(shard, 2).as_bytes());
        assert!(moved.has(hash(0), 0, 99) && !moved.has(hash(0), 0, 100));
        assert!(moved.has(hash(1), 0, 59) && !moved.has(hash(1), 0, 60));
        assert!(moved.has(hash(1), 1, 19) && !moved.has(hash(0), 1, 9));
        assert!(!moved.has(hash(0), 7, 0), "a partition that nobody had begun");
        let mut clock = CellClock::new(crate::config::ClockMode::Wall);
        for (partition, next, passed) in [(0, 100, false), (1, 19, false), (1, 20, true)] {
            clock.assign(partition, next, i64::MAX);
            assert_eq!(moved.is_passed(&clock), passed, "{partition} {next}");
        }
    }

    #[test]
    fn records_behind_the_end_of_a_log_that_lost_some_were_never_taken() {
        let mut found = gathered(0, layout(Partitioning::Shuffle, 2), layout(Partitioning::Shuffle, 3));
        found.add(0, head(70, &[(0, 100), (1, 9)]), &[]).unwrap();
        let mut moved = found.finish(Vec::new()).unwrap().unwrap().moved.unwrap();
        let hash = xxh3_64(of_shard(0, 2).as_bytes());
        assert!(moved.has(hash, 0, 90));
        moved.cut(0, 80);
        assert!(moved.has(hash, 0, 79) && !moved.has(hash, 0, 90) && moved.has(hash, 1, 8));
        assert_eq!(moved.until, BTreeMap::from([(0, 80), (1, 9)]));
    }

    #[test]
    fn what_one_former_shard_has_not_begun_is_read_whole() {
        let mut found = gathered(1, layout(Partitioning::Shuffle, 2), layout(Partitioning::Shuffle, 3));
        found.add(0, head(70, &[(0, 100), (1, 9)]), &[]).unwrap();
        found.add(1, head(80, &[(0, 60)]), &[]).unwrap();
        assert_eq!(next(&found.finish(Vec::new()).unwrap().unwrap()), [(0, 60)]);
        // One without a checkpoint has begun nothing.
        let mut found = gathered(1, layout(Partitioning::Shuffle, 2), layout(Partitioning::Shuffle, 3));
        found.add(0, head(70, &[(0, 100)]), &[]).unwrap();
        assert_eq!(next(&found.finish(Vec::new()).unwrap().unwrap()), []);
        let nothing = gathered(1, layout(Partitioning::Shuffle, 2), layout(Partitioning::Shuffle, 3));
        assert!(nothing.finish(Vec::new()).unwrap().is_none());
    }

    #[test]
    fn of_partitions_that_were_shards_each_tells_of_itself_alone() {
        let mut found = gathered(0, layout(Partitioning::ByToken, 3), layout(Partitioning::Shuffle, 2));
        found.add(0, head(70, &[(0, 100)]), &[]).unwrap();
        found.add(2, head(80, &[(2, 60)]), &[]).unwrap();
        let saved = found.finish(Vec::new()).unwrap().unwrap();
        assert_eq!(next(&saved), [(0, 100), (2, 60)]);
        let moved = saved.moved.unwrap();
        assert!(moved.has(7, 0, 99) && !moved.has(7, 1, 0) && !moved.has(7, 2, 60));
    }

    #[test]
    fn a_partition_that_becomes_a_shard_gets_the_tokens_that_trade_in_it() {
        let mut found = gathered(1, layout(Partitioning::Shuffle, 2), layout(Partitioning::ByToken, 3));
        assert!(found.is_ours(&token("a", Some(1)), 0) && !found.is_ours(&token("a", Some(2)), 0));
        found.add(0, head(70, &[(0, 100), (1, 9)]), &[page(&[("a", Some(1)), ("b", Some(2))])]).unwrap();
        found.add(1, head(80, &[(0, 60), (1, 20)]), &[page(&[("c", Some(1))])]).unwrap();
        let saved = found.finish(Vec::new()).unwrap().unwrap();
        assert_eq!(next(&saved), [(1, 9)]);
        assert_eq!(saved.moved.unwrap().until, BTreeMap::from([(1, 20)]));
    }

    #[test]
    fn a_token_in_two_former_shards_or_in_no_known_partition_hinders_the_move() {
        let twice = of_shard(0, 2);
        let mut found = gathered(0, layout(Partitioning::ByToken, 2), layout(Partitioning::Shuffle, 2));
        found.add(0, head(70, &[(0, 100)]), &[page(&[(&twice, None)])]).unwrap();
        found.add(1, head(80, &[(1, 60)]), &[page(&[(&twice, None)]), page(&[(&twice, None)])]).unwrap();
        assert!(found.finish(Vec::new()).unwrap_err().contains(&twice));
        // In another shard than ours it is not our matter.
        let mut found = gathered(1, layout(Partitioning::ByToken, 2), layout(Partitioning::Shuffle, 2));
        found.add(0, head(70, &[(0, 100)]), &[page(&[(&twice, None)])]).unwrap();
        found.add(1, head(80, &[(1, 60)]), &[page(&[(&twice, None)])]).unwrap();
        assert!(found.finish(Vec::new()).unwrap().is_some());

        let mut found = gathered(0, layout(Partitioning::Shuffle, 2), layout(Partitioning::ByToken, 2));
        found.add(0, head(70, &[(0, 100)]), &[page(&[("old", None)])]).unwrap();
        assert!(found.finish(Vec::new()).unwrap_err().contains("old"));
    }

    #[test]
    fn of_a_topic_that_was_made_anew_there_is_nothing_to_pass() {
        let mut found = gathered(0, layout(Partitioning::Shuffle, 2), layout(Partitioning::Shuffle, 3));
        found.add(0, head(70, &[(0, 0), (5, 0)]), &[]).unwrap();
        found.add(1, head(80, &[(0, 0), (5, 0)]), &[]).unwrap();
        let moved = found.finish(Vec::new()).unwrap().unwrap().moved.unwrap();
        assert!(moved.is_passed(&CellClock::new(crate::config::ClockMode::Wall)));
    }
}
