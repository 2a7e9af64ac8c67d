//! The poll thread: reads every assigned partition's queue and answers the group.
//!
//! Not for decoding, nor for anything that waits: questions to the broker are asked by [`offsets`],
//! results are written by the pipeline. Invariant: the consumer is served at least every
//! [`SERVE_EVERY`], so that the group never takes this host for dead while it works.
//!
//! [`offsets`]: crate::kafka::offsets

mod opening;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::config::Kafka;
use crate::health::Part;
use crate::kafka::context::{Context, Notice, positions, serve};
use crate::kafka::native::PartitionQueue;
use crate::kafka::offsets::{Offsets, Question, Reply};
use crate::kafka::partition::{Look, Partition, ProgressRules};
use crate::pipeline::Intake;
use crate::pipeline::board::state;
use opening::Opening;

/// How often the consumer is served at least.
const SERVE_EVERY: Duration = Duration::from_millis(50);
/// The same while the group waits for us.
const ANSWER_EVERY: Duration = Duration::from_millis(5);
/// How often ends are looked up and positions posted.
const TIDY_EVERY: Duration = Duration::from_millis(500);
/// How often positions are committed, for lag tools.
const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// How often the topic's identity is asked for, and new partitions where it is read by ourselves.
const GROWTH_EVERY: Duration = Duration::from_secs(10);
/// How often it is asked for partitions whose broker has not answered.
const UNANSWERED_EVERY: Duration = Duration::from_secs(2);
/// How long a revoked partition may take to be finished.
const REVOKE_WITHIN: Duration = Duration::from_secs(5);

/// What the topic as a whole is called, in respect of Kafka.
pub(super) const TOPIC: &str = "topic";

/// What the reader is told by whoever stops it.
pub(super) enum Control {
    /// Read nothing more; answer.
    StopReading(Sender<()>),
    /// Commit what has been written, leave the group, end.
    Close,
}

/// Partitions that are being given back.
struct Leaving {
    partitions: Vec<i32>,
    /// Those of them that were read.
    assigned: Vec<i32>,
    answers: Vec<Receiver<()>>,
    since: Instant,
}

/// A partition whose broker does not answer.
struct Unanswered {
    since: Instant,
    /// It is left out of the clocks.
    absent: bool,
}

/// How far a term has come to its end, after which everything is begun anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It goes on.
    No,
    /// Nothing more is read; what was read goes to the workers.
    HandingOver,
    /// They have it, and whoever ends terms was told.
    Told,
}

/// The state of the thread.
pub(super) struct Reader {
    pub(super) config: Kafka,
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) intake: Intake,
    pub(super) offsets: Offsets,
    pub(super) rules: ProgressRules,
    pub(super) control: Receiver<Control>,
    /// By group, or all partitions by ourselves.
    pub(super) grouped: bool,
    /// Which of several streams it is, for health; empty: the main one.
    pub(super) stream: &'static str,
    /// The identity of the topic that this term stands on.
    pub(super) topic_id: Option<Arc<str>>,
    partitions: BTreeMap<i32, Partition<PartitionQueue>>,
    opening: Option<Opening>,
    /// Partitions that cannot be read, and since when.
    failing: BTreeMap<i32, Instant>,
    /// Partitions whose next record has been deleted: where they go on is being asked.
    relocating: BTreeSet<i32>,
    /// Partitions whose broker has not said yet where they begin and end.
    unanswered: BTreeMap<i32, Unanswered>,
    asked_for_them_at: Instant,
    asked_for_growth_at: Instant,
    /// Where partitions end is being asked.
    asked_for_ends: bool,
    ending: Ending,
    leaving: Option<Leaving>,
    reading: bool,
    tidied_at: Instant,
    committed_at: Instant,
    committed: BTreeMap<i32, i64>,
    /// No broker is connected.
    away: bool,
    /// What the client said last of why a broker cannot be used.
    cause: Option<String>,
}

