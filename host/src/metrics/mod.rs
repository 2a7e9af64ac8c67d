//! Numbers for monitoring: one struct that owns its registry.
//!
//! Handles are resolved once; labels come from closed sets. Invariant: every number is true: counted
//! where the thing happens, or read from where it stands at the moment of the scrape.

mod ancestor;
mod checkpoints;
pub mod history;
mod maintenance;
mod observed;
mod open_metrics;
mod plugin_events;
mod plugins;
pub mod pressure;
mod process;
mod rates;
mod tail;

use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry,
    TextEncoder,
};

pub use maintenance::{Leftover, MaintenanceCounts, MaintenanceNumbers};
pub use observed::Observed;
pub use plugin_events::PluginEvents;
pub use plugins::PluginNumbers;
pub use process::Process;
pub use rates::{Rates, Recent, Snapshot};

use crate::trade::Reason;
use checkpoints::{CheckpointNumbers, Regressions};
use history::History;
use observed::ObservedGauges;
use pressure::Pressure;
use tail::Tail;

/// All numbers of the service.
pub struct Metrics {
    registry: Registry,
    /// `aggregator_trades_total`: trades that count in the windows.
    pub trades: IntCounter,
    /// `aggregator_replayed_total`: trades read again that had been counted before a restart.
    pub replayed: IntCounter,
    /// `aggregator_messages_total`: messages decoded.
    pub messages: IntCounter,
    rejected: Vec<IntCounter>,
    /// `aggregator_flushes_total`: flushes of one shard.
    flushes: IntCounter,
    flush_seconds: Histogram,
    /// `aggregator_rows_written_total`: rows that the store has accepted.
    pub rows_written: IntCounter,
    batches: IntCounter,
    batch_seconds: Histogram,
    store_calls: IntCounter,
    store_errors: IntCounter,
    store_seconds: Histogram,
    /// `aggregator_fenced_writes_total`: chunks refused since another process owns the shard.
    pub fenced_writes: IntCounter,
    /// `aggregator_dead_letters_total`: rejected records delivered to the dead-letter topic.
    pub dead_letters: IntCounter,
    /// `aggregator_kafka_errors_total`: errors reported by the Kafka client.
    pub kafka_errors: IntCounter,
    /// `aggregator_shown_early_total`: cells shown before they had caught up, after the longest wait.
    pub shown_early: IntCounter,
    /// `aggregator_admin_refused_total`: requests to change something that were not allowed to.
    pub admin_refused: IntCounter,
    checkpoints: CheckpointNumbers,
    /// What maintenance finds and does.
    pub maintenance: MaintenanceNumbers,
    regressions: Regressions,
    observed: ObservedGauges,
    /// Gauges and counters that plugins declare.
    pub plugins: PluginNumbers,
    /// What happens to plugins.
    pub plugin_events: PluginEvents,
    ancestor: ancestor::Ancestor,
    rates: Rates,
    /// The last minutes.
    pub history: History,
    batch_tail: Tail,
    store_tail: Tail,
    /// How busy the workers are.
    pub pressure: Pressure,
    log_lines_lost: IntCounter,
    spans_lost: IntCounter,
    backpressure: Gauge,
}

