//! Where reading starts, and where partitions end: questions to the broker that may take long, asked off the poll thread.
//!
//! Invariant: a question is asked until it is answered or nobody waits for the answer any more; the
//! reader is unparked when an answer is there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};

use super::context::Context;
use super::describe::{Description, describe};
use crate::backoff::Backoff;
use crate::config::StartFrom;
use crate::health::{Health, Part};
use crate::threads::joined;

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long a question may take whose answer is soon asked for again, or not needed.
const SHORT_TIMEOUT: Duration = Duration::from_millis(300);

/// Where a partition is read from, and where its backlog ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: i32,
    /// The first offset that there is.
    pub low: i64,
    /// Where a cell begins that starts with nothing.
    pub start: i64,
    /// What lies before cannot matter to any cell, however long ago it was saved.
    pub floor: i64,
    /// The first offset that there is not yet.
    pub end: i64,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum Question {
    /// The spans of all partitions that there are.
    All,
    /// The spans of these.
    These(Vec<i32>),
    /// Where these end by now.
    Ends(Vec<i32>),
    /// No spans: the asking itself has the client go on that reads these, as after each round of the group; see
    /// [`Inquiry::rouse`].
    Rouse(Vec<i32>),
}

/// What comes back.
#[derive(Debug)]
pub(super) enum Reply {
    /// Of a topic and its spans.
    Topic(Answer),
    /// The first offset that there is not yet, of those partitions whose broker said so in time.
    Ends(Vec<(i32, i64)>),
}

/// What the broker says of a topic and some of its partitions.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The topic's identity, if it has one; all else is of that topic.
    pub(super) topic_id: Option<Arc<str>>,
    /// How many partitions the topic has.
    pub(super) count: usize,
    /// The partitions that were asked for.
    pub(super) spans: Vec<Span>,
    /// Those of them whose broker does not answer.
    pub(super) missing: Vec<i32>,
}

/// By which rules a cell that starts with nothing begins.
#[derive(Clone)]
pub(super) struct StartRules {
    pub(super) topic: String,
    pub(super) start_from: StartFrom,
    /// Windows move with the wall clock, and reading starts where they begin.
    pub(super) skips: bool,
    /// Trades older than this event time cannot matter, in unix milliseconds at the time of asking.
    pub(super) horizon_begins: Arc<dyn Fn() -> i64 + Send + Sync>,
}

/// What is asked and how.
pub(super) struct Inquiry {
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) rules: StartRules,
    pub(super) health: Arc<Health>,
    /// Which of several streams it is, for health.
    pub(super) stream: &'static str,
    pub(super) reader: Thread,
}

/// The reader's side.
pub(super) struct Offsets {
    questions: Option<Sender<Question>>,
    replies: Receiver<Reply>,
    thread: Option<JoinHandle<()>>,
}

impl Offsets {
    /// Starts the thread that asks.
    pub(super) fn start(inquiry: Inquiry) -> std::io::Result<Self> {
        let (questions, asked) = bounded(4);
        let (reply, replies) = bounded(4);
        let run = move || inquiry.serve(&asked, &reply);
        let thread = thread::Builder::new().name("kafka-offsets".to_owned()).spawn(run)?;
        Ok(Self { questions: Some(questions), replies, thread: Some(thread) })
    }

    /// Asks. One question of each rebalance is under way at a time, so that there is room for it; else it is asked again.
    pub(super) fn ask(&self, question: Question) {
        if let Some(questions) = &self.questions {
            drop(questions.try_send(question));
        }
    }

    /// A reply, if one is there.
    pub(super) fn reply(&self) -> Option<Reply> {
        self.replies.try_recv().ok()
    }
}

impl Drop for Offsets {
    fn drop(&mut self) {
        self.questions = None;
        // The thread must see that nobody waits for an answer.
        self.replies = crossbeam_channel::never();
        self.thread.take().map(joined);
    }
}

impl Inquiry {
    fn serve(&self, asked: &Receiver<Question>, reply: &Sender<Reply>) {
        while let Ok(mut question) = asked.recv() {
            let mut backoff = Backoff::SERVER;
            let found = loop {
                match self.ask(&question) {
                    Ok(found) => break found,
                    Err(words) => self.health.fail(Part::Kafka, self.stream, &words),
                }
                thread::sleep(backoff.next());
                match asked.try_recv() {
                    // The group has changed its mind: nobody waits for the former answer.
                    Ok(newer) => question = newer,
                    Err(TryRecvError::Disconnected) => return,
                    Err(TryRecvError::Empty) => {}
                }
            };
            if reply.send(found).is_err() {
                return;
            }
            self.reader.unpark();
        }
    }

    fn ask(&self, question: &Question) -> Result<Reply, String> {
        let answer = match question {
            Question::All => {
                self.spans(|topic| topic.partitions.iter().map(|(partition, _)| *partition).collect())
            }
            Question::These(partitions) => self.spans(|_| partitions.clone()),
            Question::Rouse(read) => self.spans(|topic| {
                self.rouse(&topic.partitions, read);
                Vec::new()
            }),
            // What is not known yet is asked for again.
            Question::Ends(partitions) => return Ok(Reply::Ends(self.ends(partitions).unwrap_or_default())),
        };
        answer.map(Reply::Topic)
    }

