//! A TCP proxy before a server, whose link can be cut, held, half-opened, slowed, or cut in the middle of a message.
//!
//! Needs no privileges: what a network does to packets is done here to bytes. A held link keeps every byte and
//! delivers it when it is opened again, as TCP does by sending again. Not for measuring throughput. The invariant:
//! bytes of one direction are never reordered, changed or invented, and no thread outlives the proxy.

#[cfg(test)]
mod tests;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::SockRef;

use crate::ports;
use crate::random::Random;

/// How much is read at once, and how many pieces wait in one direction of a connection.
const PIECE_BYTES: usize = 16 << 10;
const PIECES: usize = 64;
/// How much is kept of what passes.
const RECORDED_BYTES: usize = 32 << 20;
/// How long a write that nobody takes is left alone until the connection is looked at again.
const WRITE_LIMIT: Duration = Duration::from_millis(200);
/// How long the server may take to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Answer,
}

/// What the link does with bytes and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    /// Everything passes.
    Open,
    /// Nothing passes, and nobody is told: a black hole.
    Held,
    /// Connections are reset, new ones too.
    Refused,
}

/// A cut that is to come: so many bytes behind the next place at which the marker begins.
#[derive(Debug, Clone)]
struct Cut {
    direction: Direction,
    marker: Vec<u8>,
    after: usize,
    /// How many bytes are left, once the marker was seen.
    left: Option<usize>,
}

/// What may change while the proxy runs.
struct Link {
    passage: Passage,
    /// How late a piece arrives, and by how much more or less.
    delay: Option<(Duration, Duration)>,
    bytes_per_second: Option<u64>,
    /// When each direction may carry the next byte.
    free_at: [Instant; 2],
    cut: Option<Cut>,
    cuts: usize,
    /// What has passed, where it is to be kept.
    recorded: Option<Vec<u8>>,
    random: Random,
    connections: Vec<Arc<Connection>>,
    threads: Vec<JoinHandle<()>>,
    ended: bool,
}

/// A client and the server behind it.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Its threads shall end.
    closed: AtomicBool,
    /// The server is gone, and the client is not told.
    half_open: AtomicBool,
}

impl Connection {
    /// Ends both sides with a reset. The threads let go of the sockets, which then are closed.
    fn reset(&self) {
        self.closed.store(true, Ordering::Relaxed);
        for stream in [&self.client, &self.server] {
            SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok();
            stream.shutdown(Shutdown::Read).ok();
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The side that bytes of a direction come from, and the one they go to.
    fn sides(&self, direction: Direction) -> (&TcpStream, &TcpStream) {
        match direction {
            Direction::Request => (&self.client, &self.server),
            Direction::Answer => (&self.server, &self.client),
        }
    }
}

struct Shared {
    target: SocketAddr,
    link: Mutex<Link>,
    changed: Condvar,
}

impl Shared {
    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the link is not held; false where the proxy ends or the connection is closed.
    fn wait_open(&self, closed: impl Fn() -> bool) -> bool {
        let mut link = self.link();
        while link.passage == Passage::Held && !link.ended && !closed() {
            link = self.changed.wait_timeout(link, WRITE_LIMIT).unwrap_or_else(PoisonError::into_inner).0;
        }
        !link.ended && !closed()
    }
}

/// A running proxy.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Begins to stand before a port of this machine; nothing needs to listen there yet.
    ///
    /// # Errors
    /// Fails where no port can be listened on.
    pub fn start(target_port: u16) -> Result<Self> {
        let port = ports::free();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("listening for a proxy")?;
        let now = Instant::now();
        let link = Link {
            passage: Passage::Open,
            delay: None,
            bytes_per_second: None,
            free_at: [now, now],
            cut: None,
            cuts: 0,
            recorded: None,
            random: Random::new(u64::from(port)),
            connections: Vec::new(),
            threads: Vec::new(),
            ended: false,
        };
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target_port));
        let shared = Arc::new(Shared { target, link: Mutex::new(link), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { port, shared, acceptor: Some(acceptor) })
    }