impl Reader {
    pub(super) fn new(
        config: Kafka,
        consumer: Arc<BaseConsumer<Context>>,
        intake: Intake,
        offsets: Offsets,
        rules: ProgressRules,
        control: Receiver<Control>,
        (grouped, stream, topic_id): (bool, &'static str, Option<Arc<str>>),
    ) -> Self {
        let now = Instant::now();
        Self {
            config,
            consumer,
            intake,
            offsets,
            rules,
            control,
            grouped,
            stream,
            topic_id,
            partitions: BTreeMap::new(),
            opening: None,
            failing: BTreeMap::new(),
            relocating: BTreeSet::new(),
            unanswered: BTreeMap::new(),
            asked_for_them_at: now,
            asked_for_growth_at: now,
            asked_for_ends: false,
            ending: Ending::No,
            leaving: None,
            reading: true,
            tidied_at: now,
            committed_at: now,
            committed: BTreeMap::new(),
            away: false,
            cause: None,
        }
    }

    /// Reads until told to close.
    pub(super) fn run(mut self) {
        if self.grouped {
            if let Err(error) = self.consumer.subscribe(&[&self.config.topic]) {
                self.fail(&format!("subscribe to {}: {error}", self.config.topic));
            }
        } else {
            self.open(None);
        }
        let mut served_at = Instant::now();
        loop {
            match self.control.try_recv() {
                Ok(Control::StopReading(done)) => {
                    self.reading = false;
                    self.partitions.clear();
                    self.opening = None;
                    self.unanswered.clear();
                    done.send(()).ok();
                }
                Ok(Control::Close) | Err(crossbeam_channel::TryRecvError::Disconnected) => {
                    return self.close();
                }
                Err(crossbeam_channel::TryRecvError::Empty) => {}
            }
            let busy = self.reading && self.look();
            let every = self.serve_every();
            if !busy || served_at.elapsed() >= every {
                served_at = Instant::now();
                self.serve();
            }
            if !busy {
                thread::park_timeout(every);
            }
        }
    }

    /// How often the consumer and whoever owes an answer are looked at. Nothing is fetched until the group has ours.
    fn serve_every(&self) -> Duration {
        match self.opening.is_some() || self.leaving.is_some() {
            true => ANSWER_EVERY,
            false => SERVE_EVERY,
        }
    }

    /// Looks at every partition once; says whether any may have more.
    fn look(&mut self) -> bool {
        if self.ending != Ending::No {
            self.hand_over_rest();
            return false;
        }
        let wall_ms = self.intake.shared().clock.now_ms();
        let size = self.intake.shared().tuning.batch_size();
        let mut busy = false;
        let (mut failed, mut skipped) = (Vec::new(), Vec::new());
        for partition in self.partitions.values_mut() {
            match partition.look(wall_ms, size) {
                Look::Idle => {}
                Look::Busy => busy = true,
                Look::Failed(failure) => failed.push((partition.id, failure)),
                Look::Skipped => skipped.push((partition.id, partition.next)),
            }
        }
        for (partition, failure) in failed {
            self.partition_failed(partition, failure);
        }
        for (partition, next) in skipped {
            self.fetch_from(partition, next);
        }
        busy
    }

    /// Serves the group, the answers of the broker, and the clock.
    fn serve(&mut self) {
        serve(&self.consumer);
        // Whoever ends gives nothing away before it is stored; the group is answered at the close.
        while self.reading
            && self.ending == Ending::No
            && let Some(notice) = self.consumer.client().context().next()
        {
            self.act_on(notice);
        }
        while let Some(reply) = self.offsets.reply() {
            self.asked_for_ends = false;
            match reply {
                Reply::Topic(answer) if self.reading => self.answered(answer),
                Reply::Ends(ends) => self.hear_ends(&ends),
                Reply::Topic(_) => {}
            }
        }
        if self.ending == Ending::No {
            self.finish_opening();
        }
        self.finish_leaving();
        if self.reading && self.ending == Ending::No {
            self.pass_markers();
        }
        if self.tidied_at.elapsed() >= TIDY_EVERY {
            self.tidied_at = Instant::now();
            self.tidy();
        }
        if self.committed_at.elapsed() >= COMMIT_EVERY {
            self.committed_at = Instant::now();
            self.commit(CommitMode::Async);
        }
    }

    fn act_on(&mut self, notice: Notice) {
        match notice {
            Notice::Assigned(partitions) => {
                tracing::info!(?partitions, "Partitions assigned by the group");
                self.intake.shared().health.clear(Part::Kafka, TOPIC);
                self.open(Some(partitions));
            }
            Notice::Revoked { partitions, lost } => {
                tracing::info!(?partitions, lost, "Partitions revoked by the group");
                self.leave(partitions);
            }
            Notice::Brokers { connected: false } => {
                self.away = true;
                match &self.cause {
                    Some(cause) => self.fail(&format!("no broker is connected: {cause}")),
                    None => self.fail("no broker is connected"),
                }
            }
            Notice::Brokers { connected: true } => {
                self.away = false;
                self.cause = None;
                // A member that the group has given nothing is as ready as one that reads.
                if self.opening.is_none() && (self.grouped || !self.partitions.is_empty()) {
                    self.intake.shared().health.ok(Part::Kafka, self.stream);
                }
            }
            Notice::Failed(error) => self.consumer_failed(&error),
            Notice::Error { words, says_why } => {
                // That no broker is connected was said already; the client repeats itself meanwhile.
                match self.away {
                    true => tracing::debug!(reason = %words, "Kafka client error"),
                    false => tracing::warn!(reason = %words, "Kafka client error"),
                }
                if says_why {
                    self.cause = Some(words);
                }
            }
        }
    }

    fn fail(&self, words: &str) {
        let words = format!("{}: {words}", self.config.brokers);
        self.intake.shared().health.fail(Part::Kafka, self.stream, &words);
    }

    /// Under which name health knows a partition.
    fn about(&self, partition: i32) -> String {
        about(self.stream, partition)
    }

    /// Begins to give partitions back; the group is answered when their results are written.
    fn leave(&mut self, partitions: Vec<i32>) {
        let mut answers = Vec::new();
        let mut assigned = Vec::new();
        self.set_opening_aside();
        for &partition in &partitions {
            self.failing.remove(&partition);
            self.relocating.remove(&partition);
            let was_read = self.partitions.remove(&partition).is_some();
            assigned.extend(was_read.then_some(partition));
            if self.unanswered.remove(&partition).is_some() || was_read {
                answers.push(self.intake.revoke(partition));
            }
        }
        self.leaving = Some(Leaving { partitions, assigned, answers, since: Instant::now() });
        self.finish_leaving();
    }

    fn finish_leaving(&mut self) {
        let Some(mut leaving) = self.leaving.take() else {
            return;
        };
        // An answer, or a worker that has died.
        leaving
            .answers
            .retain(|answer| matches!(answer.try_recv(), Err(crossbeam_channel::TryRecvError::Empty)));
        if !leaving.answers.is_empty() && leaving.since.elapsed() < REVOKE_WITHIN {
            self.leaving = Some(leaving);
            return;
        }
        self.commit(CommitMode::Async);
        let mut list = TopicPartitionList::new();
        for &partition in &leaving.assigned {
            list.add_partition(&self.config.topic, partition);
        }
        for &partition in &leaving.partitions {
            self.intake.board().revoke(partition);
            self.committed.remove(&partition);
            self.intake.shared().health.clear(Part::Kafka, &self.about(partition));
        }
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            self.fail(&format!("unassign: {error}"));
        }
        self.rouse();
    }

