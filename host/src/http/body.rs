//! Bodies that clients send, piece by piece.
//!
//! Invariant: a client that sends nothing, or next to nothing, is refused within [`PATIENCE`], and no body
//! is longer here than the caller allows.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use tokio::time::Instant;

use super::problem::Problem;

/// In this time as much of a body must come as [`PIECE_BYTES`], or its rest.
const PATIENCE: Duration = Duration::from_secs(9);
const PIECE_BYTES: usize = 1 << 20;
/// How long a body may take in all.
const LONGEST: Duration = Duration::from_secs(60);

/// A body that comes.
pub(super) struct Pieces {
    body: Body,
    ends: Instant,
    due: Instant,
    /// What has come since `due` was set.
    received: usize,
}

impl Pieces {
    pub(super) fn new(body: Body) -> Self {
        let now = Instant::now();
        Self { body, ends: now + LONGEST, due: now + PATIENCE, received: 0 }
    }

    /// Begins the time anew that it may take.
    pub(super) fn begin(&mut self) {
        let now = Instant::now();
        (self.ends, self.due) = (now + LONGEST, now + PATIENCE);
    }

    /// How long the body is at least, as it was announced.
    pub(super) fn announced(&self) -> u64 {
        self.body.size_hint().lower()
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// When it does not come in time, or the client breaks off.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let body = &mut self.body;
            let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
            let frame = match tokio::time::timeout_at(self.due.min(self.ends), frame).await {
                Err(_) => return Err(too_slow()),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    return Err(Problem::bad(format!("the body breaks off: {error}"), "send it again"));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers say nothing here.
            let Ok(piece) = frame.into_data() else { continue };
            self.received += piece.len();
            if self.received >= PIECE_BYTES {
                self.received = 0;
                self.due = Instant::now() + PATIENCE;
            }
            return Ok(Some(piece));
        }
    }

    /// The whole body, where it is no longer than so much.
    ///
    /// # Errors
    /// When it is longer, does not come in time, or the client breaks off.
    pub(super) async fn whole(mut self, most_bytes: usize) -> Result<Vec<u8>, Problem> {
        let too_long = || {
            let error = format!("the body is longer than {most_bytes} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send less")
        };
        if self.announced() > most_bytes as u64 {
            return Err(too_long());
        }
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            if whole.len() + piece.len() > most_bytes {
                return Err(too_long());
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }
}

fn too_slow() -> Problem {
    let error = format!(
        "the body comes too slowly: less than {} KiB in {} s, or not whole within {} s",
        PIECE_BYTES >> 10,
        PATIENCE.as_secs(),
        LONGEST.as_secs()
    );
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        error,
        "send it over a faster link, or put the file into PLUGINS_DIR",
    )
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn a_body_is_given_whole_up_to_its_limit() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let whole = |most| Pieces::new(Body::from("0123456789")).whole(most);
            assert_eq!(whole(10).await.unwrap(), b"0123456789");
            let status = whole(9).await.unwrap_err().into_response().status();
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        });
    }
}