    /// The port that clients are told.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address that clients are told.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Resets all connections; new ones pass.
    pub fn reset(&self) {
        self.shared.link().connections.iter().for_each(|connection| connection.reset());
    }

    /// Resets all connections, and new ones too, until [`Proxy::heal`].
    pub fn refuse(&self) {
        self.shared.link().passage = Passage::Refused;
        self.reset();
    }

    /// Lets nothing pass any more and tells nobody, until [`Proxy::heal`].
    pub fn hold(&self) {
        self.shared.link().passage = Passage::Held;
    }

    /// Takes the server away from all connections without telling the clients, for good; new ones pass.
    pub fn half_open(&self) {
        for connection in &self.shared.link().connections {
            connection.half_open.store(true, Ordering::Relaxed);
            connection.server.shutdown(Shutdown::Both).ok();
        }
    }

    /// Delays every piece by about this much.
    pub fn delay(&self, by: Duration, jitter: Duration) {
        self.shared.link().delay = Some((by, jitter));
    }

    /// Carries no more than this in each direction, all connections together.
    pub fn limit(&self, bytes_per_second: u64) {
        self.shared.link().bytes_per_second = Some(bytes_per_second);
    }

    /// Resets the next connection on which the marker passes, so many bytes behind the marker's first.
    pub fn cut_behind(&self, direction: Direction, marker: &[u8], after: usize) {
        self.shared.link().cut = Some(Cut { direction, marker: marker.to_vec(), after, left: None });
    }

    /// How many cuts of [`Proxy::cut_behind`] have happened.
    pub fn cuts(&self) -> usize {
        self.shared.link().cuts
    }

    /// Keeps what passes from now on, in both directions, up to a bound.
    pub fn record(&self) {
        self.shared.link().recorded = Some(Vec::new());
    }

    /// Whether these bytes have passed since [`Proxy::record`], whole and in one piece.
    pub fn has_recorded(&self, bytes: &[u8]) -> bool {
        let link = self.shared.link();
        link.recorded.as_ref().is_some_and(|all| all.windows(bytes.len().max(1)).any(|part| part == bytes))
    }

    /// How many bytes have passed since [`Proxy::record`].
    pub fn recorded_bytes(&self) -> usize {
        self.shared.link().recorded.as_ref().map_or(0, Vec::len)
    }

    /// Makes the link a good one again.
    pub fn heal(&self) {
        let mut link = self.shared.link();
        link.passage = Passage::Open;
        link.delay = None;
        link.bytes_per_second = None;
        link.cut = None;
        drop(link);
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.link().ended = true;
        self.shared.changed.notify_all();
        self.reset();
        // Wakes the acceptor.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().ok();
        }
        self.reset();
        let threads = std::mem::take(&mut self.shared.link().threads);
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let mut link = shared.link();
        if link.ended {
            return;
        }
        link.connections.retain(|connection| !connection.is_closed());
        let Ok(client) = client else { continue };
        if link.passage == Passage::Refused {
            SockRef::from(&client).set_linger(Some(Duration::ZERO)).ok();
            continue;
        }
        let serving = Arc::clone(shared);
        link.threads.retain(|thread| !thread.is_finished());
        link.threads.push(thread::spawn(move || serve(client, &serving)));
    }
}

/// Carries one connection until either side ends it.
fn serve(client: TcpStream, shared: &Arc<Shared>) {
    if !shared.wait_open(|| false) {
        return;
    }
    let Ok(server) = TcpStream::connect_timeout(&shared.target, CONNECT_LIMIT) else {
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).ok();
        return;
    };
    for stream in [&client, &server] {
        stream.set_nodelay(true).ok();
        stream.set_write_timeout(Some(WRITE_LIMIT)).ok();
    }
    let (closed, half_open) = (AtomicBool::new(false), AtomicBool::new(false));
    let connection = Arc::new(Connection { client, server, closed, half_open });
    let mut link = shared.link();
    if link.ended || link.passage == Passage::Refused {
        return connection.reset();
    }
    link.connections.push(Arc::clone(&connection));
    drop(link);
    thread::scope(|scope| {
        for direction in [Direction::Request, Direction::Answer] {
            let (pieces, queue) = mpsc::sync_channel(PIECES);
            let connection = &connection;
            scope.spawn(move || read(connection, direction, shared, &pieces));
            scope.spawn(move || write(connection, direction, shared, &queue));
        }
    });
    connection.closed.store(true, Ordering::Relaxed);
    shared.link().connections.retain(|other| !Arc::ptr_eq(other, &connection));
}

