//! The store of a world, and the ways to it: calls take time, get lost, and find the store away.
//!
//! Everything that reaches the store is noted in the trace and looked at: results and checkpoints must not go back.
//! Invariant: whether a call does what it is to do is decided by the store alone, never here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aggregator::store::{Call, Chunk, Commit, Link, MemoryStore, Passage, Snapshot, Store, StoreError};
use aggregator_tests::random::Random;

use super::draws::Chances;
use super::time::Time;
use super::trace::Trace;

/// How long a caller waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How many moments of the store can be gone back to.
const MOMENTS: usize = 6;

/// The store with all that lies between it and the processes.
#[derive(Debug)]
pub(crate) struct Weather {
    memory: MemoryStore,
    time: Arc<Time>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    trace: Trace,
    chances: Chances,
    /// The store does not answer.
    away: bool,
    /// Processes that ended in the middle of a call.
    crashed: BTreeSet<u64>,
    moments: VecDeque<Snapshot>,
    /// How often the store went back.
    losses: u64,
    seen: Seen,
}

/// What the process with this number wrote.
type Written<T> = (u128, T);
/// How far each partition was taken, by shard and plugin.
type Marks = BTreeMap<(u32, Arc<str>), Written<BTreeMap<i32, i64>>>;

/// What the store took since it last went back.
#[derive(Debug, Default)]
struct Seen {
    /// It went back before. Two processes may both have claimed what it forgot then, one that was to give the shard
    /// away among them: what each of them writes is in order by itself.
    forgot: bool,
    /// The clock of the last row by result key and token, and who wrote it.
    clocks: BTreeMap<(Arc<str>, Arc<str>), Written<i64>>,
    /// The marks of the last checkpoint by shard and plugin, and who took it.
    marks: Marks,
    /// What went back although it must not.
    wrong: Vec<String>,
}

/// What becomes of a call or its answer.
enum Fate {
    Arrives(Duration),
    GetsLost,
    /// The process ends here.
    Crash,
}

impl Weather {
    pub(crate) fn new(time: &Arc<Time>, seed: u64, chances: Chances, readable: bool) -> Arc<Self> {
        let state = State {
            random: Random::new(seed),
            trace: Trace::new(readable),
            chances,
            away: false,
            crashed: BTreeSet::new(),
            moments: VecDeque::from([Snapshot::default()]),
            losses: 0,
            seen: Seen::default(),
        };
        Arc::new(Self { memory: MemoryStore::default(), time: Arc::clone(time), state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store as one process sees it.
    pub(crate) fn store(self: &Arc<Self>, process: u64) -> Store {
        Store::from(self.memory.client(Arc::new(Way { weather: Arc::clone(self), process })))
    }

    /// What the store holds.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.memory.snapshot()
    }

    /// Notes an event of the world.
    pub(crate) fn note(&self, event: impl std::hash::Hash, words: impl FnOnce() -> String) {
        let now = self.time.passed();
        self.lock().trace.note(event, || format!("{now:?} {}", words()));
    }

    /// The events so far, as one number.
    pub(crate) fn trace(&self) -> u64 {
        self.lock().trace.number()
    }

    /// The last events in words.
    pub(crate) fn words(&self) -> String {
        self.lock().trace.words()
    }

    /// From now on nothing goes wrong.
    pub(crate) fn calm_down(&self) {
        let mut state = self.lock();
        state.chances = Chances::default();
        state.away = false;
    }

    /// The store goes away, or comes back.
    pub(crate) fn turn(&self) {
        let away = {
            let mut state = self.lock();
            state.away = !state.away;
            state.away
        };
        self.note(("away", away), || format!("the store is {}", if away { "away" } else { "back" }));
    }

    /// Remembers what the store holds, to go back to it some time.
    pub(crate) fn remember(&self) {
        let moment = self.memory.snapshot();
        let mut state = self.lock();
        if state.moments.len() == MOMENTS {
            // The empty store stays first.
            state.moments.remove(1);
        }
        state.moments.push_back(moment);
    }

    /// The store goes back to a moment before.
    pub(crate) fn forget(&self) {
        let chosen = {
            let mut state = self.lock();
            let count = state.moments.len() as u64;
            let chosen = state.random.below(count) as usize;
            state.moments.truncate(chosen + 1);
            state.losses += 1;
            state.seen.forgot = true;
            state.seen.clocks.clear();
            state.seen.marks.clear();
            self.memory.restore(&state.moments[chosen]);
            chosen
        };
        self.note(("forget", chosen), || format!("the store goes back to moment {chosen}"));
    }

    /// How often the store went back.
    pub(crate) fn losses(&self) -> u64 {
        self.lock().losses
    }

    /// Takes the processes that ended in the middle of a call.
    pub(crate) fn take_crashed(&self) -> BTreeSet<u64> {
        std::mem::take(&mut self.lock().crashed)
    }

    /// What went back although it must not.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.lock().seen.wrong.clone()
    }

    fn pass(&self, process: u64, call: Call<'_>) -> Passage {
        let fate = self.lock().fate(process, call);
        let time = Arc::clone(&self.time);
        match fate {
            Fate::Arrives(Duration::ZERO) => Box::pin(std::future::ready(Ok(()))),
            Fate::Arrives(after) => Box::pin(async move {
                time.sleep(after).await;
                Ok(())
            }),
            Fate::GetsLost => Box::pin(async move {
                time.sleep(TIMEOUT).await;
                Err(StoreError::Timeout { server: "simulation".to_owned(), command: "any", limit: TIMEOUT })
            }),
            Fate::Crash => Box::pin(std::future::pending()),
        }
    }
}

impl State {
    fn fate(&mut self, process: u64, call: Call<'_>) -> Fate {
        let writes = !matches!(call, Call::Read(_));
        if writes && Chances::strikes(self.chances.crash_at_write, &mut self.random) {
            self.crashed.insert(process);
            return Fate::Crash;
        }
        if self.away || Chances::strikes(self.chances.store_error, &mut self.random) {
            return Fate::GetsLost;
        }
        if self.chances.store_error.is_none() {
            return Fate::Arrives(Duration::ZERO);
        }
        Fate::Arrives(match self.random.below(20) {
            0 => Duration::from_millis(self.random.below(1_500)),
            1..6 => Duration::from_millis(self.random.below(10)),
            _ => Duration::ZERO,
        })
    }
}

impl Seen {
    fn rows(&mut self, chunk: &Chunk) {
        let (owner, clock_ms) = (chunk.owner.id, chunk.clock_ms);
        for row in &chunk.rows {
            let key = (Arc::clone(&chunk.result_key), Arc::clone(&row.token));
            let before = self.clocks.insert(key, (owner, clock_ms));
            if let Some((_, before_ms)) = before.filter(|(by, _)| *by == owner || !self.forgot)
                && before_ms > clock_ms
            {
                let token = &row.token;
                self.wrong.push(format!("the clock of {token} went back from {before_ms} to {clock_ms}"));
            }
        }
        for gone in &chunk.forgotten {
            self.clocks.remove(&(Arc::clone(&chunk.result_key), Arc::clone(gone)));
        }
    }

