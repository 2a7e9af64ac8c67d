//! Connections that cannot be held open for nothing: their number and their silence are bounded.
//!
//! `axum::serve` gives no way to reach hyper's own time-out for slow headers, so the bound stands one
//! level lower and covers more: a client has [`PATIENCE`] from the last byte of an answer (or from the
//! accept) until its next request is there and is being answered, and as long to take in what is
//! written. Sending a request byte by byte does not extend it; keep-alive ends after it. Only who may
//! change something is granted more, until one request is answered, through the connection's [`Peer`].
//!
//! With all places taken, the connection that has got nothing for longest, and was not granted anything, gives
//! its place to the next one: so clients that hold theirs for nothing do not keep others out.
//!
//! Invariant: an accepted connection holds one of the permits until it is dropped.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep};

use crate::metrics::Process;

/// The most connections at once, and the share of the process's file descriptors that they may take.
const CONNECTIONS: usize = 256;
const DESCRIPTORS_SHARE: usize = 4;
/// How long a client may keep a connection without getting anything done. Longer than a request may
/// take (see `shield`).
const PATIENCE: Duration = Duration::from_secs(15);

/// A listener that hands out guarded connections.
pub(super) struct GuardedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    /// How many connections there may be.
    places: usize,
    patience: Duration,
    began: Instant,
    /// The connections that were accepted and may be open still.
    open: Vec<Open>,
}

/// What the listener keeps of a connection.
struct Open {
    /// When it got something last, in milliseconds since the listener began.
    served_ms: Arc<AtomicU64>,
    grant: Grant,
    /// Ends it; closed when it has ended.
    cut: oneshot::Sender<()>,
}

impl GuardedListener {
    /// Takes as many connections as the process's descriptors allow, and no more than [`CONNECTIONS`].
    pub(super) fn new(listener: TcpListener) -> Self {
        let descriptors = Process::descriptors_limit().unwrap_or(usize::MAX);
        Self::with_limits(listener, (descriptors / DESCRIPTORS_SHARE).clamp(1, CONNECTIONS), PATIENCE)
    }

    fn with_limits(listener: TcpListener, connections: usize, patience: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(connections));
        let began = Instant::now();
        Self { listener, permits, places: connections, patience, began, open: Vec::new() }
    }

    /// Waits for a place; where all are taken, the connection that was served longest ago gives its own.
    async fn permit(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        self.open.retain(|open| !open.cut.is_closed());
        // Whoever was let in to change something goes last.
        let rank = |open: &Open| (open.grant.left().is_some(), open.served_ms.load(Ordering::Relaxed));
        let quietest = (0..self.open.len()).min_by_key(|&index| rank(&self.open[index]));
        if let Some(index) = quietest {
            // One that has ended meanwhile has given its place as well.
            self.open.swap_remove(index).cut.send(()).ok();
        }
        // The semaphore is never closed; without a permit the connection would only be uncounted.
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }
}

impl Listener for GuardedListener {
    type Io = Guarded<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // This one logs and waits where the process has no descriptors left.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let permit = self.permit().await;
        // Answers are small and whole; without this the kernel may hold their end back.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY refused");
        }
        if self.open.len() >= 2 * self.places {
            self.open.retain(|open| !open.cut.is_closed());
        }
        let (cut, told) = oneshot::channel();
        let guarded = Guarded::new(stream, self.patience, self.began, told, permit);
        let (served_ms, grant) = (Arc::clone(&guarded.served_ms), guarded.grant.clone());
        self.open.push(Open { served_ms, grant, cut });
        (guarded, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Until when the request under way may take, beyond the connection's patience; shared by the connection
/// and whoever answers.
#[derive(Debug, Clone)]
struct Grant {
    /// In milliseconds since the listener began; 0: nothing is granted.
    until_ms: Arc<AtomicU64>,
    began: Instant,
    patience: Duration,
}

impl Grant {
    fn none(began: Instant, patience: Duration) -> Self {
        Self { until_ms: Arc::default(), began, patience }
    }

    /// What is left of it; none where nothing is granted.
    fn left(&self) -> Option<Duration> {
        let until_ms = self.until_ms.load(Ordering::Relaxed);
        let left = Duration::from_millis(until_ms).saturating_sub(self.began.elapsed());
        (until_ms > 0).then_some(left)
    }
}

/// Time that was granted to a request; given back when this is dropped.
#[must_use = "what is granted is given back at the drop"]
pub(super) struct Granted(Arc<AtomicU64>);

impl Drop for Granted {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    grant: Grant,
}

impl Peer {
    /// Lets the request under way take so much longer than the connection's patience, whatever is written
    /// meanwhile: a client may be told to go on with its body.
    pub(super) fn grant(&self, longer: Duration) -> Granted {
        let until = self.grant.began.elapsed() + self.grant.patience + longer;
        self.grant.until_ms.store(until.as_millis() as u64, Ordering::Relaxed);
        Granted(Arc::clone(&self.grant.until_ms))
    }
}

impl Connected<IncomingStream<'_, GuardedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, GuardedListener>) -> Self {
        Self { address: *stream.remote_addr(), grant: stream.io().grant.clone() }
    }
}

