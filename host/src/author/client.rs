//! Requests to a running host: HTTP/1.0 over a plain connection, so that an answer ends where the connection does.
//!
//! Not for hosts behind TLS: the service itself speaks none; whoever put a proxy before it has better tools.
//! Invariant: no request hangs, and no answer grows without bound.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::failure::Failure;
use crate::request::{self, Answer, Limits};

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long sending may stand still.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// How long the host may think: it compiles, carries state over and swaps before it answers.
const READ_LIMIT: Duration = Duration::from_secs(300);
/// How long an answer that goes on may be silent: a host sends something every 5 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// The longest head of an answer.
const MAX_HEAD_BYTES: u64 = 64 << 10;
/// The longest answer.
const MAX_ANSWER_BYTES: u64 = 8 << 20;

/// A host, and what it may be told.
pub(crate) struct Client {
    /// Host and port.
    authority: String,
    /// The admin token.
    token: Option<String>,
}

impl Client {
    /// Takes a URL like `http://127.0.0.1:8081`, which was given by this option.
    pub(crate) fn new(option: &str, url: &str, token: Option<String>) -> Result<Self, Failure> {
        let unusable = |words: &str| {
            Failure::Unusable(format!("{option} {url}: {words}; it looks like http://127.0.0.1:8081"))
        };
        if !url.starts_with("http://") {
            return Err(unusable("only http:// is spoken here; for a remote host open a tunnel to its port"));
        }
        let taken = request::address(url).filter(|(_, path)| path.is_empty());
        let Some((authority, _)) = taken else {
            return Err(unusable("a host and a port are wanted, without a path"));
        };
        if token.as_deref().is_some_and(has_blank) {
            return Err(Failure::Unusable("the token holds blanks".to_owned()));
        }
        Ok(Self { authority, token })
    }

    /// Sends a request; gives the JSON of a good answer, and the host's own words of another one.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Value, Failure> {
        let head = self.head(method, path, headers, body.len());
        judge(&self.exchange(&head, body, READ_LIMIT)?)
    }

    /// Reads a path; gives status and body, whatever they are.
    pub(crate) fn read(&self, path: &str, limit: Duration) -> Result<(u16, String), Failure> {
        let answer = self.exchange(&self.head("GET", path, &[], 0), &[], limit)?;
        let Answer { status, body } = parse(&answer)?;
        Ok((status, body))
    }

    /// Sends what a request consists of, and reads up to the end of the connection.
    fn exchange(&self, head: &str, body: &[u8], limit: Duration) -> Result<String, Failure> {
        let unanswered = |error| self.unanswered(&error);
        let mut stream = self.connect(limit).map_err(unanswered)?;
        // Who refuses a request may answer before it has read the body: the answer says more than the error.
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut answer = Vec::new();
        let read = stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer);
        if answer.is_empty() {
            sent.and(read.map(drop)).map_err(unanswered)?;
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Asks for an answer that goes on; gives its lines as they come.
    pub(super) fn listen(&self, path: &str) -> Result<impl BufRead + use<>, Failure> {
        let unanswered = |error| self.unanswered(&error);
        let mut stream = self.connect(READ_LIMIT).map_err(unanswered)?;
        stream.set_read_timeout(Some(SILENCE_LIMIT)).map_err(unanswered)?;
        stream.write_all(self.head("GET", path, &[], 0).as_bytes()).map_err(unanswered)?;
        let mut lines = BufReader::new(stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read =
                lines.by_ref().take(MAX_HEAD_BYTES).read_until(b'\n', &mut head).map_err(unanswered)?;
            if read == 0 || head.len() as u64 > MAX_HEAD_BYTES {
                break;
            }
        }
        if head.starts_with(b"HTTP/1.0 200") || head.starts_with(b"HTTP/1.1 200") {
            return Ok(lines);
        }
        lines.take(MAX_HEAD_BYTES).read_to_end(&mut head).map_err(unanswered)?;
        match judge(&String::from_utf8_lossy(&head)) {
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::Unavailable("the answer is none that goes on".to_owned())),
        }
    }

    fn unanswered(&self, error: &std::io::Error) -> Failure {
        Failure::Unavailable(format!(
            "{} does not answer: {error}; is the service running, and is this its METRICS_PORT?",
            self.authority
        ))
    }

    fn head(&self, method: &str, path: &str, headers: &[(&str, &str)], body_bytes: usize) -> String {
        let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {}\r\n", self.authority);
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head + &format!("Content-Length: {body_bytes}\r\n\r\n")
    }

    fn connect(&self, read: Duration) -> std::io::Result<TcpStream> {
        request::connect(&self.authority, Limits { connect: CONNECT_LIMIT, read, write: WRITE_LIMIT })
    }
}

fn has_blank(text: &str) -> bool {
    !text.bytes().all(|b| b.is_ascii_graphic())
}

/// Takes an answer apart.
fn parse(answer: &str) -> Result<Answer, Failure> {
    let strange = || Failure::Unavailable("the answer is not HTTP; is this the service's port?".to_owned());
    request::parse(answer).ok_or_else(strange)
}

/// Says what an answer means.
fn judge(answer: &str) -> Result<Value, Failure> {
    let Answer { status, body } = parse(answer)?;
    let value: Value = serde_json::from_str(&body).unwrap_or_else(|_| Value::from(body.trim()));
    if (200..300).contains(&status) {
        return Ok(value);
    }
    let words = match (value["error"].as_str(), value["hint"].as_str()) {
        (Some(error), Some(hint)) => format!("{error}; {hint}"),
        (Some(error), None) => error.to_owned(),
        _ => body.trim().to_owned(),
    };
    let words = crate::plugin::printable(&words, 2_000);
    match status {
        400 | 404 | 409 | 413 | 422 => {
            Err(Failure::Unusable(format!("the host refuses ({status}): {words}")))
        }
        401 | 403 => Err(Failure::Unusable(format!(
            "the host refuses ({status}): {words} (--token-file names a file with its ADMIN_TOKEN)"
        ))),
        _ => Err(Failure::Unavailable(format!("the host answers {status}: {words}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_hosts() {
        for url in ["https://a", "127.0.0.1:8081", "http://", "http://a/b", "http://u@a", "http://a b"] {
            assert!(Client::new("--host", url, None).is_err(), "{url}");
        }
        assert_eq!(Client::new("--host", "http://a:1/", None).ok().unwrap().authority, "a:1");
        assert_eq!(Client::new("--host", "http://a", None).ok().unwrap().authority, "a:80");
        assert!(Client::new("--host", "http://a", Some("x\r\ny".to_owned())).is_err());
    }

    #[test]
    fn a_refusal_says_what_the_host_says() {
        let said = |answer: &str| judge(answer).unwrap_err();
        let refused =
            said("HTTP/1.1 409 Conflict\r\nA: b\r\n\r\n{\"error\":\"read-only\",\"hint\":\"mount it\"}");
        assert_eq!((refused.code(), refused.to_string().contains("read-only; mount it")), (64, true));
        assert_eq!(said("HTTP/1.1 503 Busy\r\n\r\n{\"error\":\"busy\"}").code(), 69);
        assert_eq!(said("SSH-2.0\r\n").code(), 69);
        assert_eq!(judge("HTTP/1.0 200 OK\r\n\r\n[1]").ok().unwrap()[0], 1);
    }
}