    /// Has the client go on at once that has been through a round of the group.
    fn rouse(&self) {
        if self.grouped {
            self.offsets.ask(Question::Rouse(self.partitions.keys().copied().collect()));
        }
    }

    /// Posts where the partitions stand, and leaves out those whose broker does not answer.
    fn tidy(&mut self) {
        if self.reading && self.ending == Ending::No {
            self.ask_again();
            self.ask_for_ends();
            self.leave_silent_out();
        }
        let failing = &self.failing;
        let answers = |partition: &&Partition<PartitionQueue>| {
            failing.get(&partition.id).is_some_and(|since| partition.answered_at > *since)
        };
        let recovered: Vec<i32> = self.partitions.values().filter(answers).map(|one| one.id).collect();
        for partition in recovered {
            self.recovered(partition);
        }
        for partition in self.partitions.values_mut() {
            partition.set_end();
            let silent = partition.is_silent(self.config.session_timeout);
            if silent != partition.absent {
                partition.absent = silent;
                self.intake.set_absent(partition.id, silent);
                let topic = about(self.stream, partition.id);
                let words = format!("{}[{}] does not answer", self.config.topic, partition.id);
                match silent {
                    true => self.intake.shared().health.fail(Part::Kafka, &topic, &words),
                    false => self.intake.shared().health.clear(Part::Kafka, &topic),
                }
            }
            self.intake.board().partition(partition.id, |status| {
                status.state = state(partition.progress());
                status.fetched = partition.next;
                status.end = Some(partition.end);
            });
        }
    }