/// A connection with a deadline that only answers and a grant extend.
pub(super) struct Guarded<S> {
    stream: S,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    began: Instant,
    served_ms: Arc<AtomicU64>,
    is_cut: bool,
    /// Told when another connection needs the place; none when it was.
    cut: Option<oneshot::Receiver<()>>,
    grant: Grant,
    /// Held for its drop.
    _permit: Option<OwnedSemaphorePermit>,
}

impl<S> Guarded<S> {
    fn new(
        stream: S,
        patience: Duration,
        began: Instant,
        cut: oneshot::Receiver<()>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let deadline = Box::pin(tokio::time::sleep(patience));
        let served_ms = Arc::new(AtomicU64::new(began.elapsed().as_millis() as u64));
        Self {
            stream,
            patience,
            deadline,
            began,
            served_ms,
            is_cut: false,
            cut: Some(cut),
            grant: Grant::none(began, patience),
            _permit: permit,
        }
    }

    /// Notes that bytes have left: of an answer, or of the word to go on with a body. So it says nothing of
    /// what is granted.
    fn extend(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + self.patience);
        self.served_ms.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Fails when the time is over or the place is needed; else the task is woken when that will be.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        // A listener that is gone needs no place: it never says so, and is not asked again.
        let told = self.cut.as_mut().map(|cut| Pin::new(cut).poll(cx));
        if let Some(Poll::Ready(told)) = told {
            self.cut = None;
            self.is_cut = told.is_ok();
        }
        if self.is_cut {
            return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
        }
        let left = self.grant.left();
        let without_grant = Instant::now() + self.patience;
        if left.is_none() && self.deadline.deadline() > without_grant {
            // The grant was used and is given back, so what remains of it is over.
            self.deadline.as_mut().reset(without_grant);
        }
        ready!(self.deadline.as_mut().poll(cx));
        let Some(left) = left.filter(|left| !left.is_zero()) else {
            return Poll::Ready(io::ErrorKind::TimedOut.into());
        };
        self.deadline.as_mut().reset(Instant::now() + left);
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
    use axum::body::Bytes;
    use axum::middleware::from_fn_with_state;
    use axum::routing::{get, put};
    use prometheus::IntCounter;

    use super::super::guard::{Guard, guard};
    use super::*;

    /// Serves `ok`, and behind the guard takes a body, under these limits for as long as the runtime lives.
    fn served(connections: usize, patience: Duration) -> (tokio::runtime::Runtime, SocketAddr) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let guarded = GuardedListener::with_limits(listener, connections, patience);
        let guarding = Guard::new(None, IntCounter::new("refused_total", "help").unwrap());
        let taking = put(|_body: Bytes| async { "taken" });
        let routes = Router::new()
            .route("/", get(|| async { "ok" }))
            .route("/body", taking.route_layer(from_fn_with_state(guarding, guard)))
            .into_make_service_with_connect_info::<Peer>();
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
    fn with_all_places_taken_the_quietest_connection_gives_way_and_a_served_one_stays() {
        let (_runtime, address) = served(2, Duration::from_secs(10));
        let ask = |client: &mut Client| {
            let mut answer = [0; 512];
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            client.read(&mut answer).unwrap() > 0
        };
        let mut quiet = Client::connect(address).unwrap();
        quiet.write_all(b"GET / HT").unwrap();
        let mut good = Client::connect(address).unwrap();
        assert!(ask(&mut good));
        let mut third = Client::connect(address).unwrap();
        assert!(ask(&mut third));
        quiet.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!(quiet.read(&mut [0; 1]), Ok(0) | Err(_)), "the quiet one was cut off");
        assert!(ask(&mut good));
    }

    /// Reads up to and with these words.
    fn read_until(client: &mut Client, words: &str) {
        let (mut answer, mut more) = (Vec::new(), [0; 512]);
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        while !String::from_utf8_lossy(&answer).contains(words) {
            let read = client.read(&mut more).unwrap();
            assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&more[..read]);
        }
    }

    #[test]
    fn a_body_that_was_asked_for_may_take_what_the_guard_grants_and_the_answer_ends_the_grant() {
        let patience = Duration::from_millis(500);
        let (_runtime, address) = served(4, patience);
        let mut client = Client::connect(address).unwrap();
        let head = "PUT /body HTTP/1.1\r\nhost: [::1]\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
        client.write_all(head.as_bytes()).unwrap();
        read_until(&mut client, "100 Continue\r\n\r\n");
        for piece in ["sl", "ow"] {
            // Longer than the patience, and nothing comes: neither an answer nor the end.
            client.set_read_timeout(Some(patience * 2)).unwrap();
            let waited = client.read(&mut [0; 1]).unwrap_err();
            assert_eq!(waited.kind(), io::ErrorKind::WouldBlock);
            client.write_all(piece.as_bytes()).unwrap();
        }
        read_until(&mut client, "taken");
        // The connection stays for another request, but not for as long as the grant would have let it.
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "the connection was not closed in time");
    }
}
