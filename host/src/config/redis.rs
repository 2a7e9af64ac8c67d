//! Redis: where results and checkpoints go.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::parse;
use super::reader::Reader;
use super::redis_url::{self, Address};
use super::setting::Setting;

/// The settings of this concern.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::secret(
        "REDIS_URL",
        "The whole address: redis://, rediss:// (TLS) or unix://. It wins over REDIS_ADDR, \
         REDIS_USERNAME, REDIS_PASSWORD, REDIS_DB and REDIS_TLS.",
    ),
    Setting::new("REDIS_ADDR", "localhost:6379", "The server, host:port."),
    Setting::new("REDIS_USERNAME", "", "The ACL user. Empty: the server's default user."),
    Setting::secret("REDIS_PASSWORD", "The password. Empty: no login."),
    Setting::new("REDIS_DB", "0", "The number of the database: 0 to 65535."),
    Setting::new("REDIS_TLS", "false", "Whether the connection is encrypted: true or false."),
    Setting::new(
        "REDIS_TLS_CA",
        "",
        "The file with the certificates that the server is checked against (PEM). Empty: the \
         system's.",
    ),
    Setting::new("REDIS_READ_TIMEOUT", "2s", "How long an answer may take: 10ms to 5m."),
    Setting::new("REDIS_WRITE_TIMEOUT", "2s", "How long sending a command may take: 10ms to 5m."),
    Setting::new("REDIS_POOL_SIZE", "4", "Connections that results are written over: 1 to 1024."),
];

/// What `REDIS_URL` replaces.
const PARTS: [&str; 5] = ["REDIS_ADDR", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB", "REDIS_TLS"];

/// Where results and checkpoints go.
#[derive(Clone, PartialEq)]
pub struct Redis {
    /// The complete address including the password; never to be logged.
    pub url: String,
    /// The address without user, password and options.
    pub display: String,
    /// The certificates that the server is checked against; never without TLS. None for the system's.
    pub tls_ca: Option<PathBuf>,
    /// How long an answer may take.
    pub read_timeout: Duration,
    /// How long sending a command may take.
    pub write_timeout: Duration,
    /// The number of connections that results are written over.
    pub pool_size: usize,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address is left out: it holds the password.
        let Self { url: _, display, tls_ca, read_timeout, write_timeout, pool_size } = self;
        f.debug_struct("Redis")
            .field("display", display)
            .field("tls_ca", tls_ca)
            .field("read_timeout", read_timeout)
            .field("write_timeout", write_timeout)
            .field("pool_size", pool_size)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// Reads this part.
    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let parts = from_parts(from);
        let address = if from.given("REDIS_URL").is_some() {
            warn_of_unused_parts(from);
            from.value("REDIS_URL", redis_url::parse)
        } else {
            parts
        };
        let tls_ca = from.optional("REDIS_TLS_CA", parse::path);
        if tls_ca.is_some() && address.as_ref().is_some_and(|a| !a.encrypted) {
            from.refuse("REDIS_TLS_CA", "needs REDIS_TLS=true or a REDIS_URL with rediss://");
        }
        let read_timeout = from.value("REDIS_READ_TIMEOUT", parse::time("10ms", "5m"));
        let write_timeout = from.value("REDIS_WRITE_TIMEOUT", parse::time("10ms", "5m"));
        let pool_size = from.value("REDIS_POOL_SIZE", parse::number(1..=1024));
        let Address { url, display, .. } = address?;
        Some(Self {
            url,
            display,
            tls_ca,
            read_timeout: read_timeout?,
            write_timeout: write_timeout?,
            pool_size: pool_size?,
        })
    }
}

/// Builds the address from its parts, which are checked also where `REDIS_URL` wins over them.
fn from_parts(from: &mut Reader<'_>) -> Option<Address> {
    let server = from.value("REDIS_ADDR", redis_url::server);
    let username = from.optional("REDIS_USERNAME", parse::label);
    let password = from.optional("REDIS_PASSWORD", parse::secret);
    let database = from.value("REDIS_DB", parse::number(0..=u16::MAX));
    let encrypted = from.value("REDIS_TLS", parse::switch);
    let logs_in = from.given("REDIS_PASSWORD").is_some() || from.given("REDIS_URL").is_some();
    if username.is_some() && !logs_in {
        from.refuse("REDIS_PASSWORD", "REDIS_USERNAME needs it");
    }
    let login = password.as_ref().map(|word| (username.as_deref().unwrap_or(""), word));
    Some(redis_url::build(&server?, login, database?, encrypted?))
}

fn warn_of_unused_parts(from: &mut Reader<'_>) {
    for name in PARTS {
        if from.given(name).is_some() {
            from.warn(name, "is ignored because REDIS_URL is set");
        }
    }
}
