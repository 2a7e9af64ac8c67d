//! The pipeline: clock, shards, intervals and limits.

use std::time::Duration;

use super::parse::{self, Parsed};
use super::reader::Reader;
use super::setting::Setting;

/// The settings of this concern.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "CLOCK",
        "wall",
        "What moves the windows: wall (in live traffic, now) or event (replays and backtests: the \
         times of the trades).",
    ),
    Setting::new(
        "PARTITIONING",
        "shuffle",
        "How trades are spread over partitions: shuffle (right for any feed), by-token (the producer \
         keys by token, so that several hosts can share the topic) or repartition (several hosts share \
         any feed by a topic of their own).",
    ),
    Setting::new(
        "SHARDS",
        "16",
        "Shards with PARTITIONING=shuffle or repartition: 1 to 1024. With repartition they are the \
         partitions of the topic between the hops.",
    ),
    Setting::new("MAX_WORKERS", "0", "The most worker threads, up to 1024. 0: one for each core."),
    Setting::new("FLUSH_INTERVAL", "100ms", "How often changed results are written: 1ms to 10s."),
    Setting::new(
        "CHECKPOINT_INTERVAL",
        "5s",
        "How often state and offsets are saved: 100ms to 10m. 0: never; a start then reads the \
         longest window again.",
    ),
    Setting::new(
        "MAX_FUTURE",
        "5m",
        "How far a trade may be ahead of its record's Kafka timestamp: 0s to 24h.",
    ),
    Setting::new("MAX_MESSAGE_BYTES", "8MiB", "The longest message that is read: 1KiB to 512MiB."),
    Setting::new(
        "ALIGN",
        "10s",
        "How far partitions may be apart in event time while a backlog is read: 1ms to 24h.",
    ),
    Setting::new(
        "LIVE_LAG",
        "10s",
        "How old the newest record read may be until its partition counts as behind: 1ms to 24h.",
    ),
    Setting::new(
        "MEMORY_LIMIT_MB",
        "0",
        "The most memory of all plugins together, in MiB; above it the tokens that have not traded \
         for longest are forgotten. 0: no limit.",
    ),
];

/// How trades flow from Kafka to Redis.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// What moves the windows.
    pub clock: ClockMode,
    /// How trades are spread over partitions.
    pub partitioning: Partitioning,
    /// The number of shards, unless it is that of the partitions ([`Partitioning::ByToken`]).
    pub shards: u32,
    /// The most worker threads; none for one per core.
    pub max_workers: Option<usize>,
    /// How often changed results are written.
    pub flush_interval: Duration,
    /// How often state and offsets are saved; none for never.
    pub checkpoint_interval: Option<Duration>,
    /// How far a trade may be ahead of its record's Kafka timestamp.
    pub max_future: Duration,
    /// The longest message that is parsed, in bytes.
    pub max_message_bytes: usize,
    /// How far a partition that is behind may be ahead of the front, in event time.
    pub align: Duration,
    /// How old the newest record read may be until its partition counts as behind again.
    pub live_lag: Duration,
    /// The most linear memory of all visible cells, in bytes; none for no limit.
    pub memory_limit: Option<u64>,
}

/// What moves the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockMode {
    /// The wall clock, in live traffic.
    Wall,
    /// The event times of the trades alone.
    Event,
}

/// How trades are spread over partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioning {
    /// In any way; shards are made by a hash of the token.
    Shuffle,
    /// By token; a shard is a partition.
    ByToken,
    /// In any way on the source, by token on a topic that the hosts of a group fill for each other.
    Repartition,
}

const CLOCKS: &[(&str, ClockMode)] = &[("wall", ClockMode::Wall), ("event", ClockMode::Event)];

const PARTITIONINGS: &[(&str, Partitioning)] = &[
    ("shuffle", Partitioning::Shuffle),
    ("by-token", Partitioning::ByToken),
    ("repartition", Partitioning::Repartition),
];

impl Pipeline {
    /// Reads this part.
    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let clock = from.value("CLOCK", parse::choice(CLOCKS));
        let partitioning = from.value("PARTITIONING", parse::choice(PARTITIONINGS));
        let shards = from.value("SHARDS", parse::number(1..=1024));
        if partitioning == Some(Partitioning::ByToken) && from.given("SHARDS").is_some() {
            from.warn("SHARDS", "is ignored: with PARTITIONING=by-token a shard is a partition");
        }
        let max_workers = from.value("MAX_WORKERS", parse::number(0..=1024_usize));
        let flush_interval = from.value("FLUSH_INTERVAL", parse::time("1ms", "10s"));
        let checkpoint_interval = from.value("CHECKPOINT_INTERVAL", checkpoint_interval);
        let max_future = from.value("MAX_FUTURE", parse::time("0s", "24h"));
        let max_message_bytes = from.value("MAX_MESSAGE_BYTES", parse::size(1 << 10..=512 << 20));
        let align = from.value("ALIGN", parse::time("1ms", "24h"));
        let live_lag = from.value("LIVE_LAG", parse::time("1ms", "24h"));
        let memory_limit_mib = from.value("MEMORY_LIMIT_MB", parse::number(0..=1 << 24));
        Some(Self {
            clock: clock?,
            partitioning: partitioning?,
            shards: shards?,
            max_workers: max_workers.filter(|workers| *workers > 0),
            flush_interval: flush_interval?,
            checkpoint_interval: checkpoint_interval?,
            max_future: max_future?,
            max_message_bytes: max_message_bytes?,
            align: align?,
            live_lag: live_lag?,
            memory_limit: memory_limit_mib.filter(|mib| *mib > 0).map(|mib: u64| mib << 20),
        })
    }
}

fn checkpoint_interval(text: &str) -> Parsed<Option<Duration>> {
    if matches!(text, "0" | "0s") {
        return Ok(None);
    }
    parse::time("100ms", "10m")(text).map(Some).map_err(|allowed| format!("{allowed}, or 0 for never"))
}
