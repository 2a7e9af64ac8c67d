//! Beginning to read: what must be known first, asked of the broker and of the cells.
//!
//! Not for reading. Invariant: a partition is read only when both have answered, and the broker is asked when
//! the cells have answered: then no former owner can save offsets any more, so that those that lie behind the
//! end are of records that the log has lost.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::Receiver;
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::{Reader, Unanswered};
use crate::health::Part;
use crate::kafka::native::PartitionQueue;
use crate::kafka::offsets::{Answer, Question, Span};
use crate::kafka::partition::Partition;
use crate::kafka::resume::{self, Start};
use crate::pipeline::Resume;

/// Partitions that are about to be read: two answers are waited for.
pub(super) struct Opening {
    /// Which ones; none: all that the topic has.
    pub(super) partitions: Option<Vec<i32>>,
    /// When the broker was asked last; none before the cells have answered.
    pub(super) asked_at: Option<Instant>,
    /// Where they begin and end.
    pub(super) answer: Option<Answer>,
    /// Where the cells that they feed were saved: outstanding answers, and those that came.
    asked: Vec<Receiver<Resume>>,
    resumes: Vec<Resume>,
}

impl Reader {
    /// Asks for all that must be known before partitions are read.
    pub(super) fn open(&mut self, partitions: Option<Vec<i32>>) {
        self.set_opening_aside();
        let named = partitions.as_deref().unwrap_or_default();
        let asked = self.intake.open(named);
        let answer = partitions.as_ref().filter(|these| these.is_empty()).map(|_| Answer::default());
        self.opening = Some(Opening { partitions, asked_at: None, answer, asked, resumes: Vec::new() });
    }

    /// Puts partitions back that are about to be read, since something else comes first.
    pub(super) fn set_opening_aside(&mut self) {
        let partitions = self.opening.take().and_then(|opening| opening.partitions).unwrap_or_default();
        for partition in partitions {
            self.unanswered.entry(partition).or_insert(Unanswered { since: Instant::now(), absent: false });
        }
    }

    /// Takes an answer of the broker to whoever waits for it: an opening, a partition whose next
    /// record is gone, or the question for new partitions.
    pub(super) fn answered(&mut self, answer: Answer) {
        if answer.topic_id.is_some() && self.topic_id.is_some() && answer.topic_id != self.topic_id {
            return self.made_anew();
        }
        if self.grouped && self.stream.is_empty() {
            self.intake.shared().saw_partitions(u32::try_from(answer.count).unwrap_or(0));
        }
        if let [span] = answer.spans[..]
            && self.relocating.remove(&span.partition)
        {
            return self.relocate(&span);
        }
        let Some(opening) = &mut self.opening else {
            return self.take_more(answer);
        };
        let mut found: Vec<i32> = answer.spans.iter().map(|span| span.partition).collect();
        found.extend(&answer.missing);
        let expected = |these: &Vec<i32>| {
            found.len() == these.len() && found.iter().all(|partition| these.contains(partition))
        };
        // Where the group has changed its mind, an older answer is nobody's.
        if opening.asked_at.is_some() && opening.partitions.as_ref().is_none_or(expected) {
            opening.answer = Some(answer);
        }
    }

    /// Has partitions read that the topic has got since, of which all is new, and those whose broker answers by now.
    fn take_more(&mut self, answer: Answer) {
        let mut grown = Vec::new();
        let mut spans = Vec::new();
        for span in answer.spans.into_iter().filter(|span| !self.partitions.contains_key(&span.partition)) {
            if self.unanswered.contains_key(&span.partition) {
                spans.push(span);
            } else if !self.grouped {
                grown.push(span.partition);
                spans.push(Span { start: span.low, ..span });
            }
        }
        if spans.is_empty() {
            return;
        }
        if !grown.is_empty() {
            tracing::info!(partitions = ?grown, "The topic has new partitions");
        }
        let partitions: Vec<i32> = spans.iter().map(|span| span.partition).collect();
        let asked = self.intake.open(&partitions);
        self.opening = Some(Opening {
            partitions: Some(partitions),
            asked_at: Some(Instant::now()),
            answer: Some(Answer { spans, ..Answer::default() }),
            asked,
            resumes: Vec::new(),
        });
    }

    /// Reads on when everything is known.
    pub(super) fn finish_opening(&mut self) {
        let Some(mut opening) = self.opening.take() else {
            return;
        };
        let resumes = &mut opening.resumes;
        opening.asked.retain(|answer| match answer.try_recv() {
            Ok(resume) => {
                resumes.push(resume);
                false
            }
            // A worker that has died is told elsewhere.
            Err(error) => error == crossbeam_channel::TryRecvError::Empty,
        });
        match &opening.answer {
            Some(answer) if opening.asked.is_empty() => return self.begin(answer, &opening.resumes),
            None if opening.asked.is_empty() && opening.asked_at.is_none() => {
                self.ask_for_spans(&mut opening)
            }
            _ => {}
        }
        self.opening = Some(opening);
    }

    /// Asks the broker where the partitions of an opening begin and end.
    pub(super) fn ask_for_spans(&self, opening: &mut Opening) {
        opening.asked_at = Some(Instant::now());
        self.offsets.ask(opening.partitions.clone().map_or(Question::All, Question::These));
    }

    /// Has partitions read, and waits for those whose broker does not answer.
    fn begin(&mut self, answer: &Answer, resumes: &[Resume]) {
        let mut list = TopicPartitionList::new();
        for span in &answer.spans {
            self.unanswered.remove(&span.partition);
            // Also what was said of it in a term before.
            self.intake.shared().health.clear(Part::Kafka, &self.about(span.partition));
            let start = resume::start(span, resumes);
            self.report_loss(span.partition, &start);
            let offset = Offset::Offset(start.begin.next);
            if !self.begin_partition(span, start) {
                self.fail(&format!("no queue for partition {}", span.partition));
            } else if let Err(error) = list.add_partition_offset(&self.config.topic, span.partition, offset) {
                self.fail(&format!("partition {}: {error}", span.partition));
            }
        }
        for &partition in &answer.missing {
            self.wait_for(partition);
        }
        // By ourselves, too, partitions may come later.
        match self.consumer.incremental_assign(&list) {
            Ok(()) => {
                tracing::info!(partitions = answer.spans.len(), topic = %self.config.topic, "Reading")
            }
            Err(error) => self.fail(&format!("assign: {error}")),
        }
        self.rouse();
        self.tidy();
    }

    /// Reads the others while the broker of a partition does not answer.
    fn wait_for(&mut self, partition: i32) {
        self.intake.await_partition(partition);
        self.unanswered.entry(partition).or_insert(Unanswered { since: Instant::now(), absent: false });
        let words = format!("{}[{partition}] does not answer", self.config.topic);
        self.intake.shared().health.fail(Part::Kafka, &self.about(partition), &words);
    }

    fn begin_partition(&mut self, span: &Span, start: Start) -> bool {
        let (topic, id, reader) = (&self.config.topic, span.partition, thread::current());
        let Some(queue) =
            PartitionQueue::open(&self.consumer, (topic, self.topic_id.clone()), id, thread::current())
        else {
            return false;
        };
        let waker = Arc::new(move || reader.unpark());
        let lane = self.intake.assign(id, start.begin.next, span.end, start.decoded, waker);
        self.partitions.insert(id, Partition::new(id, queue, lane, self.rules, start.begin, span.end));
        true
    }
}
