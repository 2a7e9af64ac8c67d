//! Scripts that the server keeps: called by their hash, sent once when the server does not know them.
//!
//! The crate's own `Script` copies every argument into a vector of its own, which is too dear for chunks.
//!
//! Invariant: a script is sent at most once for a call.

use redis::{Cmd, FromRedisValue};

use super::super::error::StoreError;
use super::link::Link;

/// A script and its hash.
#[derive(Debug)]
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    pub(super) fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Begins a call; keys and arguments follow. The numbers are hints for its size.
    pub(super) fn command(&self, keys: usize, arguments: usize, bytes: usize) -> Cmd {
        // Each argument has about 20 bytes beside itself.
        let mut command = Cmd::with_capacity(3 + keys + arguments, bytes + 128);
        command.arg("EVALSHA").arg(&self.hash).arg(keys);
        command
    }

    /// Calls the script with a command that it began.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        link: &Link,
        command: &Cmd,
        key: &str,
    ) -> Result<T, StoreError> {
        match link.try_call(command).await {
            Err(failure) if failure.is_unknown_script() => {}
            Err(failure) => return Err(link.explain(failure, "EVALSHA", key)),
            Ok(answer) => return Ok(answer),
        }
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(self.code);
        let _hash: String = link.call(&load, "SCRIPT LOAD", key).await?;
        link.call(command, "EVALSHA", key).await
    }
}
