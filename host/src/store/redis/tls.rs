//! The client's address and, for `rediss://`, its certificates.
//!
//! Invariant: a provider of cryptography is installed before the first connection; without one the TLS
//! library panics.

use redis::{Client, TlsCertificates};

use super::super::error::OpenError;
use crate::config;

/// Makes the client; no connection.
pub(super) fn client(config: &config::Redis) -> Result<Client, OpenError> {
    // An error means that the process has chosen a provider already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let made = match &config.tls_ca {
        None => Client::open(config.url.as_str()),
        Some(path) => {
            let authorities = std::fs::read(path)
                .map_err(|source| OpenError::Certificates { path: path.clone(), source })?;
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(authorities) };
            Client::build_with_tls(config.url.as_str(), certificates)
        }
    };
    made.map_err(|source| OpenError::Address { server: config.display.clone(), source })
}