    fn checkpoint(&mut self, commit: &Commit) {
        let (owner, shard) = (commit.owner.id, commit.shard);
        let marks: BTreeMap<i32, i64> =
            commit.head.marks.iter().map(|mark| (mark.partition, mark.next)).collect();
        let key = (shard, Arc::clone(&commit.plugin));
        let before = self.marks.insert(key, (owner, marks.clone()));
        let went_back = |(partition, next): (&i32, &i64)| marks.get(partition).is_none_or(|now| now < next);
        if let Some((_, before)) = before.filter(|(by, _)| *by == owner || !self.forgot)
            && before.iter().any(went_back)
        {
            self.wrong
                .push(format!("the checkpoint of shard {shard} went back from {before:?} to {marks:?}"));
        }
    }
}

/// One process's way to the store.
struct Way {
    weather: Arc<Weather>,
    process: u64,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Link for Way {
    fn request(&self, call: Call<'_>) -> Passage {
        self.weather.pass(self.process, call)
    }

    fn answer(&self, call: Call<'_>, taken: bool) -> Passage {
        let process = self.process;
        match call {
            Call::Write(chunk) => {
                let event = ("write", process, chunk.shard, chunk.owner.epoch, chunk.clock_ms, taken);
                let rows: Vec<&str> = chunk.rows.iter().map(|row| &*row.token).collect();
                let content = (&rows, &chunk.values, &chunk.forgotten);
                let short = |token: &str| token.chars().take(4).collect::<String>();
                let words = || {
                    let rows: Vec<String> = rows.iter().map(|token| short(token)).collect();
                    format!("{event:?} rows {rows:?} forgotten {:?}", chunk.forgotten)
                };
                self.weather.note((event, content), words);
            }
            Call::Stage(page) => {
                let event = ("stage", process, page.shard, page.owner.epoch, page.part, page.index, taken);
                self.weather.note((event, &page.bytes), || format!("{event:?} {} B", page.bytes.len()));
            }
            Call::Commit(commit) => {
                let event = ("commit", process, commit.shard, commit.owner.epoch, taken);
                let words = format!("{event:?} {} {:?}", commit.plugin, commit.head);
                let page = commit.last_page.as_ref().map(|page| &page.bytes);
                self.weather.note((&words, page), || words.clone());
            }
            Call::Claim(_) | Call::Record(_) | Call::Read(_) => {
                let words = format!("{process} {call:?} {taken}");
                self.weather.note(&words, || words.clone());
            }
        }
        if taken {
            let mut state = self.weather.lock();
            match call {
                Call::Write(chunk) => state.seen.rows(chunk),
                Call::Commit(commit) => state.seen.checkpoint(commit),
                Call::Stage(_) | Call::Claim(_) | Call::Record(_) | Call::Read(_) => {}
            }
        }
        self.weather.pass(process, call)
    }
}
