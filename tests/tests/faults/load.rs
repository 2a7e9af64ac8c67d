//! The load that flows while faults happen.
//!
//! The invariant: it goes on whatever happens to hosts and Redis, and waits where the broker is away.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use aggregator_tests::producer::Producer;
use aggregator_tests::stream::Message;
use aggregator_tests::wait;

use crate::run::{LIMIT, Run};

/// In how many pieces a load is sent, each acknowledged before the next.
const PIECES: usize = 80;

/// A load that flows in the background.
pub(crate) struct Load<'scope> {
    sent: &'scope AtomicUsize,
    size: usize,
    hurry: &'scope AtomicBool,
    thread: ScopedJoinHandle<'scope, ()>,
}

/// What a load shares with its thread.
#[derive(Default)]
pub(crate) struct Pace {
    sent: AtomicUsize,
    hurry: AtomicBool,
}

impl<'scope> Load<'scope> {
    /// Begins to send everything over about `span`.
    pub(crate) fn start(
        scope: &'scope Scope<'scope, '_>,
        run: &'scope Run<'_>,
        pace: &'scope Pace,
        span: Duration,
    ) -> Self {
        Self::of(scope, run, pace, run.messages(), span)
    }

    /// Begins to send a part of the load.
    pub(crate) fn of(
        scope: &'scope Scope<'scope, '_>,
        run: &'scope Run<'_>,
        pace: &'scope Pace,
        messages: &'scope [Message],
        span: Duration,
    ) -> Self {
        let pause = span / PIECES as u32;
        let piece = messages.len().div_ceil(PIECES).max(1);
        let thread = scope.spawn(move || {
            let producer = Producer::new(run.broker, &run.topic).expect("a producer");
            for piece in messages.chunks(piece) {
                run.send(&producer, piece);
                pace.sent.fetch_add(piece.len(), Ordering::Relaxed);
                if !pace.hurry.load(Ordering::Relaxed) {
                    std::thread::sleep(pause);
                }
            }
        });
        Self { sent: &pace.sent, size: messages.len(), hurry: &pace.hurry, thread }
    }

    /// Waits until a share of the load has been sent.
    pub(crate) fn wait_for(&self, share: f64) {
        let wanted = (self.size as f64 * share) as usize;
        wait::until_true("the load to be sent so far", LIMIT, || self.sent.load(Ordering::Relaxed) >= wanted)
            .expect("a load that flows");
    }

    /// Waits for its end.
    pub(crate) fn wait(self) {
        self.thread.join().expect("a load without a failure");
    }

    /// Sends the rest at once and waits for its end.
    pub(crate) fn finish(self) {
        self.hurry.store(true, Ordering::Relaxed);
        self.wait();
    }
}
