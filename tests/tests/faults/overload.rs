//! Row 27: more comes than can be taken, at once and for a while.
//!
//! Every message is slow to read, and there is one worker. The invariant: the host says truthfully how far behind it is
//! and that it cannot keep up, stays within its memory, and catches up as fast as it can read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aggregator_tests::broker;
use aggregator_tests::host::Host;
use aggregator_tests::plugins_dir::{PluginsDir, hostile};
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::report::Kept;
use aggregator_tests::settings::Settings;
use aggregator_tests::watch::Ends;
use aggregator_tests::{metrics, process};
use nix::sys::signal::Signal;

use crate::run::{LIMIT, pick, scaled};
use crate::slow::{ROUND, SlowTopic};

/// How long pressure may take to be shown, and to be gone.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
/// How late the host may know where a partition ends.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// What a host may grow by: what is read ahead of four partitions, and as much again for the work.
const GROWTH_BYTES: u64 = 128 << 20;
/// How often a piece of a steady load is sent.
const PIECE_EVERY: Duration = Duration::from_millis(50);

/// What was seen while the host could not keep up.
#[derive(Default)]
struct Seen {
    /// From the first look until the pressure was shown to be high.
    high_after: Option<Duration>,
    /// The most memory.
    resident_bytes: u64,
    /// Moments at which the host did not know of records that had been there for long enough.
    blind: Vec<String>,
}

