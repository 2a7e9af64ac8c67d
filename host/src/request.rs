//! One plain HTTP request: for probes and for a collector of traces, which stand on this machine or near it. The
//! authors' client, which has more to say and to hear, connects and takes answers apart by the same functions.
//!
//! HTTP/1.0, so that an answer ends where the connection does. Not for anything behind TLS, and not for long answers.
//! Invariant: no request hangs, and no answer grows without bound.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 256 << 10;

/// What is asked of whom.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// Host and port.
    pub(crate) authority: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    /// How long connecting, and each piece of sending and reading, may take.
    pub(crate) limit: Duration,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends a request and reads the answer.
pub(crate) fn send(request: &Request<'_>) -> std::io::Result<Answer> {
    let limit = request.limit;
    let mut stream = connect(request.authority, Limits { connect: limit, read: limit, write: limit })?;
    let mut head = format!("{} {} HTTP/1.0\r\nHost: {}\r\n", request.method, request.path, request.authority);
    for (name, value) in request.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", request.body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(request.body)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| Error::new(ErrorKind::InvalidData, "the answer is not HTTP"))
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connecting to one address.
    pub(crate) connect: Duration,
    /// Waiting for each piece of the answer.
    pub(crate) read: Duration,
    /// Sending each piece.
    pub(crate) write: Duration,
}

/// Connects to the first address of a host that takes the connection.
pub(crate) fn connect(authority: &str, limits: Limits) -> std::io::Result<TcpStream> {
    let mut last = Error::from(ErrorKind::AddrNotAvailable);
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limits.connect) {
            Ok(stream) => {
                stream.set_read_timeout(Some(limits.read))?;
                stream.set_write_timeout(Some(limits.write))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Takes an answer apart; none where it is not HTTP.
pub(crate) fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let status = status.split_whitespace().next()?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

/// Takes `http://host[:port][/path]` apart: host and port, and the path, which is empty where there is none.
pub(crate) fn address(url: &str) -> Option<(String, String)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && !b"?#@".contains(&b));
    if host.is_empty() || !plain(host) || !plain(path) {
        return None;
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let authority = if has_port { host.to_owned() } else { format!("{host}:80") };
    Some((authority, path.trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_what_is_no_plain_one_refused() {
        let taken = |url| address(url).unwrap();
        assert_eq!(taken("http://a:1/"), ("a:1".to_owned(), String::new()));
        assert_eq!(taken("http://a"), ("a:80".to_owned(), String::new()));
        assert_eq!(taken("http://[::1]:4318/otlp/"), ("[::1]:4318".to_owned(), "/otlp".to_owned()));
        for url in ["https://a", "a:1", "http://", "http:///x", "http://u@a", "http://a b", "http://a/?x"] {
            assert_eq!(address(url), None, "{url}");
        }
    }

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let parsed = parse("HTTP/1.1 503 Busy\r\nA: b\r\n\r\nwords").unwrap();
        assert_eq!(parsed, Answer { status: 503, body: "words".to_owned() });
        assert_eq!(parse("SSH-2.0\r\n\r\n"), None);
        assert_eq!(parse("HTTP/1.0 200 OK\r\n"), None);
    }
}
