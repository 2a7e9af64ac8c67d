//! Partitions that cannot be read on: records that are gone, a topic that was made anew, errors.
//!
//! Not for brokers that do not answer. Invariant: what was lost is counted and said once, and a partition
//! that was told to be in trouble is told to be well again.

use std::time::Instant;

use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::{GROWTH_EVERY, REVOKE_WITHIN, Reader, TOPIC};
use crate::health::Part;
use crate::kafka::offsets::{Question, Span};
use crate::kafka::partition::Failure;

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
        let gap = span.low - known.next;
        let reset = known.next > span.end;
        let next = if reset { span.low } else { known.next.max(span.low) };
        known.restart(next, span.end);
        self.recovered(span.partition);
        self.report_gap(span.partition, gap.max(0), reset, next);
        if reset {
            self.intake.reset(span.partition, next);
        }
        if let Err(error) = self.assign_anew(span.partition, next) {
            self.fail(&format!("partition {} at {next}: {error}", span.partition));
        }
    }

    /// Has a partition fetched from another offset. The client has stopped fetching it, and seeks only what
    /// it fetches; so it is given back and taken again, which the group does not see.
    fn assign_anew(&self, partition: i32, next: i64) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.config.topic, partition, Offset::Offset(next))?;
        self.consumer.incremental_unassign(&list)?;
        self.consumer.incremental_assign(&list)
    }

    /// Notes that a partition can be read again.
    pub(super) fn recovered(&mut self, partition: i32) {
        if self.failing.remove(&partition).is_some() {
            let shared = self.intake.shared();
            shared.health.clear(Part::Kafka, &self.about(partition));
            self.intake.board().partition(partition, |status| status.problem = None);
        }
    }

    pub(super) fn report_gap(&self, partition: i32, gap: i64, reset: bool, next: i64) {
        if reset {
            tracing::warn!(partition, next, "Saved offsets lie behind the end: the topic was made anew");
        } else if gap > 0 {
            self.intake.shared().metrics.offset_gap(partition, gap);
            tracing::warn!(partition, records = gap, next, "Records were deleted before they were read");
        }
    }

    /// Asks for new partitions now and then, and again where a lost record's successor is not known.
    pub(super) fn ask_again(&mut self) {
        if let Some(mut opening) = self.opening.take() {
            let waited = opening.asked_at.is_some_and(|at| at.elapsed() >= REVOKE_WITHIN);
            if opening.spans.is_none() && waited {
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
        let asks = !self.grouped && self.relocating.is_empty();
        if asks && self.asked_for_growth_at.elapsed() >= GROWTH_EVERY {
            self.asked_for_growth_at = Instant::now();
            self.offsets.ask(Question::All);
        }
    }
}
