//! An open load with a probe in it: one token whose trades are counted in Redis one by one.
//!
//! Each of the probe's trades raises the count of its longest window by one, so the moment at which trade n is seen is
//! the moment at which the count reaches n. The invariant: an open loop; a slow host does not slow the producer down.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use aggregator_tests::broker::Broker;
use aggregator_tests::compare::AGGREGATES;
use aggregator_tests::oracle;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::results::{self, Encoding};
use aggregator_tests::stream::{self, Message, Shape, Stream, partition_of};
use aggregator_tests::time;
use aggregator_tests::trade::Trade;

use crate::Options;

const PROBE: &str = "probe";
/// How often the load is topped up, and how often the probe trades.
const TICK: Duration = Duration::from_millis(1);
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// Between two looks into Redis; what it adds to a latency.
const LOOK_EVERY: Duration = Duration::from_micros(300);
/// How long the last probes may take.
const TAIL: Duration = Duration::from_secs(10);

/// Serves its own delivery reports: a tick of ours is too seldom for thousands of single messages.
type Client = ThreadedProducer<DefaultProducerContext>;

/// A load of so many trades a second, made and sent now.
pub(crate) struct Load<'a> {
    pub(crate) options: &'a Options,
    pub(crate) broker: &'a Broker,
    pub(crate) topic: &'a str,
    pub(crate) shape: Shape,
    pub(crate) rate: u64,
}

/// A probe that was seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) sent_at: Instant,
    pub(crate) latency_ms: f64,
}

impl Load<'_> {
    /// The stream of which the load is made, for as long as it lasts.
    pub(crate) fn stream(&self) -> Stream {
        Stream::new(&stream::Options {
            tokens: self.options.tokens,
            partitions: self.options.partitions,
            whole_seconds: true,
            ..stream::Options::new(self.options.seed, self.shape, usize::MAX / 2)
        })
    }

    /// Sends the load while it goes on, shows each message to somebody, and tells when each probe was seen.
    pub(crate) fn run(
        &self,
        redis: &RedisServer,
        goes_on: impl Fn(Duration) -> bool,
        show: impl FnMut(&Message) -> Result<()>,
    ) -> Result<Vec<Seen>> {
        let window =
            oracle::windows(&self.options.windows)?.into_iter().max_by_key(|window| window.length_ms);
        let window = window.context("no windows")?.name;
        let (sent, done) = (Mutex::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            let reader = scope.spawn(|| watch(redis, &window, &sent, &done));
            let loaded = self.send_all(&sent, goes_on, show);
            done.store(true, Ordering::Release);
            let seen = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
            loaded.and(seen)
        })
    }

    fn send_all(
        &self,
        sent: &Mutex<Vec<Instant>>,
        goes_on: impl Fn(Duration) -> bool,
        mut show: impl FnMut(&Message) -> Result<()>,
    ) -> Result<()> {
        let client: Client = self.broker.client().set("linger.ms", "0").create()?;
        let mut stream = self.stream();
        let (began, mut trades, mut probes) = (Instant::now(), 0, 0_u32);
        while goes_on(began.elapsed()) {
            let due = (began.elapsed().as_secs_f64() * self.rate as f64) as usize;
            while trades < due {
                let message = stream.next().context("the stream ended")?.at(time::now_ms());
                trades += message.trades.len();
                self.send(&client, &message)?;
                show(&message)?;
            }
            if began.elapsed() >= PROBE_EVERY * probes {
                let partition = match self.shape {
                    Shape::Arrays => probes as i32 % self.options.partitions,
                    Shape::Singles => partition_of(PROBE, self.options.partitions),
                };
                let message = Trade::simple(PROBE, time::now_ms()).message(partition);
                sent.lock().map_err(|_| anyhow::anyhow!("the reader panicked"))?.push(Instant::now());
                self.send(&client, &message)?;
                show(&message)?;
                probes += 1;
            }
            thread::sleep(TICK);
        }
        client.flush(TAIL).context("waiting for acknowledgements")
    }

    fn send(&self, client: &Client, message: &Message) -> Result<()> {
        let record = BaseRecord::<str, [u8]>::to(self.topic).partition(message.partition);
        let mut record = record.payload(&message.payload);
        if let Some(key) = &message.key {
            record = record.key(key);
        }
        client.send(record).map_err(|(error, _)| error).context("sending")
    }
}

/// Watches the probe's count and notes how long each of its trades took to be seen.
fn watch(
    redis: &RedisServer,
    window: &str,
    sent: &Mutex<Vec<Instant>>,
    done: &AtomicBool,
) -> Result<Vec<Seen>> {
    let mut connection = redis.connect()?;
    let mut seen = Vec::new();
    let mut deadline = None;
    loop {
        let row = results::read(&mut connection, PROBE, AGGREGATES, Encoding::Json)?;
        let count =
            row.as_ref().and_then(|row| row.cell(window, "buy_count")?.number()).unwrap_or(0.0) as usize;
        let now = Instant::now();
        let sent = sent.lock().map_err(|_| anyhow::anyhow!("the producer panicked"))?;
        while seen.len() < count.min(sent.len()) {
            let sent_at = sent[seen.len()];
            seen.push(Seen { sent_at, latency_ms: now.duration_since(sent_at).as_secs_f64() * 1000.0 });
        }
        if done.load(Ordering::Acquire) {
            let until = *deadline.get_or_insert(now + TAIL);
            if seen.len() == sent.len() || now > until {
                ensure!(seen.len() == sent.len(), "{} probes were never seen", sent.len() - seen.len());
                return Ok(seen);
            }
        }
        drop(sent);
        thread::sleep(LOOK_EVERY);
    }
}
