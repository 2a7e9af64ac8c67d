//! What is done once a second: rates are sampled, and the store is asked whether it is there and has what it
//! accepted, which other hosts there are, and how far a change of the layout is.
//!
//! Invariant: a store that does not answer holds no sample up.

use std::sync::Arc;
use std::time::Duration;

use crate::health::{LEFT_OUT, Part};
use crate::layout::{self, Growth};
use crate::members::Members;
use crate::pipeline::{Intake, Shared};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// Samples rates, and asks the store whether it is there.
pub async fn every_second(intake: Intake, members: Arc<Members>) {
    tokio::join!(sample_rates(intake.shared()), watch_store(&intake, &members));
}

async fn sample_rates(shared: &Shared) {
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tick.tick().await;
        let partitions = shared.board.partitions().into_values().filter_map(|status| status.lag());
        let sources = shared.source_board.partitions().into_values();
        let lag: i64 = partitions.chain(sources.filter_map(|status| status.undecoded())).sum();
        shared.metrics.sample(lag.unsigned_abs());
        shared.log_throughput();
    }
}

async fn watch_store(intake: &Intake, members: &Members) {
    let shared = intake.shared();
    let mut tick = tokio::time::interval(EVERY);
    let mut growth = Growth::default();
    loop {
        tick.tick().await;
        let shards: Vec<u32> = shared.board.shards().into_keys().collect();
        match shared.writing.store.forgotten(&shards).await {
            Ok(forgotten) => {
                shared.health.ok(Part::Redis, "");
                if !forgotten.is_empty() {
                    intake.probe(&forgotten);
                }
            }
            Err(error) => shared.health.fail(Part::Redis, "", &error.to_string()),
        }
        write_left_out(intake).await;
        if let Err(error) = members.meet(shared).await {
            tracing::debug!(%error, "Other hosts not heard");
        }
        if let Err(error) = layout::complete(shared).await {
            tracing::debug!(%error, "Layout not looked at");
        }
        if let Err(error) = growth.watch(shared).await {
            tracing::debug!(%error, "Growth not noted");
        }
    }
}

/// Has everything written again when a key that was left out can be written.
async fn write_left_out(intake: &Intake) {
    let Shared { writing, health, .. } = &**intake.shared();
    match writing.store.mended().await {
        Ok(true) => {
            health.clear(Part::Redis, LEFT_OUT);
            if !intake.touch_all() {
                writing.store.note_left_out();
            }
        }
        Ok(false) => {}
        Err(error) => health.fail(Part::Redis, LEFT_OUT, &error.to_string()),
    }
}
