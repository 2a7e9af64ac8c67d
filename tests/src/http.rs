//! A blocking HTTP client of a few lines, for a service on this machine.
//!
//! HTTP/1.0, so that an answer is simply everything until the connection closes. The invariant: no call hangs.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// How long a connection, a write or a read may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the same may take where something is to be done for it.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// Reads the body as JSON.
    ///
    /// # Errors
    /// Fails where it is none, quoting it.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body)
            .with_context(|| format!("an answer that is no JSON: {:?}", self.body))
    }
}

/// Sends a request without a body.
///
/// # Errors
/// Fails where nobody listens or the answer is none.
pub fn request(method: &str, port: u16, path: &str, headers: &str) -> Result<Answer> {
    request_within(LIMIT, method, port, path, headers)
}

fn request_within(limit: Duration, method: &str, port: u16, path: &str, headers: &str) -> Result<Answer> {
    let mut stream = connect(port, limit)?;
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n")?;
    read(stream)
}

/// Sends a request with a body; what is asked for may take a while.
///
/// # Errors
/// Fails where nobody listens or the answer is none.
pub fn send(method: &str, port: u16, path: &str, headers: &str, body: &[u8]) -> Result<Answer> {
    let mut stream = connect(port, CHANGE_LIMIT)?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\n{headers}\r\n"
    )?;
    // Who is refused early is told so, whether or not the rest could be sent.
    stream.write_all(body).ok();
    read(stream)
}

/// Sends a request to a server that speaks HTTP/1.1 alone and keeps connections: its answer is as long as it says.
///
/// # Errors
/// Fails where nobody listens or the answer is none.
pub fn send_kept(method: &str, port: u16, path: &str, body: &str) -> Result<Answer> {
    let mut stream = connect(port, CHANGE_LIMIT)?;
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
    let mut reader = BufReader::new(stream);
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "an answer without an end of its head: {text}");
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
        text += &line;
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    parse(text + std::str::from_utf8(&body).context("an answer that is no text")?)
}

fn connect(port: u16, limit: Duration) -> Result<TcpStream> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}

/// Reads an answer up to the end of the connection.
///
/// # Errors
/// Fails where it is none.
pub fn read(mut stream: TcpStream) -> Result<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(String::from_utf8(bytes).context("an answer that is no text")?)
}

/// Asks for a path that answers for as long as somebody listens, and listens for a while.
///
/// # Errors
/// Fails where nobody listens or the answer is none.
pub fn listen(port: u16, path: &str, headers: &str, time: Duration) -> Result<Answer> {
    let mut stream = connect(port, LIMIT)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n")?;
    let (began, mut bytes, mut piece) = (Instant::now(), Vec::new(), [0; 4096]);
    while let Some(left) = time.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => return Err(error.into()),
        }
    }
    parse(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(text: String) -> Result<Answer> {
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without a head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("an answer without a status: {head}"))?;
    Ok(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
}

/// Reads a path.
///
/// # Errors
/// Fails where nobody listens or the answer is none.
pub fn get(port: u16, path: &str) -> Result<Answer> {
    request("GET", port, path, "")
}

/// Reads a path; no part of it may take longer than the limit.
///
/// # Errors
/// Fails where nobody listens or the answer is none.
pub fn get_within(port: u16, path: &str, limit: Duration) -> Result<Answer> {
    request_within(limit, "GET", port, path, "")
}
