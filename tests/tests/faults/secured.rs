//! A broker with a listener for each certificate, and Redis servers likewise, each behind a proxy that keeps what passes.
//!
//! The invariant: passwords stand here and nowhere else, so that looking for them finds every leak.

use std::sync::OnceLock;

use aggregator_tests::broker::{Broker, Listener, Options};
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::settings::Settings;

use crate::certificates::{Certificates, Flaw};

/// The user of both servers.
pub(crate) const USER: &str = "aggregator";
/// The user's password for Kafka.
pub(crate) const KAFKA_PASSWORD: &str = "canary-kafka-b71f09d4";
/// The user's password for Redis.
pub(crate) const REDIS_PASSWORD: &str = "canary-redis-5ac38e12";
/// A listener without encryption and login.
pub(crate) const PLAIN: &str = "PLAIN";
/// What a user may do who serves the aggregator, as the README says.
const RIGHTS: &str = "~token:* ~tokens:active ~aggregator:* +get +set +mget +type +exists +persist +pexpire +pttl \
    +unlink +hget +hgetall +hset +hdel +zadd +zrem +zrange +zscan +scan +ping +time +evalsha +script|load";

/// The servers that the tests of this binary share.
pub(crate) struct Secured {
    pub(crate) certificates: Certificates,
    pub(crate) broker: Broker,
}

/// Starts them when the first test asks.
pub(crate) fn shared() -> &'static Secured {
    static SHARED: OnceLock<Secured> = OnceLock::new();
    SHARED.get_or_init(|| {
        let certificates = Certificates::make();
        let mut listeners: Vec<Listener> =
            Flaw::ALL.into_iter().map(|flaw| listener(&certificates, flaw)).collect();
        let plain = Listener { name: PLAIN.to_owned(), protocol: "PLAINTEXT".to_owned(), properties: vec![] };
        listeners.push(plain);
        let scram = Some((USER.to_owned(), KAFKA_PASSWORD.to_owned()));
        let broker = Broker::start(&Options { listeners, scram, ..Options::default() });
        Secured { certificates, broker: broker.expect("a broker with encryption") }
    })
}

/// The listener that shows this certificate.
pub(crate) fn name(flaw: Flaw) -> String {
    flaw.word().to_uppercase()
}

fn listener(certificates: &Certificates, flaw: Flaw) -> Listener {
    let module = "org.apache.kafka.common.security";
    let plain = format!("{module}.plain.PlainLoginModule required user_{USER}=\"{KAFKA_PASSWORD}\";");
    let properties = [
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.location", certificates.both(flaw).display().to_string()),
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256".to_owned()),
        ("plain.sasl.jaas.config", plain),
        ("scram-sha-256.sasl.jaas.config", format!("{module}.scram.ScramLoginModule required;")),
    ];
    Listener {
        name: name(flaw),
        protocol: "SASL_SSL".to_owned(),
        properties: properties.map(|(name, value)| (name.to_owned(), value)).into(),
    }
}

/// A Redis with this certificate and the user of the README.
pub(crate) fn redis(certificates: &Certificates, flaw: Flaw) -> RedisServer {
    let user = format!("{USER} on >{REDIS_PASSWORD} {RIGHTS}");
    RedisServer::start_encrypted(&certificates.certificate(flaw), &certificates.key(flaw), &user)
        .expect("a redis with encryption")
}

/// Settings of a host that logs in at a listener, encrypted.
pub(crate) fn with_kafka(settings: Settings, secured: &Secured, listener: &str, mechanism: &str) -> Settings {
    settings
        .with("KAFKA_BROKERS", &secured.broker.link_of(listener).address())
        .with("KAFKA_SECURITY_PROTOCOL", "sasl_ssl")
        .with("KAFKA_SASL_MECHANISM", mechanism)
        .with("KAFKA_SASL_USERNAME", USER)
        .with("KAFKA_SASL_PASSWORD", KAFKA_PASSWORD)
        .with("KAFKA_SSL_CA_LOCATION", &secured.certificates.authority().display().to_string())
}

/// Settings of a host that logs in at its Redis, encrypted.
pub(crate) fn with_redis(settings: Settings, certificates: &Certificates) -> Settings {
    settings
        .with("REDIS_TLS", "true")
        .with("REDIS_TLS_CA", &certificates.authority().display().to_string())
        .with("REDIS_USERNAME", USER)
        .with("REDIS_PASSWORD", REDIS_PASSWORD)
}