    /// Describes the topic, and asks for the spans of those partitions that are wanted then.
    fn spans(&self, wanted: impl FnOnce(&Description) -> Vec<i32>) -> Result<Answer, String> {
        let topic = &self.rules.topic;
        let before = describe(self.consumer.client(), topic, TIMEOUT)?;
        let wanted = wanted(&before);
        let count = before.partitions.len();
        let mut answer = Answer { topic_id: before.id.clone(), count, ..Answer::default() };
        // One that is silent is silent for all of its partitions.
        let mut silent = BTreeSet::new();
        for partition in wanted {
            let known = before.partitions.iter().find(|(known, _)| *known == partition);
            let leader = known.and_then(|(_, leader)| *leader).filter(|leader| !silent.contains(leader));
            let found = leader.map(|leader| (leader, self.rules.span(&self.consumer, partition, TIMEOUT)));
            match found {
                Some((_, Ok(span))) => answer.spans.push(span),
                Some((leader, Err(error))) => {
                    tracing::debug!(partition, leader, %error, "No offsets");
                    silent.extend(is_silence(&error).then_some(leader));
                    answer.missing.push(partition);
                }
                None => answer.missing.push(partition),
            }
        }
        match answer.spans.is_empty() || describe(self.consumer.client(), topic, TIMEOUT)?.id == before.id {
            true => Ok(answer),
            false => Err(format!("topic {topic} was made anew just now")),
        }
    }

    /// Where partitions end. The client knows that only from what it fetches, and what is held back is not fetched.
    fn ends(&self, partitions: &[i32]) -> KafkaResult<Vec<(i32, i64)>> {
        let mut latest = TopicPartitionList::new();
        for &partition in partitions {
            // In the place of a time: the end.
            latest.add_partition_offset(&self.rules.topic, partition, Offset::End)?;
        }
        let found = self.consumer.offsets_for_times(latest, SHORT_TIMEOUT)?;
        let end = |element: TopicPartitionListElem<'_>| match (element.error(), element.offset()) {
            (Ok(()), Offset::Offset(end)) => Some((element.partition(), end)),
            _ => None,
        };
        Ok(found.elements().into_iter().filter_map(end).collect())
    }

    /// Has the client do at once what it would do up to a second later. In a round of the group it stops fetching
    /// everything; the connection to a broker, idle by then, hears that it may go on with the next request of any
    /// kind. And it takes part in a round a second after the last one, unless it was told of topics since then, as it
    /// was when the topic was described; a partition that moves takes two rounds.
    fn rouse(&self, partitions: &[(i32, Option<i32>)], read: &[i32]) {
        let mut roused = BTreeSet::new();
        for &(partition, leader) in partitions {
            if read.contains(&partition) && leader.is_some_and(|leader| roused.insert(leader)) {
                let asked = self.consumer.fetch_watermarks(&self.rules.topic, partition, SHORT_TIMEOUT);
                if let Err(error) = asked {
                    tracing::debug!(partition, %error, "Connection not roused");
                }
            }
        }
    }
}

/// Whether an error says that the broker as a whole does not answer.
fn is_silence(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    let silence = [
        Code::OperationTimedOut,
        Code::RequestTimedOut,
        Code::MessageTimedOut,
        Code::BrokerTransportFailure,
        Code::AllBrokersDown,
    ];
    error.rdkafka_error_code().is_some_and(|code| silence.contains(&code))
}

impl StartRules {
    /// Asks where a partition is read from, and where it ends; waits for each of the two answers.
    pub(super) fn span(
        &self,
        consumer: &BaseConsumer<Context>,
        partition: i32,
        timeout: Duration,
    ) -> KafkaResult<Span> {
        let (low, high) = consumer.fetch_watermarks(&self.topic, partition, timeout)?;
        let start = match self.start_from {
            StartFrom::Earliest => low,
            StartFrom::Latest => high,
            StartFrom::CheckpointOrHorizon => {
                self.first_since(consumer, partition, timeout)?.unwrap_or(high).max(low)
            }
        };
        let floor = if self.skips { start } else { low };
        Ok(Span { partition, low, start, floor, end: high })
    }

    /// The first offset whose record may still matter; none where there is none.
    fn first_since(
        &self,
        consumer: &BaseConsumer<Context>,
        partition: i32,
        timeout: Duration,
    ) -> KafkaResult<Option<i64>> {
        let mut times = TopicPartitionList::new();
        times.add_partition_offset(&self.topic, partition, Offset::Offset((self.horizon_begins)().max(0)))?;
        let found = consumer.offsets_for_times(times, timeout)?;
        let Some(element) = found.find_partition(&self.topic, partition) else {
            return Ok(None);
        };
        element.error()?;
        Ok(match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        })
    }
}