/// Bounds from 100 µs to 10 s.
const SECONDS: [f64; 16] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Makes and registers collectors; names are constants of this file, so a failure is a bug found by
/// the first test.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn add<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<C>,
    ) -> prometheus::Result<C> {
        let collector = made?;
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.add(Gauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> prometheus::Result<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(name, help), &[label]))
    }

    fn seconds(&self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec())))
    }
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let by_reason = make.add(IntCounterVec::new(
            Opts::new("aggregator_rejected_total", "Records rejected, by reason"),
            &["reason"],
        ))?;
        Ok(Self {
            trades: make.counter("aggregator_trades_total", "Trades that count in the windows")?,
            replayed: make.counter(
                "aggregator_replayed_total",
                "Trades read again that had been counted before a restart",
            )?,
            messages: make.counter("aggregator_messages_total", "Messages decoded")?,
            rejected: Reason::ALL
                .iter()
                .map(|reason| by_reason.with_label_values(&[reason.as_str()]))
                .collect(),
            flushes: make.counter("aggregator_flushes_total", "Flushes of one shard")?,
            flush_seconds: make.seconds("aggregator_flush_seconds", "Worker time of one shard's flush")?,
            rows_written: make
                .counter("aggregator_rows_written_total", "Result rows that the store has accepted")?,
            batches: make.counter("aggregator_batches_total", "Fetched batches aggregated")?,
            batch_seconds: make
                .seconds("aggregator_batch_seconds", "Time from taking a batch to all its trades counted")?,
            store_calls: make
                .counter("aggregator_store_calls_total", "Calls of the store for writing results")?,
            store_errors: make.counter("aggregator_store_errors_total", "Calls of the store that failed")?,
            store_seconds: make.seconds("aggregator_store_seconds", "Time of one call of the store")?,
            fenced_writes: make.counter(
                "aggregator_fenced_writes_total",
                "Writes refused since another process owns the shard",
            )?,
            dead_letters: make.counter(
                "aggregator_dead_letters_total",
                "Rejected records delivered to the dead-letter topic",
            )?,
            kafka_errors: make
                .counter("aggregator_kafka_errors_total", "Errors reported by the Kafka client")?,
            shown_early: make.counter(
                "aggregator_shown_early_total",
                "Cells whose results were shown before they had caught up",
            )?,
            admin_refused: make.counter(
                "aggregator_admin_refused_total",
                "Requests to change something that were not allowed to",
            )?,
            checkpoints: CheckpointNumbers::new(&make)?,
            maintenance: MaintenanceNumbers::new(&make)?,
            regressions: Regressions::new(&make)?,
            observed: ObservedGauges::new(&make)?,
            plugins: PluginNumbers::default(),
            plugin_events: PluginEvents::new(&make)?,
            ancestor: ancestor::Ancestor::new(&make)?,
            rates: Rates::default(),
            history: History::default(),
            batch_tail: Tail::default(),
            store_tail: Tail::default(),
            pressure: Pressure::default(),
            log_lines_lost: make
                .counter("aggregator_log_lines_lost_total", "Log lines that could not be written")?,
            spans_lost: make
                .counter("aggregator_spans_lost_total", "Spans of traces that could not be sent")?,
            backpressure: make.gauge(
                "aggregator_backpressure",
                "How busy the busiest worker was over 2 s: 0 OK, 1 LOW, 2 HIGH",
            )?,
            registry,
        })
    }

    /// The counter of a rejection reason.
    pub fn rejected(&self, reason: Reason) -> &IntCounter {
        &self.rejected[reason.index()]
    }

    /// Counts a flush of one shard.
    pub fn flush(&self, took: Duration) {
        self.flushes.inc();
        self.flush_seconds.observe(took.as_secs_f64());
    }

    /// Counts a batch that is through.
    pub fn batch(&self, took: Duration) {
        self.batches.inc();
        self.batch_seconds.observe(took.as_secs_f64());
    }

    /// Counts a call of the store.
    pub fn store_call(&self, took: Duration, ok: bool) {
        self.store_calls.inc();
        self.store_seconds.observe(took.as_secs_f64());
        if !ok {
            self.store_errors.inc();
        }
    }

    /// Counts a stored checkpoint.
    pub fn checkpoint(&self, bytes: u64, took_ms: u64) {
        self.checkpoints.stored(bytes, took_ms);
    }

    /// Counts worker time that went into a checkpoint.
    pub fn checkpoint_step(&self, took: Duration) {
        self.checkpoints.step(took);
    }

    /// Counts offsets that were deleted before they were read.
    pub fn offset_gap(&self, partition: i32, records: i64) {
        self.checkpoints.gap(partition, records);
    }

    /// Notes that the store has forgotten what it had accepted; every shard notices, one loss counts.
    pub fn store_forgot(&self) {
        self.regressions.note();
    }

    /// Remembers the counters for the rates over the last seconds, and for the charts; called once a second.
    /// `lag` is how many records are not yet aggregated and written.
    pub fn sample(&self, lag: u64) {
        let at = Instant::now();
        self.pressure.sample(at);
        self.batch_tail.sample(&self.batch_seconds);
        self.store_tail.sample(&self.store_seconds);
        let now = Snapshot {
            trades: self.trades.get(),
            batches: self.batches.get(),
            batch_seconds: self.batch_seconds.get_sample_sum(),
            flushes: self.flushes.get(),
            flush_seconds: self.flush_seconds.get_sample_sum(),
            rows: self.rows_written.get(),
            store_calls: self.store_calls.get(),
            store_errors: self.store_errors.get(),
            store_seconds: self.store_seconds.get_sample_sum(),
        };
        self.history.push(at, now, lag);
        self.rates.push(now);
    }

    /// The seconds that 99 of 100 batches, and 99 of 100 calls of the store, of the last 10 s did not exceed.
    pub fn slowest_s(&self) -> (Option<f64>, Option<f64>) {
        (self.batch_tail.bound_s(), self.store_tail.bound_s())
    }

    /// Rates and averages over the last seconds.
    pub fn recent(&self) -> Recent {
        self.rates.recent()
    }

    /// All numbers as Prometheus text.
    pub fn render(&self, observed: &Observed) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.gather(observed), &mut text)?;
        Ok(text)
    }

    /// All numbers as OpenMetrics text.
    pub fn render_open(&self, observed: &Observed) -> prometheus::Result<Vec<u8>> {
        match open_metrics::encode(&self.gather(observed)) {
            Ok(text) => Ok(text.into_bytes()),
            Err(error) => Err(prometheus::Error::Msg(error.to_string())),
        }
    }

    fn gather(&self, observed: &Observed) -> Vec<MetricFamily> {
        let process = Process::read();
        observed.plugins.iter().for_each(|plugin| self.plugin_events.introduce(plugin));
        observed.lag.iter().for_each(|(partition, _)| self.checkpoints.introduce(*partition));
        self.observed.set(observed, process);
        self.backpressure.set(f64::from(self.pressure.now() as u8));
        let lost_lines = crate::log::lost_lines();
        self.log_lines_lost.inc_by(lost_lines.saturating_sub(self.log_lines_lost.get()));
        let lost_spans = crate::traces::lost_spans();
        self.spans_lost.inc_by(lost_spans.saturating_sub(self.spans_lost.get()));
        self.ancestor.update(&self.rates, observed, process);
        let mut families = self.registry.gather();
        families.extend(self.plugins.gather(&families));
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_contract_is_on_the_page() {
        let metrics = Metrics::new().unwrap();
        metrics.trades.inc_by(3);
        metrics.sample(0);
        let observed = Observed {
            ready: true,
            parts: vec![("kafka", true), ("redis", false)],
            plugins: vec!["vwap".to_owned()],
            lag: vec![(2, 7)],
            source_lag: Vec::new(),
            clock_lag_s: vec![(0, 1.5)],
            checkpoint_age_s: vec![(0, 2.5)],
            active_tokens: 5,
            workers: 2,
            plugin_memory_bytes: 1 << 20,
            uptime: Duration::from_secs(9),
        };
        let text = String::from_utf8(metrics.render(&observed).unwrap()).unwrap();
        for line in [
            "aggregator_trades_total 3",
            "aggregator_lag_records{partition=\"2\"} 7",
            "aggregator_clock_lag_seconds{shard=\"0\"} 1.5",
            "aggregator_checkpoint_age_seconds{shard=\"0\"} 2.5",
            "aggregator_ready 1",
            "aggregator_part_ok{part=\"kafka\"} 1",
            "aggregator_part_ok{part=\"redis\"} 0",
            "aggregator_offset_gap_records_total{partition=\"2\"} 0",
            "aggregator_quarantined_total{plugin=\"vwap\"} 0",
            "aggregator_plugin_faults_total{plugin=\"vwap\",stage=\"process\"} 0",
            "aggregator_plugin_swaps_total{plugin=\"vwap\",result=\"refused\"} 0",
            "aggregator_sink_regressions_total 0",
            "aggregator_replayed_total 0",
            "aggregator_rejected_total{reason=\"too_late\"} 0",
            "aggregator_backpressure 0",
            "aggregator_log_lines_lost_total 0",
            "realtime_aggregation_trades_processed_total 3",
            "realtime_aggregation_active_tokens 5",
            "realtime_aggregation_uptime_seconds 9",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }
}
