//! The ancestor's metric names with true values, so that its dashboards keep working.
//!
//! Invariant: rates and averages are over the last 10 s; counters repeat the new ones.

use prometheus::Gauge;

use super::{Maker, Observed, Process, Rates};

/// One gauge for each of the ancestor's names.
pub(super) struct Ancestor {
    trades_processed_total: Gauge,
    trade_processing_rate: Gauge,
    trade_processing_time_avg_ms: Gauge,
    calculations_total: Gauge,
    calculation_rate: Gauge,
    calculation_time_avg_ms: Gauge,
    redis_operations_total: Gauge,
    redis_success_rate: Gauge,
    redis_latency_avg_ms: Gauge,
    active_tokens: Gauge,
    worker_count: Gauge,
    goroutine_count: Gauge,
    memory_usage_bytes: Gauge,
    memory_allocated_bytes: Gauge,
    uptime_seconds: Gauge,
}

impl Ancestor {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| make.gauge(&format!("realtime_aggregation_{name}"), help);
        Ok(Self {
            trades_processed_total: gauge("trades_processed_total", "Trades processed")?,
            trade_processing_rate: gauge("trade_processing_rate", "Trades per second over the last 10 s")?,
            trade_processing_time_avg_ms: gauge(
                "trade_processing_time_avg_ms",
                "Time per batch over the last 10 s",
            )?,
            calculations_total: gauge("calculations_total", "Result rows calculated")?,
            calculation_rate: gauge("calculation_rate", "Result rows per second over the last 10 s")?,
            calculation_time_avg_ms: gauge("calculation_time_avg_ms", "Time per flush over the last 10 s")?,
            redis_operations_total: gauge("redis_operations_total", "Calls of the store")?,
            redis_success_rate: gauge(
                "redis_success_rate",
                "Calls that succeeded over the last 10 s, percent",
            )?,
            redis_latency_avg_ms: gauge("redis_latency_avg_ms", "Time per call over the last 10 s")?,
            active_tokens: gauge("active_tokens", "Tokens that are alive")?,
            worker_count: gauge("worker_count", "Worker threads")?,
            goroutine_count: gauge("goroutine_count", "Threads of the process")?,
            memory_usage_bytes: gauge("memory_usage_bytes", "Resident memory")?,
            memory_allocated_bytes: gauge("memory_allocated_bytes", "Memory mapped for data")?,
            uptime_seconds: gauge("uptime_seconds", "Time since the start")?,
        })
    }

    pub(super) fn update(&self, rates: &Rates, observed: &Observed, process: Process) {
        let recent = rates.recent();
        self.trades_processed_total.set(recent.now.trades as f64);
        self.trade_processing_rate.set(recent.per_second(|s| s.trades));
        self.trade_processing_time_avg_ms.set(recent.average_ms(|s| s.batch_seconds, |s| s.batches));
        self.calculations_total.set(recent.now.rows as f64);
        self.calculation_rate.set(recent.per_second(|s| s.rows));
        self.calculation_time_avg_ms.set(recent.average_ms(|s| s.flush_seconds, |s| s.flushes));
        self.redis_operations_total.set(recent.now.store_calls as f64);
        self.redis_success_rate.set(recent.success_percent());
        self.redis_latency_avg_ms.set(recent.average_ms(|s| s.store_seconds, |s| s.store_calls));
        self.active_tokens.set(observed.active_tokens as f64);
        self.worker_count.set(observed.workers as f64);
        self.goroutine_count.set(process.threads as f64);
        self.memory_usage_bytes.set(process.resident_bytes as f64);
        self.memory_allocated_bytes.set(process.data_bytes as f64);
        self.uptime_seconds.set(observed.uptime.as_secs_f64());
    }
}
