//! The harness itself: what is sent to the broker is what can be read there, and a killed Redis comes back empty.
//!
//! When this fails, the other tests say nothing about the service. The invariant: no host takes part.

use aggregator_tests::consume::Reader;
use aggregator_tests::stream::{Message, Options, Shape, Stream};
use redis::Commands as _;

use crate::rig::{LIMIT, Rig};

#[test]
fn everything_sent_stands_in_the_topic_in_the_order_of_its_partition() {
    let messages: Vec<Message> = Stream::new(&Options::new(71, Shape::Singles, 2_000)).collect();
    let rig = Rig::new("harness", 4);
    rig.send(&messages);
    let reader = Reader::new(rig.broker, &rig.topic, 4).unwrap();
    let records = reader.read_until(LIMIT, |records| records.len() >= messages.len()).unwrap();
    let of_key = |key: &str| -> Vec<&[u8]> {
        let same = records.iter().filter(|record| record.key.as_deref() == Some(key));
        same.map(|record| record.payload.as_slice()).collect()
    };
    let token = messages[0].trades[0].token.as_str();
    let sent = messages.iter().filter(|message| message.key.as_deref() == Some(token));
    assert_eq!(of_key(token), sent.map(|message| message.payload.as_slice()).collect::<Vec<_>>());
    let ends: i64 = rig.broker.ends(&rig.topic, 4).unwrap().iter().sum();
    assert_eq!(ends, 2_000);
}

#[test]
fn a_killed_redis_comes_back_on_its_port_and_empty() {
    let mut rig = Rig::new("killed", 1);
    let _: () = rig.connect().set("key", "value").unwrap();
    rig.redis.kill();
    assert!(rig.redis.connect().is_err());
    rig.redis.restart().unwrap();
    let value: Option<String> = rig.connect().get("key").unwrap();
    assert_eq!(value, None);
}
