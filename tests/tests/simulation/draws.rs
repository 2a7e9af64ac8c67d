//! What one seed draws before its world begins: the service's settings, the stream, and how often what goes wrong.
//!
//! Invariant: everything comes from the seed, in a fixed order.

use std::time::Duration;

use aggregator::config::{ClockMode, Encoding, Partitioning};
use aggregator::pipeline::Bounds;
use aggregator_tests::random::Random;
use aggregator_tests::stream::{Options, Shape};

/// The settings of a world.
#[derive(Debug, Clone)]
pub(crate) struct Draws {
    pub(crate) clock: ClockMode,
    pub(crate) partitioning: Partitioning,
    pub(crate) partitions: i32,
    pub(crate) shards: u32,
    pub(crate) workers: usize,
    /// How many events wait for a worker.
    pub(crate) inbox: usize,
    pub(crate) windows: &'static str,
    pub(crate) encoding: Encoding,
    pub(crate) flush_interval: Duration,
    pub(crate) checkpoint_interval: Option<Duration>,
    pub(crate) bounds: Bounds,
    pub(crate) align: Duration,
    pub(crate) stream: Options,
    /// How much of the stream stands in the topic before the first process starts, in event time.
    pub(crate) backlog_ms: i64,
    /// How many events the world has before it calms down.
    pub(crate) events: u64,
    pub(crate) chances: Chances,
}

/// How often something goes wrong: out of so many calls, or events of a world; none: never.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chances {
    /// A call of the store that does not get there, or whose answer gets lost.
    pub(crate) store_error: Option<u64>,
    /// A process that ends before or after a write is made.
    pub(crate) crash_at_write: Option<u64>,
    /// A process that ends in between.
    pub(crate) crash: Option<u64>,
    /// The store goes away or comes back.
    pub(crate) outage: Option<u64>,
    /// The store goes back to what it held before, or to nothing.
    pub(crate) amnesia: Option<u64>,
    /// A process is frozen or thawed.
    pub(crate) freeze: Option<u64>,
    /// Partitions, or all of them, go to another process in good order.
    pub(crate) handover: Option<u64>,
    /// They are given to another process while the former one goes on with them.
    pub(crate) takeover: Option<u64>,
    /// A record that must be rejected.
    pub(crate) poison: Option<u64>,
    /// Records that are handed out a second time, as after a rewind.
    pub(crate) rewind: Option<u64>,
}

impl Chances {
    fn draw(random: &mut Random) -> Self {
        let mut chance = |permille: u64, least: u64, spread: u64| {
            let (has, out_of) = (random.permille(permille), least + random.below(spread));
            has.then_some(out_of)
        };
        Self {
            store_error: chance(600, 5, 100),
            crash_at_write: chance(500, 20, 300),
            crash: chance(500, 300, 3000),
            outage: chance(400, 300, 2000),
            amnesia: chance(350, 500, 3000),
            freeze: chance(500, 200, 2000),
            handover: chance(600, 200, 2000),
            takeover: chance(500, 300, 2000),
            poison: chance(600, 5, 40),
            rewind: chance(500, 5, 50),
        }
    }

    /// Whether it happens this time.
    pub(crate) fn strikes(chance: Option<u64>, random: &mut Random) -> bool {
        chance.is_some_and(|out_of| random.below(out_of) == 0)
    }
}

fn one_of<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[random.below(choices.len() as u64) as usize]
}

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let random = &mut random;
        let clock = one_of(random, &[ClockMode::Wall, ClockMode::Event]);
        let partitioning = one_of(random, &[Partitioning::Shuffle, Partitioning::ByToken]);
        let partitions = 1 + random.below(5) as i32;
        let milliseconds =
            |random: &mut Random, choices: &[u64]| Duration::from_millis(one_of(random, choices));
        let checkpoints = one_of(random, &[Some(20), Some(200), Some(1000), Some(5000), None]);
        let bounds = Bounds {
            page_bytes: one_of(random, &[150, 2_000, 1 << 20]),
            slack_bytes: one_of(random, &[0, 1_000, 1 << 20]),
            parts: one_of(random, &[2, 5, 64]),
            removals: one_of(random, &[2, 100_000]),
        };
        let stream = stream(random, partitioning, partitions, clock);
        Self {
            clock,
            partitioning,
            partitions,
            shards: 1 + random.below(6) as u32,
            workers: 1 + random.below(3) as usize,
            inbox: one_of(random, &[1, 2, 64]),
            windows: one_of(random, &["2s,10s,1min", "1min,5min,1hour", "90s,3h", "1s,2min,30min"]),
            encoding: one_of(random, &[Encoding::Json, Encoding::Msgpack]),
            flush_interval: milliseconds(random, &[1, 10, 100, 700]),
            checkpoint_interval: checkpoints.map(Duration::from_millis),
            bounds,
            align: milliseconds(random, &[0, 1_000, 10_000]),
            backlog_ms: random.below(stream.span_ms as u64 + 1) as i64,
            stream,
            events: 500 + random.below(5_000),
            chances: Chances::draw(random),
        }
    }
}

fn stream(random: &mut Random, partitioning: Partitioning, partitions: i32, clock: ClockMode) -> Options {
    let shape = match partitioning {
        Partitioning::Shuffle => one_of(random, &[Shape::Arrays, Shape::Singles]),
        Partitioning::ByToken | Partitioning::Repartition => Shape::Singles,
    };
    let mut options = Options::new(random.bits(), shape, 50 + random.below(1_500) as usize);
    options.tokens = one_of(random, &[1, 7, 40, 400]);
    options.partitions = partitions;
    // With a wall clock the world lives through all of it.
    options.span_ms = match clock {
        ClockMode::Wall => one_of(random, &[20_000, 120_000, 400_000]),
        ClockMode::Event => one_of(random, &[20_000, 600_000, 7_200_000]),
    };
    options.whole_seconds = random.permille(500);
    options.disorder_ms = one_of(random, &[0, 3_000, 30_000]);
    options.late_permille = one_of(random, &[0, 20, 200]);
    options.late_ms = one_of(random, &[5_000, 600_000, 8_000_000]);
    options
}
