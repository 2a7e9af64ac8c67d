//! The native baseline: the same job as the service for one topic on event time, as a bare program in one file.
//!
//! One thread takes messages from librdkafka in batches and decodes them with the service's scanner; the other folds
//! them into the window engine, linked natively, and writes changed rows to Redis over one pipelined connection. There
//! is no plugin host, no checkpoint, no ownership, no health and no metrics beyond a few counters; everything that is
//! left is as fast as we could make it. Takes the service's environment variables. The invariant: its final results
//! equal the oracle's, so that it does the whole job.
#![allow(unsafe_code, reason = "librdkafka's batch call has no safe wrapper")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{ptr, slice, thread};

use aggregator::config::Encoding;
use aggregator::results::Schema;
use aggregator::trade::{Decoder, Limits, Optional, Rows};
use aggregator_sdk::{PanePlugin, Plugin, contract as sdk};
use aggregator_tests::{native, paths, time};
use anyhow::{Context, Result, ensure};
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sliding_window::Candle;

type Engine = PanePlugin<Candle>;

/// Messages of one batch call, and the rows after which a batch is handed over: few enough to stay in cache.
const MESSAGES: usize = 2_048;
const ROWS: usize = 8_192;
/// How long the batch call waits for its batch to fill.
const BATCH_WAIT_MS: i32 = 5;
/// Batches between the threads.
const QUEUE: usize = 4;
/// Rows asked of the engine at once.
const MOST_ROWS: u32 = 4_096;
/// How long all partitions must have been at their end until the results are final.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

static TRADES: AtomicU64 = AtomicU64::new(0);
static FLUSHES: AtomicU64 = AtomicU64::new(0);
static ROWS_WRITTEN: AtomicU64 = AtomicU64::new(0);

/// A decoded batch, or only news of the partitions.
struct Batch {
    rows: Rows,
    /// The largest event time of each partition so far, none while nothing was read; and whether it is at its end.
    partitions: Vec<(Option<i64>, bool)>,
}

fn main() -> Result<()> {
    let variable = |name: &str, default: &str| paths::variable(name).unwrap_or_else(|| default.to_owned());
    let port: u16 = variable("METRICS_PORT", "8081").parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).context("listening for HTTP")?;
    thread::spawn(move || serve(&listener));
    let topic = variable("KAFKA_TOPIC", "trade-info");
    let redis =
        TcpStream::connect(variable("REDIS_ADDR", "localhost:6379")).context("connecting to redis")?;
    let configuration =
        format!(r#"{{"windows": "{}"}}"#, variable("TIME_WINDOWS", "1min,5min,15min,30min,1hour"));
    let fold = Fold::new(&configuration, redis)?;
    let (to_fold, batches) = sync_channel(QUEUE);
    let (give_back, empty) = sync_channel(2 * QUEUE);
    let folding = thread::spawn(move || fold.run(&batches, &give_back));
    read(&variable("KAFKA_BROKERS", "localhost:9092"), &topic, &to_fold, &empty)?;
    drop(to_fold);
    folding.join().map_err(|_| anyhow::anyhow!("the folding thread panicked"))?
}

/// Answers every request with the counters.
fn serve(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        let mut request = [0; 1024];
        if stream.read(&mut request).is_ok() {
            let [trades, flushes, rows] =
                [&TRADES, &FLUSHES, &ROWS_WRITTEN].map(|counter| counter.load(Ordering::Relaxed));
            let page = format!(
                "aggregator_trades_total {trades}\naggregator_flushes_total {flushes}\naggregator_rows_written_total {rows}\n"
            );
            write!(stream, "HTTP/1.0 200 OK\r\n\r\n{page}").ok();
        }
    }
}

