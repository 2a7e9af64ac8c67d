//! Row 24: encryption and login to Kafka and Redis. What is good works; everything else is refused with its cause in
//! words, and nothing is said in clear.
//!
//! The invariant: every connection of a host passes a proxy that keeps the bytes, and what must not be among them is
//! shown to be found where nothing is encrypted.

use std::time::{Duration, Instant};

use aggregator_tests::host::Host;
use aggregator_tests::paths;
use aggregator_tests::producer::Producer;
use aggregator_tests::proxy::Proxy;
use aggregator_tests::redis_server::{Memory, RedisServer};
use aggregator_tests::settings::Settings;
use aggregator_tests::trade::Trade;
use aggregator_tests::wait;
use redis::Commands as _;

use crate::certificates::Flaw;
use crate::run::{LIMIT, scaled, wait_unready};
use crate::secured::{self, KAFKA_PASSWORD, PLAIN, REDIS_PASSWORD, Secured, name, with_kafka, with_redis};

/// How long a refusal may take.
const REFUSED_WITHIN: Duration = Duration::from_secs(10);
/// An address that stands in every trade, and in every result of it.
const TOKEN: &str = "PayloadThatMustNotBeReadOnTheWay";
const START_MS: i64 = 1_772_366_400_000;
const TRADES: usize = 20;

/// A topic with some trades of the one token.
fn topic(secured: &Secured) -> String {
    let topic = secured.broker.topic("secured", 2).unwrap();
    let producer = Producer::new(&secured.broker, &topic).unwrap();
    let messages: Vec<_> =
        (0..TRADES).map(|n| Trade::simple(TOKEN, START_MS + n as i64).message(n as i32 % 2)).collect();
    producer.send(&messages).unwrap();
    topic
}

fn event(secured: &Secured, topic: &str, redis: &RedisServer) -> Settings {
    Settings::of(&secured.broker, topic, redis).with("CLOCK", "event")
}

/// Waits until all trades stand in Redis, through whatever is encrypted.
fn assert_works(host: &Host, redis: &RedisServer) {
    host.wait_ready(LIMIT).unwrap();
    wait::until_true("the trades to be counted and written", LIMIT, || {
        let stored: Option<String> =
            redis.connect().unwrap().get(format!("token:{TOKEN}:aggregates")).unwrap();
        stored.is_some_and(|json| json.contains(&format!("\"buy_count\":{TRADES}")))
    })
    .unwrap();
}

/// Nothing of a secret and nothing of a trade has passed in clear.
fn assert_private(link: &Proxy) {
    assert!(link.recorded_bytes() > 0, "nothing was tried");
    for words in [KAFKA_PASSWORD, REDIS_PASSWORD, TOKEN] {
        assert!(!link.has_recorded(words.as_bytes()), "{words} passed in clear");
    }
}

#[test]
fn what_must_not_be_said_in_clear_is_seen_where_nothing_is_encrypted() {
    let secured = secured::shared();
    let topic = topic(secured);
    let redis = RedisServer::start_proxied(Memory::Volatile).unwrap();
    let kafka = secured.broker.link_of(PLAIN);
    kafka.record();
    redis.link().record();
    let settings = event(secured, &topic, &redis).with("KAFKA_BROKERS", &kafka.address());
    let host = Host::start(&settings).unwrap();
    assert_works(&host, &redis);
    assert!(kafka.has_recorded(TOKEN.as_bytes()));
    assert!(redis.link().has_recorded(TOKEN.as_bytes()));
}

#[test]
fn good_certificates_and_logins_work_and_nothing_is_said_in_clear() {
    let secured = secured::shared();
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let topic = topic(secured);
        let redis = secured::redis(&secured.certificates, Flaw::None);
        let link = secured.broker.link_of(&name(Flaw::None));
        link.record();
        redis.link().record();
        let settings = with_kafka(event(secured, &topic, &redis), secured, &name(Flaw::None), mechanism);
        let settings = with_redis(settings, &secured.certificates).with("CHECKPOINT_INTERVAL", "200ms");
        let (code, words) = check(&settings);
        assert_eq!(code, Some(0), "{words}");
        let mut host = Host::start(&settings).unwrap();
        assert_works(&host, &redis);
        host.wait_metric("aggregator_checkpoints_total", LIMIT, |stored| stored > 0.0).unwrap();
        assert_private(link);
        assert_private(redis.link());
        let ended = host.stop(LIMIT).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    }
}