    /// Asks where partitions end of which there is more to read, unless an answer is outstanding that is waited for.
    fn ask_for_ends(&mut self) {
        let outstanding = self.opening.is_some() || self.leaving.is_some() || !self.relocating.is_empty();
        if outstanding || self.asked_for_ends {
            return;
        }
        let behind = self.partitions.values().filter(|partition| partition.next < partition.end);
        let behind: Vec<i32> = behind.map(|partition| partition.id).collect();
        if !behind.is_empty() {
            self.asked_for_ends = true;
            self.offsets.ask(Question::Ends(behind));
        }
    }

    /// Posts where partitions end.
    fn hear_ends(&mut self, ends: &[(i32, i64)]) {
        for &(id, end) in ends {
            if let Some(partition) = self.partitions.get_mut(&id) {
                partition.hear_end(end);
                self.intake.board().partition(id, |status| status.end = Some(partition.end));
            }
        }
    }

    /// Tells partitions how far librdkafka has read, markers that it does not hand out included. Its main thread
    /// answers that, and sends the heartbeat that is due; left alone it wakes up twice a second.
    fn pass_markers(&mut self) {
        for (partition, position) in positions(&self.consumer) {
            if let Some(partition) = self.partitions.get_mut(&partition) {
                partition.passed(position);
            }
        }
    }

    /// Commits what the store has accepted; for lag tools, nothing reads it back.
    fn commit(&mut self, mode: CommitMode) {
        let mut list = TopicPartitionList::new();
        for (partition, next) in self.intake.board().committable() {
            if self.committed.get(&partition) != Some(&next) {
                let added = list.add_partition_offset(&self.config.topic, partition, Offset::Offset(next));
                if added.is_ok() {
                    self.committed.insert(partition, next);
                }
            }
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, mode)
        {
            tracing::warn!(%error, "Offsets not committed");
        }
    }

    fn close(mut self) {
        self.partitions.clear();
        self.commit(CommitMode::Sync);
        self.consumer.client().context().close();
        self.answer_group();
        // The client forgets to tell the group that a member without partitions leaves, unless it is asked
        // to before it is closed; the group would wait for that member until its session is over.
        if self.grouped && self.consumer.assignment().is_ok_and(|assigned| assigned.count() == 0) {
            self.consumer.unsubscribe();
        }
        // Dropping the last handle of the consumer leaves the group and waits for its answer.
    }
}

impl Reader {
    /// Answers what the group has asked since the term began to end: nothing is taken, everything is given back.
    fn answer_group(&self) {
        while let Some(notice) = self.consumer.client().context().next() {
            let answered = match notice {
                Notice::Assigned(_) => self.consumer.incremental_assign(&TopicPartitionList::new()),
                Notice::Revoked { .. } => {
                    self.consumer.assignment().and_then(|all| self.consumer.incremental_unassign(&all))
                }
                Notice::Brokers { .. } | Notice::Error { .. } | Notice::Failed(_) => Ok(()),
            };
            if let Err(error) = answered {
                tracing::debug!(%error, "Rebalance at the end not answered");
            }
        }
    }
}

/// Under which name health knows a partition of a stream.
fn about(stream: &str, partition: i32) -> String {
    format!("{stream} partition {partition}").trim_start().to_owned()
}
