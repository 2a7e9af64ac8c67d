//! One connection to the server, made when it is needed and made anew when it has failed.
//!
//! A connection that broke, or on which an answer did not come in time, is dropped: a half-open one
//! would never recover. Between two attempts to connect lies a growing wait, during which calls fail at
//! once with the reason of the last attempt, so that many callers do not queue for a dead server.
//!
//! Not the crate's connection manager: that one keeps a failed login for ever and a half-open
//! connection until the system notices. Invariant: a call ends within three times the limit: it waits for an attempt,
//! makes one, is answered.

use std::fmt;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::super::error::StoreError;
use crate::backoff::Backoff;

/// The first and the longest wait between two attempts to connect.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));

/// A connection that comes back.
pub(super) struct Link {
    client: Client,
    /// The address without password.
    server: String,
    /// The longest that connecting, or a call, may take.
    limit: Duration,
    state: Mutex<State>,
}

struct State {
    connection: Option<MultiplexedConnection>,
    /// Numbers the connections, so that a call drops only the one that it used.
    generation: u64,
    /// The last attempt, if it failed: why, and until when there is no other one.
    failed: Option<(RedisError, Instant)>,
    backoff: Backoff,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("server", &self.server)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(client: Client, server: String, limit: Duration) -> Self {
        let state = State { connection: None, generation: 0, failed: None, backoff: BACKOFF };
        Self { client, server, limit, state: Mutex::new(state) }
    }

    /// Sends a command and waits for its answer; `name` and `key` are for the words of an error.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        command: &Cmd,
        name: &'static str,
        key: &str,
    ) -> Result<T, StoreError> {
        self.try_call(command).await.map_err(|failure| self.explain(failure, name, key))
    }

    /// As `call`, with the client's own error, for those who look for one of them.
    pub(super) async fn try_call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        let (mut connection, generation) = self.connection().await.map_err(Failure::Connect)?;
        let Ok(answered) = timeout(self.limit, command.query_async(&mut connection)).await else {
            self.drop_connection(generation).await;
            return Err(Failure::Timeout);
        };
        match answered {
            Ok(answer) => Ok(answer),
            Err(error) => {
                if needs_new_connection(&error) {
                    self.drop_connection(generation).await;
                }
                Err(Failure::Call(error))
            }
        }
    }

    /// Turns a failure into words.
    pub(super) fn explain(&self, failure: Failure, command: &'static str, key: &str) -> StoreError {
        let server = self.server.clone();
        match failure {
            Failure::Connect(source) => StoreError::Unreachable { server, source },
            Failure::Timeout => StoreError::Timeout { server, command, limit: self.limit },
            Failure::Call(source) => match source.kind() {
                ErrorKind::Server(_) | ErrorKind::Extension => StoreError::Refused {
                    command: command.to_owned(),
                    key: key.to_owned(),
                    words: words(&source),
                },
                ErrorKind::UnexpectedReturnType | ErrorKind::Parse => {
                    StoreError::Answer { command, words: source.to_string() }
                }
                _ => StoreError::Unreachable { server, source },
            },
        }
    }

    /// Gives the connection, or makes one. Callers that come meanwhile wait for the same attempt.
    async fn connection(&self) -> Result<(MultiplexedConnection, u64), RedisError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.generation));
        }
        if let Some((error, until)) = &state.failed
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(self.limit)).set_response_timeout(None);
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                state.generation += 1;
                state.failed = None;
                state.backoff = BACKOFF;
                state.connection = Some(connection.clone());
                Ok((connection, state.generation))
            }
            Err(error) => {
                state.failed = Some((error.clone(), Instant::now() + state.backoff.next()));
                Err(error)
            }
        }
    }

    /// Has the next call make a new connection; those under way end on the one they have. A connection keeps the memory
    /// of its longest command.
    pub(super) async fn renew(&self) {
        self.state.lock().await.connection = None;
    }

    async fn drop_connection(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.connection = None;
        }
    }
}

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no connection.
    Connect(RedisError),
    /// No answer in time.
    Timeout,
    /// The connection broke, or the server answered with an error.
    Call(RedisError),
}

impl Failure {
    /// Whether the server does not know a script.
    pub(super) fn is_unknown_script(&self) -> bool {
        matches!(self, Self::Call(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
    }
}

/// The server's own words, with the code that operators search for: `OOM command not allowed …`.
fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

/// A broken connection, or one to a server that another one has replaced or that wants a new login.
fn needs_new_connection(error: &RedisError) -> bool {
    let replaced =
        matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown));
    // How Redis before 7 tells it of a write in a script.
    let replaced = replaced || error.detail().is_some_and(|detail| detail.contains("-READONLY"));
    replaced || error.is_io_error() || error.is_unrecoverable_error() || error.code() == Some("NOAUTH")
}
