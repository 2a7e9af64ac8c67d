//! Kafka: encryption and login.

use std::path::PathBuf;

use super::parse;
use super::reader::Reader;
use super::secret::Secret;
use super::setting::Setting;

/// The settings of this concern.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("KAFKA_SECURITY_PROTOCOL", "plaintext", "plaintext, ssl, sasl_plaintext or sasl_ssl."),
    Setting::new(
        "KAFKA_SASL_MECHANISM",
        "",
        "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; needed with sasl_plaintext and sasl_ssl.",
    ),
    Setting::new("KAFKA_SASL_USERNAME", "", "The user; needed with sasl_plaintext and sasl_ssl."),
    Setting::secret("KAFKA_SASL_PASSWORD", "The user's password."),
    Setting::new(
        "KAFKA_SSL_CA_LOCATION",
        "",
        "The file with the certificates that brokers are checked against (PEM). Empty: the system's.",
    ),
    Setting::new("KAFKA_SSL_CERTIFICATE_LOCATION", "", "The file with this client's certificate (PEM)."),
    Setting::new("KAFKA_SSL_KEY_LOCATION", "", "The file with this client's key (PEM)."),
    Setting::secret("KAFKA_SSL_KEY_PASSWORD", "The password of that key."),
];

/// How connections to Kafka are secured.
#[derive(Debug, Clone, PartialEq)]
pub struct KafkaSecurity {
    /// Encryption and login in general.
    pub protocol: SecurityProtocol,
    /// How the login is done; given exactly when the protocol has a login.
    pub sasl_mechanism: Option<SaslMechanism>,
    /// The user; given exactly when the protocol has a login.
    pub username: Option<String>,
    /// The user's password; given exactly when the protocol has a login.
    pub password: Option<Secret>,
    /// The certificates that brokers are checked against; none for the system's.
    pub ssl_ca: Option<PathBuf>,
    /// This client's certificate; never without a key.
    pub ssl_certificate: Option<PathBuf>,
    /// This client's key; never without a certificate.
    pub ssl_key: Option<PathBuf>,
    /// The password of the key.
    pub ssl_key_password: Option<Secret>,
}

/// Whether connections are encrypted and begin with a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither.
    Plaintext,
    /// Encrypted.
    Ssl,
    /// With a login.
    SaslPlaintext,
    /// Encrypted and with a login.
    SaslSsl,
}

impl SecurityProtocol {
    /// The name that librdkafka knows it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn encrypts(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    fn logs_in(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// How a login is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// User and password as they are.
    Plain,
    /// A challenge with SHA-256.
    ScramSha256,
    /// A challenge with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    /// The name that librdkafka knows it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

const PROTOCOLS: &[(&str, SecurityProtocol)] = &[
    ("plaintext", SecurityProtocol::Plaintext),
    ("ssl", SecurityProtocol::Ssl),
    ("sasl_plaintext", SecurityProtocol::SaslPlaintext),
    ("sasl_ssl", SecurityProtocol::SaslSsl),
];

const MECHANISMS: &[(&str, SaslMechanism)] = &[
    ("PLAIN", SaslMechanism::Plain),
    ("SCRAM-SHA-256", SaslMechanism::ScramSha256),
    ("SCRAM-SHA-512", SaslMechanism::ScramSha512),
];

const LOGIN: [&str; 3] = ["KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"];

const FILES: [&str; 4] = [
    "KAFKA_SSL_CA_LOCATION",
    "KAFKA_SSL_CERTIFICATE_LOCATION",
    "KAFKA_SSL_KEY_LOCATION",
    "KAFKA_SSL_KEY_PASSWORD",
];

impl KafkaSecurity {
    /// Reads this part.
    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let protocol = from.value("KAFKA_SECURITY_PROTOCOL", parse::choice(PROTOCOLS));
        let sasl_mechanism = from.optional("KAFKA_SASL_MECHANISM", parse::choice(MECHANISMS));
        let username = from.optional("KAFKA_SASL_USERNAME", parse::label);
        let password = from.optional("KAFKA_SASL_PASSWORD", parse::secret);
        let ssl_ca = from.optional("KAFKA_SSL_CA_LOCATION", parse::path);
        let ssl_certificate = from.optional("KAFKA_SSL_CERTIFICATE_LOCATION", parse::path);
        let ssl_key = from.optional("KAFKA_SSL_KEY_LOCATION", parse::path);
        let ssl_key_password = from.optional("KAFKA_SSL_KEY_PASSWORD", parse::secret);
        if let Some(protocol) = protocol {
            fits(from, protocol);
        }
        pairs(from);
        Some(Self {
            protocol: protocol?,
            sasl_mechanism,
            username,
            password,
            ssl_ca,
            ssl_certificate,
            ssl_key,
            ssl_key_password,
        })
    }
}

/// Refuses what is missing for the protocol, and what the protocol would silently leave unused.
fn fits(from: &mut Reader<'_>, protocol: SecurityProtocol) {
    for name in LOGIN {
        match (from.given(name).is_some(), protocol.logs_in()) {
            (true, false) => {
                from.refuse(name, "needs KAFKA_SECURITY_PROTOCOL sasl_plaintext or sasl_ssl");
            }
            (false, true) => {
                let needed = format!("KAFKA_SECURITY_PROTOCOL={} needs it", protocol.name());
                from.refuse(name, needed);
            }
            _ => {}
        }
    }
    for name in FILES {
        if from.given(name).is_some() && !protocol.encrypts() {
            from.refuse(name, "needs KAFKA_SECURITY_PROTOCOL ssl or sasl_ssl");
        }
    }
}

/// Refuses halves: a certificate without its key, a key without its certificate.
fn pairs(from: &mut Reader<'_>) {
    let [_, certificate, key, key_password] = FILES;
    for (one, other) in [(certificate, key), (key, certificate), (key_password, key)] {
        if from.given(one).is_some() && from.given(other).is_none() {
            from.refuse(other, format!("{one} needs it"));
        }
    }
}