/// Reads pieces and says when each is due at the other side.
fn read(
    connection: &Connection,
    direction: Direction,
    shared: &Shared,
    pieces: &SyncSender<(Instant, Vec<u8>)>,
) {
    let mut from = connection.sides(direction).0;
    let mut bytes = vec![0; PIECE_BYTES];
    let mut last_due = Instant::now();
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let mut link = shared.link();
        if let Some(recorded) = link.recorded.as_mut().filter(|recorded| recorded.len() < RECORDED_BYTES) {
            recorded.extend_from_slice(&bytes[..count]);
        }
        let late = link.delay.map_or(Duration::ZERO, |(by, jitter)| {
            by.saturating_sub(jitter) + jitter.mul_f64(2.0 * link.random.unit())
        });
        drop(link);
        last_due = last_due.max(Instant::now() + late);
        if pieces.send((last_due, bytes[..count].to_vec())).is_err() {
            return;
        }
    }
}

/// Writes pieces when they are due and the link lets them pass.
fn write(
    connection: &Connection,
    direction: Direction,
    shared: &Shared,
    queue: &Receiver<(Instant, Vec<u8>)>,
) {
    let to = connection.sides(direction).1;
    for (due, piece) in queue {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if !shared.wait_open(|| connection.is_closed()) {
            return;
        }
        let (passes, wait) = admit(&mut shared.link(), direction, &piece);
        thread::sleep(wait);
        let written = write_all(connection, to, &piece[..passes]);
        if passes < piece.len() {
            return connection.reset();
        }
        if !written && !connection.half_open.load(Ordering::Relaxed) {
            return connection.reset();
        }
    }
    if connection.is_closed() {
        // A reset: an end in order must not come before it.
        return;
    }
    // What one side ends is ended for the other one, unless the client is to wait in vain.
    if !connection.half_open.load(Ordering::Relaxed) {
        to.shutdown(Shutdown::Write).ok();
    }
    if direction == Direction::Request {
        connection.closed.store(true, Ordering::Relaxed);
        connection.client.shutdown(Shutdown::Both).ok();
        connection.server.shutdown(Shutdown::Both).ok();
    }
}

/// How much of a piece passes before a cut, and how long the piece must wait for the link to be free.
fn admit(link: &mut Link, direction: Direction, piece: &[u8]) -> (usize, Duration) {
    let mut passes = piece.len();
    if let Some(cut) = link.cut.as_mut().filter(|cut| cut.direction == direction) {
        let begins = |marker: &[u8]| piece.windows(marker.len().max(1)).position(|part| part == marker);
        let at = match cut.left {
            Some(left) => Some(left),
            None => begins(&cut.marker).map(|place| place + cut.after),
        };
        match at {
            Some(at) if at < piece.len() => {
                passes = at;
                link.cut = None;
                link.cuts += 1;
            }
            Some(at) => cut.left = Some(at - piece.len()),
            None => {}
        }
    }
    let Some(rate) = link.bytes_per_second else {
        return (passes, Duration::ZERO);
    };
    let now = Instant::now();
    let free_at = &mut link.free_at[direction as usize];
    *free_at = (*free_at).max(now) + Duration::from_secs_f64(passes as f64 / rate as f64);
    (passes, free_at.saturating_duration_since(now))
}

/// Writes everything, however long the other side takes; false where the connection is over.
fn write_all(connection: &Connection, mut to: &TcpStream, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return false,
            Ok(count) => bytes = &bytes[count..],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if connection.is_closed() {
                    return false;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    true
}
