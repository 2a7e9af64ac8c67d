//! Runs the child process and judges how it ended.
//!
//! The child reads and writes files without a name, so that no pipe can fill up and nothing is left
//! behind by whatever ends. Invariant: no child outlives the call that started it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;

use super::CompileError;
use super::child::{COMMAND, MEMORY_BYTES, REFUSED};

/// How often it is looked whether the child has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How much of the child's words is kept.
const WORDS_BYTES: u64 = 2_000;
/// This binary, also when another one has been put in its place.
const SELF: &str = "/proc/self/exe";

/// How a child is run.
#[derive(Debug)]
pub(super) struct Process {
    /// The program that knows [`COMMAND`].
    program: PathBuf,
    /// How long it may take.
    limit: Duration,
    /// Set when nobody waits for machine code any more.
    cancelled: AtomicBool,
}

impl Process {
    pub(super) fn new(program: Option<PathBuf>, limit: Duration) -> Self {
        let program = program.unwrap_or_else(|| SELF.into());
        Self { program, limit, cancelled: AtomicBool::new(false) }
    }

    /// Ends a running child, and lets no further one begin.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Compiles a component into a file, which it leaves at its beginning.
    pub(super) fn compile(&self, wasm: &[u8], into: &mut File) -> Result<(), CompileError> {
        let failed = |error: std::io::Error| CompileError::Failed(error.to_string());
        let mut input = nameless("component").map_err(failed)?;
        input.write_all(wasm).and_then(|()| input.rewind()).map_err(failed)?;
        let mut words = nameless("words").map_err(failed)?;
        let mut child = Command::new(&self.program)
            .arg0("aggregator")
            .arg(COMMAND)
            .env_clear()
            .stdin(input)
            .stdout(into.try_clone().map_err(failed)?)
            .stderr(Stdio::from(words.try_clone().map_err(failed)?))
            .spawn()
            .map_err(failed)?;
        let ended = self.wait(&mut child);
        if ended.is_err() {
            // It may have ended by itself meanwhile; either way it is gone when this returns.
            drop(child.kill());
            drop(child.wait());
        }
        let status = ended?;
        if status.success() {
            return into.rewind().map_err(failed);
        }
        let mut text = Vec::new();
        words.rewind().and_then(|()| words.take(WORDS_BYTES).read_to_end(&mut text)).map_err(failed)?;
        Err(judge(status, String::from_utf8_lossy(&text).trim()))
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus, CompileError> {
        let began = Instant::now();
        loop {
            let ended = child.try_wait().map_err(|error| CompileError::Failed(error.to_string()))?;
            if let Some(status) = ended {
                return Ok(status);
            }
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(CompileError::Cancelled);
            }
            if began.elapsed() >= self.limit {
                return Err(CompileError::TooLong(self.limit));
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// A file in memory that goes with its last holder.
pub(super) fn nameless(name: &str) -> std::io::Result<File> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?.into())
}

fn judge(status: ExitStatus, words: &str) -> CompileError {
    if status.code() == Some(i32::from(REFUSED)) {
        return CompileError::Refused(words.strip_prefix("aggregator: ").unwrap_or(words).to_owned());
    }
    // The standard library's last words before it aborts.
    if status.signal().is_some() && words.contains("memory allocation of") {
        return CompileError::TooLarge(MEMORY_BYTES);
    }
    CompileError::Failed(format!("{status}, {words}"))
}
