//! One process of the service: the pipeline of production with its default plugin, and the rounds of those parts
//! that need a broker or a thread, taken step by step.
//!
//! Modelled here are the poll thread, the terms of `App` and its look for losses; everything they call is the
//! service's own. A crash is a drop. Invariant: nothing here waits.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use aggregator::clock::WallClock;
use aggregator::config::ClockMode;
use aggregator::health::Health;
use aggregator::kafka::partition::{Look, Partition, ProgressRules};
use aggregator::kafka::{Span, resume};
use aggregator::metrics::Metrics;
use aggregator::pipeline::board::Board;
use aggregator::pipeline::rejections::{DeadLetter, Rejections, Undelivered};
use aggregator::pipeline::{
    FlushRules, Horizon, Intake, Layout, Parts, Resume, Shared, Step, Tuning, Worker, WriterContext,
};
use aggregator::plugin::catalog::Running;
use aggregator::store::LayoutRecord;
use aggregator::trade::Limits;
use aggregator_tests::random::Random;
use crossbeam_channel::{Receiver, TryRecvError};
use tokio::runtime::Runtime;

use super::draws::Draws;
use super::time::{Clocks, Time};
use super::topic::{self, Place, SimulatedQueue};
use super::weather::Weather;

/// How far a trade may be ahead of its record.
pub(crate) const MAX_FUTURE_MS: i64 = 300_000;
/// How long a shard that goes may take to be stored.
const REVOKE_DEADLINE: Duration = Duration::from_millis(3_500);
/// How often the store is asked whether it has forgotten.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How many dead letters wait for the broker.
const LETTERS: usize = 4;

/// What a process does.
#[derive(Debug)]
pub(crate) enum Role {
    /// It waits to be told to serve.
    Standby,
    /// It finds out whether the store has results already.
    Recognising(Arc<AtomicBool>),
    /// It reads what it is given.
    Serving,
    /// It drops all it has.
    Dropping(Vec<Receiver<()>>),
    /// It was told to end: nothing more is taken.
    Stopping(Vec<Receiver<()>>),
    /// It writes what is left.
    Finishing,
}

/// Partitions about to be read.
struct Opening {
    partitions: Vec<i32>,
    asked: Vec<Receiver<Resume>>,
    resumes: Vec<Resume>,
    /// What the broker has answered; it is asked when the cells have.
    spans: Option<Vec<Span>>,
}

/// A partition that is read.
struct Reading {
    partition: Partition<SimulatedQueue>,
    position: Arc<Mutex<i64>>,
}

/// A process.
pub(crate) struct Process {
    pub(crate) id: u64,
    pub(crate) role: Role,
    intake: Intake,
    workers: Vec<Option<Worker>>,
    readings: BTreeMap<i32, Reading>,
    opening: Option<Opening>,
    leaving: Vec<(i32, Receiver<()>)>,
    letters: Receiver<DeadLetter>,
    undelivered: Undelivered,
    sampled_at: Duration,
    /// What lies before such an offset of a partition need not be read any more.
    skipped: Vec<(i32, i64)>,
    random: Random,
    draws: Arc<Draws>,
    topic: topic::Shared,
    /// Runs the writers; last, so that it outlives whoever uses it.
    runtime: Runtime,
}