/// Takes messages of all partitions from one queue and decodes them.
fn read(brokers: &str, topic: &str, to_fold: &SyncSender<Batch>, empty: &Receiver<Rows>) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "baseline")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set("queued.max.messages.kbytes", "65536")
        .set("fetch.message.max.bytes", "2097152")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.wait.max.ms", "100")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    ensure!(partitions > 0, "the topic {topic} has no partitions");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions as i32 {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    let queue = Queue::of_all_partitions(&consumer, topic, partitions as i32)?;
    consumer.assign(&assignment)?;

    let limits = Limits { max_future_ms: 300_000, max_message_bytes: 8 << 20 };
    let mut decoder = Decoder::new(limits, Optional::default());
    let mut state = vec![(None, false); partitions];
    let mut rows = Rows::new();
    let mut rejected = Vec::new();
    let mut served_at = Instant::now();
    loop {
        let mut news = false;
        let now_ms = time::now_ms();
        for message in queue.take(MESSAGES) {
            let partition = message.partition();
            news = true;
            match message.payload() {
                Some(payload) => {
                    let before = rows.len();
                    decoder.decode(payload, 0, message.timestamp_ms(), now_ms, &mut rows, &mut rejected);
                    let newest_ms = rows.times_ms[before..].iter().copied().max();
                    state[partition] = (state[partition].0.max(newest_ms), false);
                }
                None => state[partition].1 = true,
            }
            if rows.len() >= ROWS {
                rows = hand_over(rows, &state, to_fold, empty);
            }
        }
        rejected.clear();
        if news {
            rows = hand_over(rows, &state, to_fold, empty);
        }
        if served_at.elapsed() > Duration::from_millis(100) {
            served_at = Instant::now();
            consumer.poll(Duration::ZERO);
        }
    }
}

fn hand_over(
    rows: Rows,
    state: &[(Option<i64>, bool)],
    to_fold: &SyncSender<Batch>,
    empty: &Receiver<Rows>,
) -> Rows {
    // The other side ends only with the process.
    to_fold.send(Batch { rows, partitions: state.to_vec() }).ok();
    empty.try_recv().unwrap_or_default()
}

/// One queue that all partitions forward to.
struct Queue<'a> {
    queue: ptr::NonNull<sys::rd_kafka_queue_t>,
    _consumer: &'a BaseConsumer,
}

impl<'a> Queue<'a> {
    /// Must be called before the assignment, so that no message goes elsewhere.
    fn of_all_partitions(consumer: &'a BaseConsumer, topic: &str, partitions: i32) -> Result<Self> {
        let client = consumer.client().native_ptr();
        let topic = CString::new(topic)?;
        // SAFETY: the client is alive; the queue is ours.
        let queue =
            ptr::NonNull::new(unsafe { sys::rd_kafka_queue_new(client) }).context("making a queue")?;
        for partition in 0..partitions {
            // SAFETY: client, topic and queue are alive; the partition's queue is released once, by us.
            unsafe {
                let own = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition);
                sys::rd_kafka_queue_forward(own, queue.as_ptr());
                sys::rd_kafka_queue_destroy(own);
            }
        }
        Ok(Self { queue, _consumer: consumer })
    }

    fn take(&self, most: usize) -> impl Iterator<Item = Taken> + use<> {
        let mut slots: Vec<*mut sys::rd_kafka_message_t> = vec![ptr::null_mut(); most];
        // SAFETY: `slots` has room for `most` pointers; the queue is alive.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), BATCH_WAIT_MS, slots.as_mut_ptr(), most)
        };
        slots.truncate(usize::try_from(count).unwrap_or(0));
        slots.into_iter().filter_map(ptr::NonNull::new).map(Taken)
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        // SAFETY: the queue is ours and destroyed once.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// A message or an end of partition, destroyed when dropped.
struct Taken(ptr::NonNull<sys::rd_kafka_message_t>);

impl Taken {
    fn partition(&self) -> usize {
        // SAFETY: the message lives as long as `self`.
        unsafe { self.0.as_ref() }.partition as usize
    }

    /// The bytes; none for an end of partition, the only event that a healthy broker sends.
    fn payload(&self) -> Option<&[u8]> {
        // SAFETY: the message lives as long as `self`, and so do the `len` bytes it points to.
        let message = unsafe { self.0.as_ref() };
        if message.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let empty = message.payload.is_null();
        Some(if empty {
            &[]
        } else {
            unsafe { slice::from_raw_parts(message.payload.cast::<u8>(), message.len) }
        })
    }

