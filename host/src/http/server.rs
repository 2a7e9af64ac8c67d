//! The listener: bound before anything is read, so that a taken port stops the start, and served
//! until the service ends.
//!
//! Invariant: the end takes [`GRACE`] at most, whatever clients do.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::connection::{GuardedListener, Peer};
use super::page::Streams;
use super::routes;
use super::state::State;
use crate::config;

/// How long answers that are under way may take at the end.
const GRACE: Duration = Duration::from_secs(1);

/// The address cannot be listened on: the process exits with 69.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (HTTP_BIND, METRICS_PORT): {source}")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// A bound listener and its routes.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    routes: Router,
    streams: Arc<Streams>,
}

impl Server {
    /// Takes the address; requests wait in the kernel until [`Server::serve`].
    ///
    /// # Errors
    /// When the address is taken, not allowed or not one of this machine.
    pub async fn bind(config: &config::Http, state: State) -> Result<Self, BindError> {
        let address = SocketAddr::new(config.bind, config.port);
        let failed = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let streams = Arc::clone(&state.streams);
        let routes = routes::router(config, state);
        Ok(Self { listener, address, routes, streams })
    }

    /// Where it listens, with the port that was given where any was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` resolves, then takes no further connection and lets answers that are
    /// under way come to their end.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let (ending, asked) = oneshot::channel();
        let streams = self.streams;
        let shutdown = async move {
            shutdown.await;
            // They have no end of their own.
            streams.end();
            if ending.send(()).is_err() {
                tracing::debug!("HTTP server had ended before it was asked to");
            }
        };
        let out_of_time = async move {
            match asked.await {
                Ok(()) => tokio::time::sleep(GRACE).await,
                // The server is gone, and its own branch says so.
                Err(_) => std::future::pending().await,
            }
        };
        let routes = self.routes.into_make_service_with_connect_info::<Peer>();
        let serving =
            axum::serve(GuardedListener::new(self.listener), routes).with_graceful_shutdown(shutdown);
        tokio::select! {
            ended = serving.into_future() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "HTTP server ended");
                }
            }
            () = out_of_time => tracing::debug!("HTTP clients cut off at the end"),
        }
    }
}
