//! Connections that cannot be held open for nothing: their number and their silence are bounded.
//!
//! `axum::serve` gives no way to reach hyper's own time-out for slow headers, so the bound stands one
//! level lower and covers more: a client has [`PATIENCE`] from the last byte of an answer (or from the
//! accept) until its next request is there and is being answered, and as long to take in what is
//! written. Sending a request byte by byte does not extend it; keep-alive ends after it.
//!
//! Invariant: an accepted connection holds one of [`CONNECTIONS`] permits until it is dropped; with
//! none left, clients wait in the kernel's queue.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// The most connections at once.
const CONNECTIONS: usize = 256;
/// How long a client may keep a connection without getting anything done. Longer than a request may
/// take (see `shield`).
const PATIENCE: Duration = Duration::from_secs(15);

/// A listener that hands out guarded connections.
pub(super) struct GuardedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    patience: Duration,
}

impl GuardedListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self::with_limits(listener, CONNECTIONS, PATIENCE)
    }

    fn with_limits(listener: TcpListener, connections: usize, patience: Duration) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(connections)), patience }
    }
}

impl Listener for GuardedListener {
    type Io = Guarded<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // The semaphore is never closed; without a permit the connection would only be uncounted.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        // This one logs and waits where the process has no descriptors left.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Answers are small and whole; without this the kernel may hold their end back.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY refused");
        }
        (Guarded::new(stream, self.patience, permit), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with a deadline that only answers extend.
pub(super) struct Guarded<S> {
    stream: S,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    /// Held for its drop.
    _permit: Option<OwnedSemaphorePermit>,
}

impl<S> Guarded<S> {
    fn new(stream: S, patience: Duration, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { stream, patience, deadline: Box::pin(tokio::time::sleep(patience)), _permit: permit }
    }

    /// Notes that bytes of an answer have left.
    fn extend(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + self.patience);
    }

    /// Fails when the time is over; else the task is woken when it will be.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.deadline.as_mut().poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_deadline(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(error) = self.poll_deadline(cx) {
            return Poll::Ready(Err(error));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.extend();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(error) = self.poll_deadline(cx) {
            return Poll::Ready(Err(error));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bytes));
        self.extend();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    use axum::Router;
    use axum::routing::get;

    use super::*;

    /// Serves `ok` under these limits for as long as the runtime lives.
    fn served(connections: usize, patience: Duration) -> (tokio::runtime::Runtime, SocketAddr) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let guarded = GuardedListener::with_limits(listener, connections, patience);
        let routes = Router::new().route("/", get(|| async { "ok" }));
        runtime.spawn(async move { axum::serve(guarded, routes).await });
        (runtime, address)
    }

    #[test]
    fn a_request_that_never_ends_is_cut_off_however_it_dribbles() {
        let (_runtime, address) = served(4, Duration::from_millis(200));
        let mut client = Client::connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut answer = [0; 64];
        let began = std::time::Instant::now();
        let closed = loop {
            // Each read waits 20 ms, so this dribbles a header byte by byte.
            let broken = client.write_all(b"G").is_err();
            match client.read(&mut answer) {
                Ok(0) => break true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !broken => {}
                Err(_) => break true,
                Ok(_) => break false,
            }
            assert!(began.elapsed() < Duration::from_secs(10));
        };
        assert!(closed);
        assert!(began.elapsed() >= Duration::from_millis(200));
    }

    #[test]
    fn with_all_permits_taken_a_client_waits_until_one_is_free() {
        let (_runtime, address) = served(1, Duration::from_secs(10));
        let mut first = Client::connect(address).unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 512];
        assert!(first.read(&mut answer).unwrap() > 0);

        let mut second = Client::connect(address).unwrap();
        second.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        second.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(second.read(&mut answer).is_err());
        drop(first);
        second.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(second.read(&mut answer).unwrap() > 0);
    }
}