    fn timestamp_ms(&self) -> Option<i64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive; `kind` is ours.
        let time_ms = unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        (time_ms >= 0).then_some(time_ms)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: we own the message, and this is its only destruction.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// Keys are hashes already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What is known of a token.
struct Token {
    text: Box<str>,
    last_trade_ms: i64,
    /// The engine knows it.
    live: bool,
}

/// Windows, and the connection that their rows go to.
struct Fold {
    engine: Engine,
    schema: Schema,
    by_hash: HashMap<u64, u32, BuildHasherDefault<Identity>>,
    tokens: Vec<Token>,
    columns: sdk::Batch,
    /// Where each token of a batch begins, and the engine's number for it.
    starts: Vec<(u32, u32)>,
    clock_ms: Option<i64>,
    redis: TcpStream,
    replies: BufReader<TcpStream>,
    /// Commands whose replies have not been read.
    unread: usize,
    commands: Vec<u8>,
}

impl Fold {
    fn new(configuration: &str, redis: TcpStream) -> Result<Self> {
        let (engine, settings) = Engine::configure(configuration).map_err(anyhow::Error::msg)?;
        let schema = Schema::new(&native::description(Engine::describe()), &native::settings(settings))?;
        let replies = BufReader::new(redis.try_clone()?);
        redis.set_nodelay(true)?;
        Ok(Self {
            engine,
            schema,
            by_hash: HashMap::default(),
            tokens: Vec::new(),
            columns: sdk::Batch::default(),
            starts: Vec::new(),
            clock_ms: None,
            redis,
            replies,
            unread: 0,
            commands: Vec::new(),
        })
    }

