//! Partitions that cannot be read on: records that are gone, a topic that was made anew, errors, silence.
//!
//! Invariant: what was lost is counted and said once, and a partition that was told to be in trouble is told to be well
//! again.

use std::time::Instant;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{Ending, GROWTH_EVERY, REVOKE_WITHIN, Reader, TOPIC, UNANSWERED_EVERY, Unanswered};
use crate::config::ClockMode;
use crate::health::Part;
use crate::kafka::assign_anew;
use crate::kafka::native::OTHER_TOPIC;
use crate::kafka::offsets::{Question, Span};
use crate::kafka::partition::Failure;
use crate::kafka::resume::Start;

impl Reader {
    /// Takes an error of the consumer as a whole. A topic that does not exist is waited for: the group
    /// gives its partitions out when it is made.
    pub(super) fn consumer_failed(&self, error: &KafkaError) {
        tracing::debug!(%error, "Kafka consumer event");
        let missing = [RDKafkaErrorCode::UnknownTopicOrPartition, RDKafkaErrorCode::UnknownTopic];
        if error.rdkafka_error_code().is_some_and(|code| missing.contains(&code)) {
            let words = format!("topic {} does not exist (yet)", self.config.topic);
            self.intake.shared().health.fail(Part::Kafka, TOPIC, &words);
        }
    }

    pub(super) fn partition_failed(&mut self, partition: i32, (code, words): Failure) {
        use rdkafka::bindings::rd_kafka_resp_err_t as Code;
        if code == OTHER_TOPIC {
            return self.made_anew();
        }
        let words = format!("{}[{partition}]: {words}", self.config.topic);
        let shared = self.intake.shared();
        self.intake.board().partition(partition, |status| status.problem = Some(words.clone()));
        shared.health.fail(Part::Kafka, &self.about(partition), &words);
        self.failing.insert(partition, Instant::now());
        let out_of_range = code == Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
            || code == Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
        if out_of_range && self.relocating.insert(partition) {
            self.offsets.ask(Question::These(vec![partition]));
        }
    }

    /// Goes on where the log still is, once that is known. What was deleted is counted.
    pub(super) fn relocate(&mut self, span: &Span) {
        let Some(known) = self.partitions.get_mut(&span.partition) else {
            return;
        };
        if known.next > span.end {
            // What comes next has offsets that were taken before.
            let words = format!("partition {} ends before what was read", span.partition);
            return self.end_term(&words);
        }
        let gap = (span.low - known.next).max(0);
        let next = known.next.max(span.low);
        known.restart(next, span.end);
        self.recovered(span.partition);
        self.report_gap(span.partition, gap, next);
        self.fetch_from(span.partition, next);
    }

    /// Has a partition fetched from an offset again.
    pub(super) fn fetch_from(&self, partition: i32, next: i64) {
        if let Err(error) = assign_anew(&self.consumer, &self.config.topic, partition, next) {
            self.fail(&format!("partition {partition} at {next}: {error}"));
        }
    }

    /// Ends the term, since the topic is another one: what of the former one was not read is gone.
    pub(super) fn made_anew(&mut self) {
        if self.ending != Ending::No {
            return;
        }
        for partition in self.partitions.values().filter(|partition| partition.unread() > 0) {
            self.intake.shared().metrics.offset_gap(partition.id, partition.unread());
            tracing::warn!(
                partition = partition.id,
                records = partition.unread(),
                "Records of the former topic were not read before it was deleted"
            );
        }
        self.end_term("the topic was made anew");
    }

    /// Has everything begun anew: offsets mean something else from now on. What was read is stored first.
    fn end_term(&mut self, words: &str) {
        if self.ending == Ending::No {
            tracing::warn!(topic = %self.config.topic, reason = words, "Ending the term");
            self.ending = Ending::HandingOver;
            self.opening = None;
        }
    }

    /// Hands over what was read, and tells when that is done.
    pub(super) fn hand_over_rest(&mut self) {
        let left =
            self.partitions.values_mut().filter_map(|one| (!one.hand_over_rest()).then_some(())).count();
        if left == 0 && self.ending == Ending::HandingOver {
            self.ending = Ending::Told;
            self.intake.shared().anew.notify_one();
        }
    }

    /// Leaves partitions out of the clocks whose broker has not answered for a session. An event clock waits.
    pub(super) fn leave_silent_out(&mut self) {
        let (timeout, rules) = (self.config.session_timeout, self.rules);
        let late = |one: &Unanswered| !one.absent && one.since.elapsed() > timeout;
        for (&partition, one) in self.unanswered.iter_mut().filter(|(_, one)| late(one)) {
            if rules.clock == ClockMode::Wall {
                one.absent = true;
                self.intake.set_absent(partition, true);
            }
        }
    }

    /// Notes that a partition can be read again.
    pub(super) fn recovered(&mut self, partition: i32) {
        if self.failing.remove(&partition).is_some() {
            let shared = self.intake.shared();
            shared.health.clear(Part::Kafka, &self.about(partition));
            self.intake.board().partition(partition, |status| status.problem = None);
        }
    }

    /// Counts and says what a partition's beginning has found to be lost.
    pub(super) fn report_loss(&self, partition: i32, start: &Start) {
        self.report_gap(partition, start.gap, start.begin.next);
        if start.cut > 0 {
            self.count_lost(partition, start.cut);
            tracing::warn!(
                partition,
                records = start.cut,
                next = start.begin.next,
                "The log ends before what was read: records were lost in it"
            );
        }
    }

    /// Counts records that nobody can read any more, of tokens that lack them from now on.
    fn count_lost(&self, partition: i32, records: i64) {
        self.intake.lost(partition);
        self.intake.shared().metrics.offset_gap(partition, records);
    }

    fn report_gap(&self, partition: i32, gap: i64, next: i64) {
        if gap > 0 {
            self.count_lost(partition, gap);
            tracing::warn!(partition, records = gap, next, "Records were deleted before they were read");
        }
    }

    /// Asks now and then for new partitions and for the topic's identity, and again where something is not known yet.
    pub(super) fn ask_again(&mut self) {
        if let Some(mut opening) = self.opening.take() {
            let waited = opening.asked_at.is_some_and(|at| at.elapsed() >= REVOKE_WITHIN);
            if opening.answer.is_none() && waited {
                self.ask_for_spans(&mut opening);
            }
            self.opening = Some(opening);
            return;
        }
        for partition in &self.relocating {
            let since = self.failing.entry(*partition).or_insert_with(Instant::now);
            if since.elapsed() >= REVOKE_WITHIN {
                *since = Instant::now();
                self.offsets.ask(Question::These(vec![*partition]));
                return;
            }
        }
        if !self.relocating.is_empty() {
            return;
        }
        if self.asked_for_growth_at.elapsed() >= GROWTH_EVERY {
            self.asked_for_growth_at = Instant::now();
            self.offsets.ask(if self.grouped { Question::These(Vec::new()) } else { Question::All });
        } else if !self.unanswered.is_empty() && self.asked_for_them_at.elapsed() >= UNANSWERED_EVERY {
            self.asked_for_them_at = Instant::now();
            self.offsets.ask(Question::These(self.unanswered.keys().copied().collect()));
        }
    }
}