/// Looks at a host until it is told to end.
fn watch(host: &Host, ends: &Ends, ended: &AtomicBool) -> Seen {
    let (began, known_within) = (Instant::now(), scaled(KNOWN_WITHIN));
    let (mut seen, mut acknowledged) = (Seen::default(), Vec::new());
    while !ended.load(Ordering::Relaxed) {
        acknowledged.push((Instant::now(), ends.all()));
        let page = host.get("/metrics").map(|answer| answer.body).unwrap_or_default();
        if metrics::value(&page, "aggregator_backpressure") == Some(2.0) {
            seen.high_after.get_or_insert(began.elapsed());
        }
        seen.resident_bytes = seen.resident_bytes.max(process::resident_bytes(host.pid()).unwrap_or(0));
        let stood = acknowledged.iter().rev().find(|(at, _)| at.elapsed() >= known_within);
        for partition in
            host.json("/partitions").iter().flat_map(|page| page["partitions"].as_array().cloned()).flatten()
        {
            let (id, end) =
                (partition["partition"].as_u64().unwrap_or(0) as usize, partition["end"].as_i64());
            if let Some((at, ends)) = stood.filter(|(_, ends)| end < Some(ends[id])) {
                seen.blind.push(format!("{id}: {end:?}, not {} since {:?}", ends[id], at.elapsed()));
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
    seen
}

/// A host with one worker, and what it has been given.
struct Overload {
    redis: RedisServer,
    topic: SlowTopic,
    host: Host,
    /// Its memory before.
    resident_bytes: u64,
}

impl Overload {
    fn start(settings: impl FnOnce(Settings) -> Settings) -> Self {
        let (broker, redis) = (broker::shared(), RedisServer::start().unwrap());
        let topic = SlowTopic::new(broker);
        let common =
            Settings::of(broker, &topic.name, &redis).with("CLOCK", "event").with("MAX_WORKERS", "1");
        let host = Host::start(&settings(common)).unwrap();
        topic.send(1);
        host.wait_metric("aggregator_trades_total", LIMIT, |trades| trades >= topic.trades()).unwrap();
        host.wait_ready(LIMIT).unwrap();
        let resident_bytes = process::resident_bytes(host.pid()).unwrap();
        Self { redis, topic, host, resident_bytes }
    }

    /// Has the host find so many rounds at once: while they are sent it is frozen.
    fn burst(&self, rounds: usize) -> f64 {
        self.host.signal(Signal::SIGSTOP);
        self.topic.send_unsaid(rounds);
        self.press(|overload| {
            overload.host.signal(Signal::SIGCONT);
            overload.topic.say(rounds);
        })
    }

    fn trades(&self) -> f64 {
        self.host.metric("aggregator_trades_total").unwrap()
    }

    /// Gives the host what `send` sends, waits until it is done, checks what was seen meanwhile, and says how many trades
    /// it took in a second once all was sent.
    fn press(&self, send: impl FnOnce(&Self)) -> f64 {
        let ended = AtomicBool::new(false);
        let (seen, rate) = thread::scope(|scope| {
            let watching = scope.spawn(|| watch(&self.host, &self.topic.ends, &ended));
            send(self);
            let (sent, before, wanted) = (Instant::now(), self.trades(), self.topic.trades());
            self.host.wait_metric("aggregator_trades_total", LIMIT * 4, |trades| trades >= wanted).unwrap();
            let rate = (wanted - before) / sent.elapsed().as_secs_f64();
            ended.store(true, Ordering::Relaxed);
            (watching.join().unwrap(), rate)
        });
        let calm = Instant::now();
        self.host.wait_metric("aggregator_backpressure", LIMIT, |pressure| pressure == 0.0).unwrap();
        assert!(
            calm.elapsed() < scaled(SHOWN_WITHIN),
            "pressure was shown for {:?} too long",
            calm.elapsed()
        );
        let high_after = seen.high_after.expect("a pressure that is high");
        assert!(high_after < scaled(SHOWN_WITHIN), "pressure was shown after {high_after:?}");
        assert!(seen.blind.is_empty(), "ends were not known: {:#?}", &seen.blind[..seen.blind.len().min(10)]);
        let grown = seen.resident_bytes.saturating_sub(self.resident_bytes);
        assert!(grown <= GROWTH_BYTES, "it grew by {} MiB", grown >> 20);
        assert_eq!(self.trades(), self.topic.trades());
        self.topic.assert_exact(&self.redis);
        rate
    }

    /// Sends so many trades a second for a while.
    fn send_steadily(&self, rate: f64, span: Duration) {
        let (began, mut sent) = (Instant::now(), 0);
        while began.elapsed() < span {
            let due = (began.elapsed().as_secs_f64() * rate) as usize / ROUND;
            self.topic.send(due - sent);
            sent = due;
            thread::sleep(PIECE_EVERY);
        }
    }
}

#[test]
fn a_host_that_cannot_keep_up_says_so_truthfully_and_catches_up() {
    let _row = Kept::of("27 more than can be taken");
    Overload::start(|settings| settings).burst(pick(1_000, 4_000));
}

#[test]
fn a_host_that_is_given_three_times_what_it_can_take_loses_nothing_and_no_speed() {
    let mut row = Kept::of("27 three times as much as can be taken");
    let plugins = PluginsDir::new().unwrap();
    plugins.put("hostile.wasm", &hostile(1).unwrap()).unwrap();
    plugins.put("hostile.json", br#"{"windows":["1min"],"does":[{"at":"process","do":"work"}]}"#).unwrap();
    let directory = plugins.path().display().to_string();
    let overload = Overload::start(|settings| settings.with("PLUGINS_DIR", &directory));
    let burst = pick(100, 400);
    let before = overload.burst(burst);

    let (span, sent) = (Duration::from_secs(pick(4, 120)), overload.topic.trades());
    let drained = overload.press(|overload| overload.send_steadily(3.0 * before, span));
    let times = (overload.topic.trades() - sent) / span.as_secs_f64() / before;
    assert!(times >= 2.5, "the load was only {times:.2} times what the host can take");
    // A machine that has become slower meanwhile is not the host's fault.
    let speed = drained / overload.burst(burst).min(before);
    row.speed(speed);
    assert!(
        speed >= pick(0.5, 0.9),
        "drained {drained:.0} trades/s only, {speed:.2} times what the host can take"
    );
    let broken = |line: &serde_json::Value| {
        let words = line["message"].as_str().unwrap_or_default();
        words.contains("revoked") || words.contains("Ending the term")
    };
    let log = overload.host.log();
    assert_eq!(log.iter().find(|line| broken(line)), None, "the host gave up its partitions");
}