    fn run(mut self, batches: &Receiver<Batch>, give_back: &SyncSender<Rows>) -> Result<()> {
        let interval = Duration::from_millis(100);
        let mut flush_at = Instant::now() + interval;
        let mut ended_at: Option<Instant> = None;
        let mut settled = false;
        loop {
            match batches.recv_timeout(flush_at.saturating_duration_since(Instant::now())) {
                Ok(mut batch) => {
                    self.take(&batch.rows);
                    self.move_clock(&batch.partitions);
                    let ended = batch.partitions.iter().all(|partition| partition.1);
                    ended_at = ended.then(Instant::now);
                    settled = settled && ended;
                    batch.rows.clear();
                    give_back.try_send(batch.rows).ok();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if Instant::now() < flush_at {
                continue;
            }
            if !settled && ended_at.is_some_and(|at| at.elapsed() >= SETTLED_AFTER) {
                settled = true;
                self.engine.touch(None);
            }
            self.flush()?;
            flush_at = (flush_at + interval).max(Instant::now());
        }
    }

    /// Sorts a batch by token, so that each token's panes are met while they are warm, and folds it.
    fn take(&mut self, rows: &Rows) {
        self.columns.new_tokens.clear();
        self.starts.clear();
        let mut start = 0;
        for token in 0..rows.tokens.len() as u32 {
            let id =
                self.token(rows.tokens.hash(token), rows.tokens.text(token), rows.tokens.latest_ms(token));
            self.starts.push((start, id));
            start += rows.tokens.rows(token);
        }
        let columns = &mut self.columns;
        columns.tokens.resize(rows.len(), 0);
        columns.times_ms.resize(rows.len(), 0);
        columns.sides.resize(rows.len(), 0);
        columns.natives.resize(rows.len(), 0);
        columns.amounts.resize(rows.len(), 0.0);
        columns.prices.resize(rows.len(), 0.0);
        for (row, &token) in rows.token.iter().enumerate() {
            let (start, id) = &mut self.starts[token as usize];
            let at = *start as usize;
            *start += 1;
            columns.tokens[at] = *id;
            columns.times_ms[at] = rows.times_ms[row];
            columns.sides[at] = rows.sides[row];
            columns.natives[at] = rows.natives[row];
            columns.amounts[at] = rows.amounts[row];
            columns.prices[at] = rows.prices[row];
        }
        self.engine.process(columns);
        TRADES.fetch_add(rows.len() as u64, Ordering::Relaxed);
    }

    /// The engine's number for a token, which is introduced where it is new or was forgotten.
    fn token(&mut self, mut hash: u64, text: &str, latest_ms: i64) -> u32 {
        let id = loop {
            match self.by_hash.get(&hash) {
                Some(&id) if *self.tokens[id as usize].text == *text => break id,
                // Another token has this hash: the next place.
                Some(_) => hash = hash.wrapping_add(1),
                None => {
                    let id = self.tokens.len() as u32;
                    self.by_hash.insert(hash, id);
                    self.tokens.push(Token { text: text.into(), last_trade_ms: i64::MIN, live: false });
                    break id;
                }
            }
        };
        let token = &mut self.tokens[id as usize];
        token.last_trade_ms = token.last_trade_ms.max(latest_ms);
        if !token.live {
            token.live = true;
            self.columns.new_tokens.push(sdk::NewToken { id, text: text.to_owned() });
        }
        id
    }

    /// The clock is the smallest event time of the partitions that are not at their end, or the largest of all.
    fn move_clock(&mut self, partitions: &[(Option<i64>, bool)]) {
        let open = partitions.iter().filter(|partition| !partition.1);
        let clock_ms = match open.map(|partition| partition.0).min() {
            Some(smallest_ms) => smallest_ms,
            None => partitions.iter().filter_map(|partition| partition.0).max(),
        };
        self.clock_ms = self.clock_ms.max(clock_ms);
    }

    fn flush(&mut self) -> Result<()> {
        let Some(clock_ms) = self.clock_ms else {
            return Ok(());
        };
        self.read_replies()?;
        let last_update = time::rfc3339_ms(clock_ms);
        loop {
            let table = native::table(self.engine.flush(clock_ms, MOST_ROWS));
            if table.tokens.is_empty() {
                return Ok(());
            }
            let forgotten: BTreeMap<u32, ()> = table.forgotten.iter().map(|&token| (token, ())).collect();
            let mut value = Vec::new();
            for (row, id) in table.tokens.iter().enumerate() {
                value.clear();
                self.schema.encode_row(Encoding::Json, &table, row, clock_ms, &mut value);
                self.write_row(*id, &value, &last_update, forgotten.contains_key(id));
            }
            self.redis.write_all(&self.commands).context("writing to redis")?;
            self.commands.clear();
            FLUSHES.fetch_add(1, Ordering::Relaxed);
            ROWS_WRITTEN.fetch_add(table.tokens.len() as u64, Ordering::Relaxed);
            if !table.more {
                return Ok(());
            }
            self.read_replies()?;
        }
    }

    fn write_row(&mut self, id: u32, value: &[u8], last_update: &str, forgotten: bool) {
        let token = &mut self.tokens[id as usize];
        let commands = &mut self.commands;
        let active = token.last_trade_ms.to_string();
        let (results, updated) =
            (format!("token:{}:aggregates", token.text), format!("token:{}:last_update", token.text));
        command(commands, &[b"SET", results.as_bytes(), value]);
        command(commands, &[b"SET", updated.as_bytes(), last_update.as_bytes()]);
        if forgotten {
            token.live = false;
            command(commands, &[b"ZREM", b"tokens:active", token.text.as_bytes()]);
        } else {
            command(commands, &[b"ZADD", b"tokens:active", active.as_bytes(), token.text.as_bytes()]);
        }
        self.unread += 3;
    }

    /// Reads the replies of the flush before, which have long come; an error among them ends the program.
    fn read_replies(&mut self) -> Result<()> {
        let mut line = String::new();
        for _ in 0..std::mem::take(&mut self.unread) {
            line.clear();
            self.replies.read_line(&mut line).context("reading from redis")?;
            ensure!(line.starts_with(['+', ':']), "redis refused a command: {line}");
        }
        Ok(())
    }
}

/// Appends a command in Redis' own protocol.
fn command(commands: &mut Vec<u8>, words: &[&[u8]]) {
    write!(commands, "*{}\r\n", words.len()).ok();
    for word in words {
        write!(commands, "${}\r\n", word.len()).ok();
        commands.extend_from_slice(word);
        commands.extend_from_slice(b"\r\n");
    }
}