/// `aggregator check --connect`: its exit code and words.
fn check(settings: &Settings) -> (Option<i32>, String) {
    let program = paths::aggregator().unwrap();
    let mut check = Host::start_program(&program, &["check", "--connect"], settings).unwrap();
    let ended = check.wait_end(LIMIT).unwrap();
    (ended.status.code(), ended.output)
}

/// A host and the check refuse with these words, in time, and say nothing in clear.
fn assert_refused(case: &str, settings: &Settings, part: &str, words: &str, link: &Proxy) {
    link.record();
    let host = Host::start(settings).unwrap();
    let took = wait_unready(&host, words, scaled(REFUSED_WITHIN));
    let answer = host.json("/health").unwrap();
    assert_eq!(answer["checks"][part]["state"], "failing", "{case}: {answer}");
    assert_eq!(host.get("/health/live").unwrap().status, 200, "{case}");
    assert_eq!(host.metric("aggregator_trades_total"), Some(0.0), "{case}");
    let began = Instant::now();
    let (code, output) = check(settings);
    assert_eq!(code, Some(69), "{case}: {output}");
    assert!(output.contains(words), "{case}: {output}");
    assert!(
        began.elapsed() < scaled(REFUSED_WITHIN + Duration::from_secs(2)),
        "{case}: {:?}",
        began.elapsed()
    );
    assert!(took < scaled(REFUSED_WITHIN), "{case} took {took:?}");
    assert_private(link);
    for line in host.log().iter().map(ToString::to_string).chain([output]) {
        assert!(!line.contains(KAFKA_PASSWORD) && !line.contains(REDIS_PASSWORD), "{case}: {line}");
    }
}

#[test]
fn kafka_is_refused_with_the_cause_where_it_shows_a_bad_certificate_or_none_or_takes_no_login() {
    let secured = secured::shared();
    let redis = RedisServer::start().unwrap();
    let topic = topic(secured);
    let settings = |listener: &str| with_kafka(event(secured, &topic, &redis), secured, listener, "PLAIN");
    for (flaw, words) in [
        (Flaw::Stranger, "certificate verify failed"),
        (Flaw::Expired, "certificate verify failed"),
        (Flaw::OtherName, "certificate verify failed"),
    ] {
        let link = secured.broker.link_of(&name(flaw));
        assert_refused(flaw.word(), &settings(&name(flaw)), "kafka", words, link);
    }
    let link = secured.broker.link_of(PLAIN);
    assert_refused("a server without encryption", &settings(PLAIN), "kafka", "SSL handshake failed", link);
    let wrong = settings(&name(Flaw::None)).with("KAFKA_SASL_PASSWORD", "wrong");
    let link = secured.broker.link_of(&name(Flaw::None));
    assert_refused("a wrong password", &wrong, "kafka", "Authentication failed", link);
}

#[test]
fn redis_is_refused_with_the_cause_where_it_shows_a_bad_certificate_or_none_or_takes_no_login() {
    let secured = secured::shared();
    let topic = topic(secured);
    let settings = |redis: &RedisServer| with_redis(event(secured, &topic, redis), &secured.certificates);
    for (flaw, words) in [
        (Flaw::Stranger, "UnknownIssuer"),
        (Flaw::Expired, "certificate expired"),
        (Flaw::OtherName, "certificate not valid for name"),
    ] {
        let redis = secured::redis(&secured.certificates, flaw);
        assert_refused(flaw.word(), &settings(&redis), "redis", words, redis.link());
    }
    let plain = RedisServer::start_proxied(Memory::Volatile).unwrap();
    assert_refused(
        "a server without encryption",
        &settings(&plain),
        "redis",
        "cannot be reached",
        plain.link(),
    );
    let redis = secured::redis(&secured.certificates, Flaw::None);
    let wrong = settings(&redis).with("REDIS_PASSWORD", "wrong");
    assert_refused("a wrong password", &wrong, "redis", "authentication failed", redis.link());
}
