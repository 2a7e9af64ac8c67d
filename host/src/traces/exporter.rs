//! The bounded queue of spans, and the thread that sends them.
//!
//! A collector that is away or slow costs spans and nothing else: they are counted, and said once in a while.
//! Invariant: only this thread waits for the collector.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::otlp;
use super::span::Span;
use crate::config::Endpoint;
use crate::request::{self, Request};

/// The spans that may wait.
const QUEUE_SPANS: usize = 4_096;
/// The most of one request.
const REQUEST_SPANS: usize = 512;
/// How long a span waits for others.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How long the collector may take.
const LIMIT: Duration = Duration::from_secs(3);
/// How long the end of the process waits for the last spans.
const PATIENCE: Duration = Duration::from_secs(1);

enum Piece {
    Span(Span),
    /// Nothing follows that must be sent.
    End,
}

/// Where spans are handed in.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: Sender<Piece>,
    lost: Arc<AtomicU64>,
}

impl Outbox {
    pub(super) fn put(&self, span: Span) {
        if self.queue.try_send(Piece::Span(span)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Keeps the sending thread going. Dropped at the end of the process, it waits for the last spans, but not for long.
#[derive(Debug)]
#[must_use = "dropping the handle ends the sending"]
pub struct Handle {
    queue: Sender<Piece>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread that sends to a collector.
///
/// # Errors
/// When the thread cannot be started.
pub(super) fn open(endpoint: Endpoint) -> std::io::Result<(Outbox, Handle)> {
    let (queue, pieces) = crossbeam_channel::bounded(QUEUE_SPANS);
    let (end, ended) = crossbeam_channel::bounded(0);
    let lost = Arc::new(AtomicU64::new(0));
    let lost_by_thread = Arc::clone(&lost);
    let thread = std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
        send(&pieces, &endpoint, &lost_by_thread);
        drop::<Sender<()>>(end);
    })?;
    Ok((Outbox { queue: queue.clone(), lost }, Handle { queue, ended, thread: Some(thread) }))
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.queue.send_timeout(Piece::End, PATIENCE).is_err() {
            return;
        }
        if self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            // The thread waits for the collector; it ends with the process.
            return;
        }
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been told by the panic hook; there is nothing to add.
            thread.join().ok();
        }
    }
}

fn send(pieces: &Receiver<Piece>, endpoint: &Endpoint, lost: &AtomicU64) {
    let mut spans = Vec::new();
    let mut sent_at = Instant::now();
    loop {
        let wait = SEND_EVERY.saturating_sub(sent_at.elapsed());
        let over = match pieces.recv_timeout(wait) {
            Ok(Piece::Span(span)) => {
                spans.push(span);
                false
            }
            Ok(Piece::End) | Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => false,
        };
        if over || spans.len() >= REQUEST_SPANS || sent_at.elapsed() >= SEND_EVERY {
            post(&spans, endpoint, lost);
            spans.clear();
            sent_at = Instant::now();
        }
        if over {
            return;
        }
    }
}

/// Sends spans; what the collector does not take is lost.
fn post(spans: &[Span], endpoint: &Endpoint, lost: &AtomicU64) {
    if spans.is_empty() {
        return;
    }
    let body = otlp::body(spans);
    let asked = Request {
        method: "POST",
        authority: &endpoint.authority,
        path: &endpoint.path,
        headers: &[("Content-Type", "application/json")],
        body: &body,
        limit: LIMIT,
    };
    let trouble = match request::send(&asked) {
        Ok(answer) if (200..300).contains(&answer.status) => return,
        Ok(answer) => format!("answers {}", answer.status),
        Err(error) => error.to_string(),
    };
    lost.fetch_add(spans.len() as u64, Ordering::Relaxed);
    tracing::warn!(
        collector = endpoint.authority,
        spans = spans.len(),
        reason = trouble,
        "Traces not sent; they are lost"
    );
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use serde_json::Value;

    use super::*;

    fn endpoint(port: u16) -> Endpoint {
        Endpoint { authority: format!("127.0.0.1:{port}"), path: "/v1/traces".to_owned() }
    }

    /// Takes one request and gives its body.
    fn collect(listener: &TcpListener) -> (String, Value) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        let mut piece = [0; 4_096];
        loop {
            let count = stream.read(&mut piece).unwrap();
            bytes.extend_from_slice(&piece[..count]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{}").unwrap();
                return (head.to_owned(), serde_json::from_str(body).unwrap());
            }
        }
    }

    #[test]
    fn spans_are_sent_together_and_the_last_ones_at_the_end() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (outbox, handle) = open(endpoint(listener.local_addr().unwrap().port())).unwrap();
        let collector = std::thread::spawn(move || collect(&listener));
        for _ in 0..3 {
            outbox.put(Span::ended("flush", Duration::ZERO));
        }
        drop(handle);
        let (head, body) = collector.join().unwrap();
        assert!(head.starts_with("POST /v1/traces HTTP/1.0"), "{head}");
        assert!(head.contains("Content-Type: application/json"), "{head}");
        assert_eq!(body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len(), 3);
        assert_eq!(outbox.lost(), 0);
    }

    #[test]
    fn without_a_collector_spans_are_lost_and_counted_and_nobody_waits() {
        let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let (outbox, handle) = open(endpoint(nobody)).unwrap();
        let begun = Instant::now();
        for _ in 0..10 {
            outbox.put(Span::ended("flush", Duration::ZERO));
        }
        assert!(begun.elapsed() < PATIENCE);
        drop(handle);
        assert_eq!(outbox.lost(), 10);
    }
}
