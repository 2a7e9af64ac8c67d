//! HTTP: where health, metrics and plugins are served.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::parse::{self, Parsed};
use super::reader::Reader;
use super::secret::Secret;
use super::setting::Setting;

/// The settings of this concern.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("HTTP_BIND", "127.0.0.1", "The address to listen on; 0.0.0.0 for all."),
    Setting::new("METRICS_PORT", "8081", "The port to listen on. 0: any free one, which the log names."),
    Setting::new("METRICS_ENABLED", "true", "Whether metrics are served: true or false."),
    Setting::secret(
        "ADMIN_TOKEN",
        "The token (Authorization: Bearer) that requests need which change something. Empty: only \
         requests from this machine may.",
    ),
];

/// A token shorter than this can be guessed.
const TOKEN_LENGTH: usize = 16;

/// The HTTP listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port to listen on; 0 for any free one.
    pub port: u16,
    /// Whether metrics are served.
    pub metrics_enabled: bool,
    /// What requests that change something must show; none to allow them to loopback peers only.
    pub admin_token: Option<Secret>,
}

/// Where whoever listens there is reached from this machine: everywhere is also here.
#[must_use]
pub fn reached_at(mut listens: SocketAddr) -> SocketAddr {
    match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listens.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listens.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listens
}

impl Http {
    /// Where the service of these settings is reached from this machine.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        reached_at(SocketAddr::new(self.bind, self.port))
    }

    /// Reads this part.
    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let bind = from.value("HTTP_BIND", |text| {
            text.parse().map_err(|_| "allowed is an IP address, like 127.0.0.1 or ::".to_owned())
        });
        let port = from.value("METRICS_PORT", parse::number(0..=u16::MAX));
        let metrics_enabled = from.value("METRICS_ENABLED", parse::switch);
        let admin_token = from.optional("ADMIN_TOKEN", token);
        if admin_token.as_ref().is_some_and(|token| token.expose().len() < TOKEN_LENGTH) {
            from.warn("ADMIN_TOKEN", format!("is shorter than {TOKEN_LENGTH} characters"));
        }
        Some(Self { bind: bind?, port: port?, metrics_enabled: metrics_enabled?, admin_token })
    }
}

/// A token that fits into a header.
fn token(text: &str) -> Parsed<Secret> {
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(Secret::new(text));
    }
    Err("allowed are visible ASCII characters without blanks".to_owned())
}
