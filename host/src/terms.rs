//! The terms in which this host serves: each begins like a start, with all that it stands on asked for, and ends when
//! another host serves, or when offsets mean nothing any more.
//!
//! With `by-token` and `repartition` a host serves as long as nothing happens, with `shuffle` as long as it has the
//! lease. Not for the parts that serve. Invariant: a term that ends because its topic is another one ends only when all
//! that it has read is stored, since it cannot be read again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};

use crate::app::{AppError, internal};
use crate::backoff::Backoff;
use crate::config::Config;
use crate::health::Part;
use crate::kafka::{self, Source, Topics};
use crate::layout;
use crate::lease::{LeaseKeeper, Lost};
use crate::pipeline::{Horizon, Pipeline, Shared};
use crate::signals;
use crate::store::Lease;
use crate::swap::{Order, OrderError, Orders};

/// How long a host that was fenced waits before it begins anew.
const AFTER_FENCE: Duration = Duration::from_millis(500);
/// How often it is looked whether workers have answered.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The time in which this host serves.
pub(crate) struct Term {
    pub(crate) source: Source,
    /// What it serves by; none where the consumer group decides.
    pub(crate) lease: Option<Lease>,
}

/// Serves whenever it may.
pub(crate) struct Terms<'a> {
    pub(crate) config: &'a Config,
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) started: &'a AtomicBool,
    pub(crate) keeper: Option<LeaseKeeper>,
    pub(crate) orders: Option<Orders>,
}

impl Terms<'_> {
    /// Serves until a signal comes; gives the signal's name and the term that it ended.
    pub(crate) async fn serve(&mut self) -> Result<(&'static str, Option<Term>), AppError> {
        let mut signal = std::pin::pin!(signals::first());
        loop {
            let mut term = tokio::select! {
                name = &mut signal => return Ok((name.map_err(internal)?, None)),
                begun = self.begin() => begun?,
            };
            self.started.store(true, Ordering::Relaxed);
            let anew = tokio::select! {
                name = &mut signal => return Ok((name.map_err(internal)?, Some(term))),
                Lost = hold(self.keeper.as_ref(), &mut term.lease) => false,
                () = self.shared.writing.fenced.notified() => false,
                () = self.shared.anew.notified() => true,
            };
            let stored = anew
                && tokio::select! {
                    name = &mut signal => return Ok((name.map_err(internal)?, Some(term))),
                    Lost = hold(self.keeper.as_ref(), &mut term.lease) => false,
                    () = self.shared.writing.fenced.notified() => false,
                    () = self.store_all(&mut term.source) => true,
                };
            match stored {
                true => self.leave(term.source),
                false => self.give_way(term),
            }
            // Shards that were fenced together told it together, and so did readers.
            let told_too =
                async { tokio::join!(self.shared.writing.fenced.notified(), self.shared.anew.notified()) };
            drop(tokio::time::timeout(AFTER_FENCE, told_too).await);
        }
    }

    /// Waits until this host may serve, and starts to read.
    async fn begin(&self) -> Result<Term, AppError> {
        let lease = match &self.keeper {
            Some(keeper) => Some(keeper.acquire().await),
            None => None,
        };
        self.adopt().await;
        let horizon = Horizon::longest(&self.shared.changes.running());
        let between = kafka::prepare(self.config, horizon, &self.shared.health).await;
        let topics = kafka::identify(self.config, self.shared).await.map_err(internal)?;
        self.recognise(&topics).await;
        let source =
            Source::start(self.config, &topics, between, self.pipeline.intake()).map_err(internal)?;
        Ok(Term { source, lease })
    }

    /// Finds out what the term stands on.
    async fn recognise(&self, topics: &Topics) {
        let mut backoff = Backoff::SERVER;
        while let Err(error) = layout::recognise(self.config, topics, self.shared).await {
            self.shared.health.fail(Part::Redis, "", &error.to_string());
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Has the plugins run that the store's records name, before any shard is open.
    async fn adopt(&self) {
        let Some(orders) = &self.orders else {
            return;
        };
        let mut backoff = Backoff::SERVER;
        loop {
            let answered = match orders.give(Order::Adopt) {
                Ok(answer) => answer.await.unwrap_or(Err(OrderError::Busy)),
                Err(error) => Err(error),
            };
            match answered {
                Ok(_) => return,
                Err(error) => self.shared.health.fail(Part::Redis, "", &error.to_string()),
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// The offsets of this term mean nothing any more, and what it has read is nowhere to be read again: all of it is
    /// counted and stored, however long that takes.
    async fn store_all(&self, source: &mut Source) {
        let intake = self.pipeline.intake();
        tokio::task::block_in_place(|| {
            source.finish_source();
            source.stop_reading();
        });
        answered(&intake.begin_emptying()).await;
        answered(&intake.begin_retiring()).await;
        intake.forget_partitions();
    }

    fn leave(&self, source: Source) {
        tracing::warn!("What was read is stored; beginning anew");
        tokio::task::block_in_place(|| source.close());
    }

    /// Another host serves, or has written to a shard of ours: what this one has is void.
    fn give_way(&self, mut term: Term) {
        tracing::warn!("Another host serves, or has served meanwhile; beginning anew");
        tokio::task::block_in_place(|| {
            term.source.stop_reading();
            self.pipeline.intake().drop_all();
            term.source.close();
        });
    }
}

/// Waits for workers, none of which may be kept from going on meanwhile.
async fn answered(answers: &[Receiver<()>]) {
    let open = |answer: &Receiver<()>| answer.try_recv() == Err(TryRecvError::Empty);
    for answer in answers {
        while open(answer) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Holds the lease until it is lost; where there is none, the consumer group decides for ever.
async fn hold(keeper: Option<&LeaseKeeper>, lease: &mut Option<Lease>) -> Lost {
    match (keeper, lease) {
        (Some(keeper), Some(lease)) => keeper.hold(lease).await,
        _ => std::future::pending().await,
    }
}
