//! Watches hosts while a fault happens: how long partitions stand still, and whether results go back.
//!
//! What the producer has had acknowledged is the truth about the end of a partition; a host that is cut off does not
//! know it. The invariant: a partition stands still while it has records that no host has finished, and whoever does
//! not answer has finished nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use redis::Commands as _;

use crate::host::Host;
use crate::redis_server::RedisServer;
use crate::{http, process, results, wait};

/// How often is looked, and how long an answer may take.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How many records of each partition the broker has acknowledged.
#[derive(Debug)]
pub struct Ends(Vec<AtomicI64>);

impl Ends {
    /// No record of any of these partitions.
    pub fn new(partitions: i32) -> Self {
        Self((0..partitions).map(|_| AtomicI64::new(0)).collect())
    }

    /// Adds an acknowledged record.
    pub fn add(&self, partition: i32) {
        self.0[partition as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The end of each partition.
    pub fn all(&self) -> Vec<i64> {
        self.0.iter().map(|end| end.load(Ordering::Relaxed)).collect()
    }
}

/// How far one partition has come.
struct Track {
    processed: i64,
    /// When it last moved, or had nothing to do.
    since: Instant,
    /// The longest time that it stood still.
    longest: Duration,
}

struct Seen {
    partitions: Vec<Track>,
    /// The most memory of each process.
    resident: BTreeMap<u32, u64>,
}

struct Shared {
    ends: Arc<Ends>,
    ended: AtomicBool,
    seen: Mutex<Seen>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a host says, or that it says nothing.
    fn look(&self, port: u16, pid: u32) {
        let page = http::get_within(port, "/partitions", ANSWER_LIMIT).and_then(|answer| answer.json());
        let mut told = BTreeMap::new();
        for partition in page.iter().flat_map(|page| page["partitions"].as_array().into_iter().flatten()) {
            if let (Some(id), Some(processed)) =
                (partition["partition"].as_i64(), partition["processed"].as_i64())
            {
                told.insert(id as usize, processed);
            }
        }
        let ends = self.ends.all();
        let mut seen = self.seen();
        for (id, track) in seen.partitions.iter_mut().enumerate() {
            let processed = told.get(&id).copied().unwrap_or(0);
            if processed > track.processed || track.processed >= ends[id] {
                track.since = Instant::now();
            }
            track.processed = track.processed.max(processed);
            track.longest = track.longest.max(track.since.elapsed());
        }
        if let Ok(bytes) = process::resident_bytes(pid) {
            let most = seen.resident.entry(pid).or_default();
            *most = bytes.max(*most);
        }
    }
}

/// A watch over hosts that share a topic.
pub struct Watch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Begins with no host.
    pub fn new(ends: &Arc<Ends>) -> Self {
        let now = Instant::now();
        let track = |_| Track { processed: 0, since: now, longest: Duration::ZERO };
        let partitions = (0..ends.0.len()).map(track).collect();
        let seen = Mutex::new(Seen { partitions, resident: BTreeMap::new() });
        let shared = Shared { ends: Arc::clone(ends), ended: AtomicBool::new(false), seen };
        Self { shared: Arc::new(shared), threads: Vec::new() }
    }

    /// Looks at a host from now on, also when it is gone.
    pub fn follow(&mut self, host: &Host) {
        let (shared, port, pid) = (Arc::clone(&self.shared), host.port(), host.pid());
        self.threads.push(thread::spawn(move || {
            while !shared.ended.load(Ordering::Relaxed) {
                shared.look(port, pid);
                thread::sleep(LOOK_EVERY);
            }
        }));
    }

    /// Forgets how long partitions stood still, and how much memory was used, until now.
    pub fn begin(&self) {
        let mut seen = self.shared.seen();
        seen.resident.clear();
        for track in &mut seen.partitions {
            (track.since, track.longest) = (Instant::now(), Duration::ZERO);
        }
    }

    /// Waits until every partition has moved, and says how long that took.
    ///
    /// # Errors
    /// Fails when the limit has passed.
    pub fn wait_progress(&self, limit: Duration) -> Result<Duration> {
        let processed =
            || self.shared.seen().partitions.iter().map(|track| track.processed).collect::<Vec<_>>();
        let (began, before) = (Instant::now(), processed());
        wait::until_true("every partition to move", limit, || {
            processed().iter().zip(&before).all(|(now, before)| now > before)
        })?;
        Ok(began.elapsed())
    }

    /// How many records have been finished, of all partitions.
    pub fn processed(&self) -> i64 {
        self.shared.seen().partitions.iter().map(|track| track.processed).sum()
    }

    /// The longest time that any partition stood still.
    pub fn stall(&self) -> Duration {
        self.stalls().into_iter().max().unwrap_or_default()
    }

    /// The longest time that each partition stood still.
    pub fn stalls(&self) -> Vec<Duration> {
        self.shared.seen().partitions.iter().map(|track| track.longest).collect()
    }

    /// The most resident memory of a host that was seen.
    pub fn resident_bytes(&self, host: &Host) -> u64 {
        self.shared.seen().resident.get(&host.pid()).copied().unwrap_or(0)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Looks whether results ever go back: the clock of every token's row in Redis.
pub struct Falls {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Falls {
    /// Begins to read the active tokens again and again.
    ///
    /// # Errors
    /// Fails where Redis does not answer.
    pub fn watch(redis: &RedisServer) -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let mut connection = redis.connect()?;
        let asked = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            let (mut last, mut falls) = (BTreeMap::new(), Vec::new());
            while !asked.load(Ordering::Relaxed) {
                // A server that does not answer shows nothing that could go back.
                if let Ok(clocks) = clocks(&mut connection) {
                    compare(clocks, &mut last, &mut falls);
                }
                thread::sleep(LOOK_EVERY);
            }
            falls
        });
        Ok(Self { ended, thread: Some(thread) })
    }

    /// What went back, in words.
    pub fn finish(mut self) -> Vec<String> {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Falls {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The clock of each active token's row.
fn clocks(connection: &mut redis::Connection) -> Result<Vec<(String, String)>> {
    let tokens: Vec<String> = connection.zrange("tokens:active", 0, -1)?;
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<String> = tokens.iter().map(|token| results::key(token, "last_update")).collect();
    let found: Vec<Option<String>> = connection.mget(&keys)?;
    Ok(tokens.into_iter().zip(found).filter_map(|(token, clock)| Some((token, clock?))).collect())
}

fn compare(clocks: Vec<(String, String)>, last: &mut BTreeMap<String, String>, falls: &mut Vec<String>) {
    for (token, clock) in clocks {
        // Times of one form compare as their texts do.
        if let Some(before) = last.get(&token).filter(|before| **before > clock) {
            falls.push(format!("{token} went from {before} back to {clock}"));
        }
        last.insert(token, clock);
    }
}
