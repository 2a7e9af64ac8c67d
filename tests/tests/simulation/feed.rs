//! What is produced into the topic, and what must come of it: trades for the oracle, rejections by their place.
//!
//! Invariant: everything that enters the topic is either in the oracle or among the planted rejections.

use std::collections::BTreeMap;
use std::iter::Peekable;

use aggregator_tests::oracle::Oracle;
use aggregator_tests::random::Random;
use aggregator_tests::stream::{Message, Stream};
use aggregator_tests::trade::Trade;

use super::draws::{Chances, Draws};
use super::process::MAX_FUTURE_MS;
use super::topic::{self, Place};

/// The producer.
pub(crate) struct Feed {
    stream: Peekable<Stream>,
    topic: topic::Shared,
    random: Random,
    poison: Option<u64>,
    pub(crate) oracle: Oracle,
    /// Rejections that must be delivered, with their reasons.
    pub(crate) planted: BTreeMap<Place, &'static str>,
    /// The event times of all good trades.
    pub(crate) times_ms: BTreeMap<Place, i64>,
}

impl Feed {
    pub(crate) fn new(draws: &Draws, topic: &topic::Shared) -> Self {
        Self {
            stream: Stream::new(&draws.stream).peekable(),
            topic: topic.clone(),
            random: Random::new(draws.stream.seed ^ 0xfeed),
            poison: draws.chances.poison,
            oracle: Oracle::new(draws.windows).expect("windows that the oracle understands"),
            planted: BTreeMap::new(),
            times_ms: BTreeMap::new(),
        }
    }

    /// Whether everything is produced.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.stream.peek().is_none()
    }

    /// Produces the next message.
    pub(crate) fn produce(&mut self) {
        if let Some(message) = self.stream.next() {
            self.append(message);
        }
    }

    /// Produces all that was sent up to a time.
    pub(crate) fn produce_until(&mut self, time_ms: i64) {
        while self.stream.peek().is_some_and(|next| next.timestamp_ms <= Some(time_ms)) {
            self.produce();
        }
    }

    fn append(&mut self, message: Message) {
        let sent_ms = message.timestamp_ms.expect("a stream has times");
        let partition = message.partition;
        let poisoned = Chances::strikes(self.poison, &mut self.random);
        let kind = self.random.below(4);
        if poisoned && kind == 0 {
            let offset =
                topic::look(&self.topic).append(partition, sent_ms, b"{\"Token\": nonsense".to_vec());
            self.planted.insert((partition, offset, 0), "not_json");
        }
        if self.random.permille(50) {
            // Markers of a transaction, or records that were compacted away.
            let offsets = 1 + self.random.below(3) as i64;
            topic::look(&self.topic).skip(partition, offsets);
        }
        let mut elements: Vec<String> = message.trades.iter().map(Trade::json).collect();
        let bad = (poisoned && kind > 0).then(|| self.random.below(elements.len() as u64 + 1) as usize);
        let payload = match bad {
            None => message.payload,
            Some(at) => {
                elements.insert(at, bad_element(kind, &message.trades[0], sent_ms));
                format!("[{}]", elements.join(",")).into_bytes()
            }
        };
        let offset = topic::look(&self.topic).append(partition, sent_ms, payload);
        if let Some(at) = bad {
            let reason = ["", "wrong_type", "missing_field", "in_future"][kind as usize];
            self.planted.insert((partition, offset, at as u32), reason);
        }
        for (index, trade) in message.trades.iter().enumerate() {
            let index = index + usize::from(bad.is_some_and(|at| at <= index));
            self.times_ms.insert((partition, offset, index as u32), trade.time_ms);
            self.oracle.take(partition, trade).expect("a trade that the oracle can read");
        }
    }
}

fn bad_element(kind: u64, like: &Trade, sent_ms: i64) -> String {
    match kind {
        1 => "17".to_owned(),
        2 => "{}".to_owned(),
        _ => Trade { time_ms: sent_ms + MAX_FUTURE_MS + 1, ..like.clone() }.json(),
    }
}
