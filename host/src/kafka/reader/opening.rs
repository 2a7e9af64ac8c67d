//! Beginning to read: what must be known first, asked of the broker and of the cells.
//!
//! Not for reading. Invariant: a partition is read only when both have answered, and the broker is asked when
//! the cells have answered: then no former owner can save offsets any more, so that those that lie behind the
//! end are of another topic.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::Receiver;
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::Reader;
use crate::kafka::native::PartitionQueue;
use crate::kafka::offsets::{Question, Span};
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
    pub(super) spans: Option<Vec<Span>>,
    /// Where the cells that they feed were saved: outstanding answers, and those that came.
    asked: Vec<Receiver<Resume>>,
    resumes: Vec<Resume>,
}

impl Reader {
    /// Asks for all that must be known before partitions are read.
    pub(super) fn open(&mut self, partitions: Option<Vec<i32>>) {
        let named = partitions.as_deref().unwrap_or_default();
        let asked = self.intake.open(named);
        let spans = partitions.as_ref().filter(|these| these.is_empty()).map(|_| Vec::new());
        self.opening = Some(Opening { partitions, asked_at: None, spans, asked, resumes: Vec::new() });
    }

    /// Takes an answer of the broker to whoever waits for it: an opening, a partition whose next
    /// record is gone, or the question for new partitions.
    pub(super) fn answered(&mut self, spans: Vec<Span>) {
        if let [span] = spans[..]
            && self.relocating.remove(&span.partition)
        {
            return self.relocate(&span);
        }
        let Some(opening) = &mut self.opening else {
            return self.take_growth(spans);
        };
        let expected = |these: &Vec<i32>| spans.iter().map(|span| span.partition).eq(these.iter().copied());
        // Where the group has changed its mind, an older answer is nobody's.
        if opening.asked_at.is_some() && opening.partitions.as_ref().is_none_or(expected) {
            opening.spans = Some(spans);
        }
    }

    /// Has partitions read that the topic has got since: all that is in them is new.
    fn take_growth(&mut self, spans: Vec<Span>) {
        let new = |span: &Span| !self.partitions.contains_key(&span.partition);
        let grown: Vec<Span> =
            spans.into_iter().filter(new).map(|span| Span { start: span.low, ..span }).collect();
        if !self.grouped && !grown.is_empty() {
            let partitions: Vec<i32> = grown.iter().map(|span| span.partition).collect();
            tracing::info!(?partitions, "The topic has new partitions");
            let asked = self.intake.open(&partitions);
            let (partitions, spans) = (Some(partitions), Some(grown));
            let asked_at = Some(Instant::now());
            self.opening = Some(Opening { partitions, asked_at, spans, asked, resumes: Vec::new() });
        }
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
        match &opening.spans {
            Some(spans) if opening.asked.is_empty() => return self.begin(spans, &opening.resumes),
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

    /// Has partitions read.
    fn begin(&mut self, spans: &[Span], resumes: &[Resume]) {
        let mut list = TopicPartitionList::new();
        for span in spans {
            let start = resume::start(span, resumes);
            self.report_gap(span.partition, start.gap, start.reset, start.begin.next);
            let offset = Offset::Offset(start.begin.next);
            if !self.begin_partition(span, start) {
                self.fail(&format!("no queue for partition {}", span.partition));
            } else if let Err(error) = list.add_partition_offset(&self.config.topic, span.partition, offset) {
                self.fail(&format!("partition {}: {error}", span.partition));
            }
        }
        // By ourselves, too, partitions may come later.
        match self.consumer.incremental_assign(&list) {
            Ok(()) => {
                tracing::info!(partitions = spans.len(), topic = %self.config.topic, "Reading")
            }
            Err(error) => self.fail(&format!("assign: {error}")),
        }
        self.tidy();
    }

    fn begin_partition(&mut self, span: &Span, start: Start) -> bool {
        let (topic, id, reader) = (&self.config.topic, span.partition, thread::current());
        let Some(queue) = PartitionQueue::open(&self.consumer, topic, id, thread::current()) else {
            return false;
        };
        let waker = Arc::new(move || reader.unpark());
        let lane = self.intake.assign(id, start.begin.next, start.reset, start.decoded, waker);
        self.partitions.insert(id, Partition::new(id, queue, lane, self.rules, start.begin, span.end));
        true
    }
}