impl Process {
    /// Starts a process, which then stands by.
    pub(crate) fn start(
        id: u64,
        draws: &Arc<Draws>,
        plugins: Vec<Running>,
        time: &Arc<Time>,
        weather: &Arc<Weather>,
        topic: &topic::Shared,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let metrics = Arc::new(Metrics::new().expect("metrics of a process"));
        let (letter, letters) = crossbeam_channel::bounded(LETTERS);
        let undelivered = Undelivered::default();
        let rejections = Rejections::new(Arc::clone(&metrics), Some(letter), undelivered.clone());
        let writing = Arc::new(WriterContext {
            store: Arc::new(weather.store(id)),
            publisher: None,
            metrics,
            health: Arc::new(Health::new(draws.workers, Duration::from_secs(1))),
            board: Arc::new(Board::default()),
            owner_id: u128::from(id) + 1,
            fenced: tokio::sync::Notify::new(),
        });
        let shared = Shared::new(Parts {
            layout: Layout { partitioning: draws.partitioning, shards: draws.shards, workers: draws.workers },
            plugins,
            limits: Limits { max_future_ms: MAX_FUTURE_MS, max_message_bytes: 1 << 20 },
            align: draws.align,
            rules: FlushRules {
                encoding: draws.encoding,
                clock: draws.clock,
                messages: false,
                trim: draws.checkpoint_interval.is_none(),
            },
            tuning: Arc::new(Tuning::new(draws.flush_interval)),
            clock: Arc::new(WallClock::new(Box::new(Clocks(Arc::clone(time))))),
            rejections: Arc::new(rejections),
            writing,
            runtime: runtime.handle().clone(),
            revoke_deadline: REVOKE_DEADLINE,
            checkpoint_interval: draws.checkpoint_interval,
            layout_name: "simulated".into(),
        });
        let shared = Arc::new(shared.bounded_by(draws.bounds));
        let (intake, workers) = aggregator::pipeline::workers(&shared, draws.inbox);
        Self {
            id,
            role: Role::Standby,
            intake,
            workers: workers.into_iter().map(Some).collect(),
            readings: BTreeMap::new(),
            opening: None,
            leaving: Vec::new(),
            letters,
            undelivered,
            sampled_at: Duration::ZERO,
            skipped: Vec::new(),
            random: Random::new(draws.stream.seed ^ id),
            draws: Arc::clone(draws),
            topic: Arc::clone(topic),
            runtime,
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        self.intake.shared()
    }

    /// Where its partitions and shards stand.
    pub(crate) fn board(&self) -> &Board {
        &self.shared().board
    }

    /// How often results were shown before a cell had caught up.
    pub(crate) fn shown_early(&self) -> u64 {
        self.shared().metrics.shown_early.get()
    }

    /// Partitions with offsets before which it need not have read anything.
    pub(crate) fn skipped(&self) -> &[(i32, i64)] {
        &self.skipped
    }

    /// Whether it has ended as it was told to.
    pub(crate) fn has_ended(&self) -> bool {
        self.workers.iter().all(Option::is_none)
    }

    /// The partitions that it reads, or is about to read.
    pub(crate) fn partitions(&self) -> Vec<i32> {
        let opening = self.opening.iter().flat_map(|opening| &opening.partitions);
        self.readings.keys().chain(opening).copied().collect()
    }

    /// Whether it is about to read something.
    pub(crate) fn is_opening(&self) -> bool {
        self.opening.is_some()
    }

    /// Whether a partition is on its way out.
    pub(crate) fn is_leaving(&self, partition: i32) -> bool {
        self.leaving.iter().any(|(leaving, _)| *leaving == partition)
    }

    /// Goes round with one worker; says whether there is more to do.
    pub(crate) fn step(&mut self, worker: usize) -> bool {
        let Some(slot) = self.workers.get_mut(worker) else {
            return false;
        };
        match slot.as_mut().map(Worker::step) {
            Some(Step::Busy) => true,
            Some(Step::Ended) => {
                *slot = None;
                false
            }
            Some(Step::Idle(_)) | None => false,
        }
    }

    /// Has every worker make room for another event, so that no call of the intake waits.
    fn make_room(&mut self) {
        while !self.intake.has_room() {
            for worker in 0..self.workers.len() {
                self.step(worker);
            }
            assert!(!self.has_ended(), "the workers ended by themselves");
        }
    }

    /// Lets the tasks go on that can.
    pub(crate) fn tick(&self) {
        self.runtime.block_on(tokio::task::yield_now());
    }

    /// Begins to serve.
    pub(crate) fn begin(&mut self) {
        let done = Arc::new(AtomicBool::new(false));
        let (shared, told) = (Arc::clone(self.shared()), Arc::clone(&done));
        self.role = Role::Recognising(done);
        self.runtime.spawn(async move {
            let own = LayoutRecord::new("simulated", shared.layout.shards, "trades");
            loop {
                let recognised = match shared.writing.store.layout().await {
                    Ok(Some(_)) => {
                        shared.withhold();
                        Ok(())
                    }
                    Ok(None) => shared.writing.store.set_layout(&own).await,
                    Err(error) => Err(error),
                };
                if recognised.is_ok() {
                    return told.store(true, Ordering::Relaxed);
                }
                shared.clock.sleep(Duration::from_millis(100)).await;
            }
        });
    }

    /// Gets partitions, and asks where their cells start.
    pub(crate) fn open(&mut self, partitions: Vec<i32>) {
        self.make_room();
        let asked = self.intake.open(&partitions);
        self.opening = Some(Opening { partitions, asked, resumes: Vec::new(), spans: None });
    }

    /// Gives a partition back.
    pub(crate) fn leave(&mut self, partition: i32) {
        self.make_room();
        if self.readings.remove(&partition).is_some() {
            let answer = self.intake.revoke(partition);
            self.leaving.push((partition, answer));
        }
    }

    /// Drops everything: another process serves.
    pub(crate) fn give_way(&mut self) {
        self.stop_reading();
        self.role = Role::Dropping(self.intake.begin_drop());
    }

    /// Is told to end in good order.
    pub(crate) fn stop(&mut self) {
        self.stop_reading();
        self.role = Role::Stopping(self.intake.stop_taking());
    }

    fn stop_reading(&mut self) {
        self.readings.clear();
        self.opening = None;
        self.leaving.clear();
        self.make_room();
    }

    /// Whether another process turned out to own a shard of its own.
    fn is_fenced(&self) -> bool {
        let fenced = pin!(self.shared().writing.fenced.notified());
        fenced.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Goes on with what has been begun.
    pub(crate) fn go_on(&mut self, now: Duration) {
        if now.saturating_sub(self.sampled_at) >= SAMPLE_EVERY {
            self.sampled_at = now;
            self.look_for_losses();
        }
        let answered = |answers: &[Receiver<()>]| {
            answers.iter().all(|answer| answer.try_recv() != Err(TryRecvError::Empty))
        };
        match &self.role {
            Role::Recognising(done) if done.load(Ordering::Relaxed) => self.role = Role::Serving,
            Role::Serving if self.is_fenced() => self.give_way(),
            Role::Dropping(answers) if answered(answers) => {
                let board = self.board();
                board.partitions().into_keys().for_each(|partition| board.revoke(partition));
                // Shards that were fenced together told it together.
                self.is_fenced();
                self.role = Role::Standby;
            }
            Role::Stopping(answers) if answered(answers) => {
                self.make_room();
                self.intake.finish();
                self.role = Role::Finishing;
            }
            _ => {}
        }
    }

    fn look_for_losses(&self) {
        let intake = self.intake.clone();
        let shards: Vec<u32> = self.board().shards().into_keys().collect();
        self.runtime.spawn(async move {
            if let Ok(forgotten) = intake.shared().writing.store.forgotten(&shards).await
                && !forgotten.is_empty()
            {
                intake.probe(&forgotten);
            }
        });
    }

    /// Goes round with the poll thread.
    pub(crate) fn read(&mut self) {
        self.finish_opening();
        let wall_ms = self.shared().clock.now_ms();
        let size = self.shared().tuning.batch_size();
        let board = Arc::clone(&self.shared().board);
        self.leaving.retain(|(partition, answer)| {
            let waits = answer.try_recv() == Err(TryRecvError::Empty);
            if !waits {
                board.revoke(*partition);
            }
            waits
        });
        for reading in self.readings.values_mut() {
            if let Look::Failed(failure) = reading.partition.look(wall_ms, size) {
                unreachable!("a queue without errors said {failure:?}");
            }
            let position = *reading.position.lock().unwrap_or_else(PoisonError::into_inner);
            reading.partition.passed(position);
        }
    }

    fn finish_opening(&mut self) {
        let Some(mut opening) = self.opening.take() else {
            return;
        };
        let resumes = &mut opening.resumes;
        opening.asked.retain(|answer| match answer.try_recv() {
            Ok(resume) => {
                resumes.push(resume);
                false
            }
            Err(error) => {
                assert_eq!(error, TryRecvError::Empty, "a worker dropped an opening");
                true
            }
        });
        let answered = opening.asked.is_empty();
        match opening.spans.take() {
            Some(spans) if self.random.permille(500) => {
                for span in spans {
                    self.begin_partition(&span, &opening.resumes);
                }
                return;
            }
            None if answered => {
                opening.spans = Some(opening.partitions.iter().map(|&one| self.span(one)).collect());
            }
            spans => opening.spans = spans,
        }
        self.opening = Some(opening);
    }

    /// What the broker answers about a partition.
    fn span(&self, partition: i32) -> Span {
        let topic = topic::look(&self.topic);
        let (start, floor) = match self.draws.clock {
            ClockMode::Event => (0, 0),
            ClockMode::Wall => {
                let horizon = Horizon::longest(&self.shared().changes.running());
                let begins_ms = self.shared().clock.now_ms() - horizon.length_ms - MAX_FUTURE_MS;
                let first = topic.first_since(partition, begins_ms);
                (first, first)
            }
        };
        Span { partition, low: 0, start, floor, end: topic.end(partition) }
    }

    fn begin_partition(&mut self, span: &Span, resumes: &[Resume]) {
        let start = resume::start(span, resumes);
        self.skipped.push((span.partition, span.floor));
        assert!(start.gap == 0 && start.cut == 0, "nothing was deleted, but {span:?} begins with {start:?}");
        self.make_room();
        let (id, next) = (span.partition, start.begin.next);
        let lane = self.intake.assign(id, next, span.end, start.decoded, Arc::new(|| ()));
        let rewinds = self.draws.chances.rewind;
        let (queue, position) = SimulatedQueue::new(&self.topic, id, next, self.random.bits(), rewinds);
        let rules = ProgressRules { clock: self.draws.clock, live_lag_ms: 10_000 };
        let partition = Partition::new(id, queue, lane, rules, start.begin, span.end);
        self.readings.insert(id, Reading { partition, position });
    }

    /// Takes a dead letter that waits and gives it to the broker; none where there is none.
    pub(crate) fn deliver_letter(&mut self) -> Option<(Place, &'static str)> {
        let letter = self.letters.try_recv().ok()?;
        self.undelivered.delivered(letter.place());
        Some((letter.place(), letter.reason))
    }

    /// Whether everything that the topic holds of a partition is read, counted and stored.
    pub(crate) fn has_all_of(&self, partition: i32) -> bool {
        let end = topic::look(&self.topic).end(partition);
        let read = self.readings.get(&partition).is_some_and(|reading| reading.partition.next == end);
        // Of a partition without records nothing is posted before its shard has a clock.
        let stored = |processed: Option<i64>| processed.unwrap_or(0) == end;
        read && self.board().partitions().get(&partition).is_some_and(|known| stored(known.processed))
    }

    /// For people: where everything stands.
    pub(crate) fn words(&self) -> String {
        let opening = self.opening.as_ref().map(|opening| (&opening.partitions, opening.asked.len()));
        let reading: Vec<_> = self
            .readings
            .iter()
            .map(|(id, one)| (id, one.partition.next, one.partition.progress()))
            .collect();
        let (role, leaving, board) = (&self.role, self.leaving.len(), self.board().partitions());
        format!(
            "process {}: {role:?}, opening {opening:?}, reading {reading:?}, leaving {leaving}, board {board:?}",
            self.id
        )
    }
}
