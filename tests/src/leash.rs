//! Child processes that die with this process, however it ends.
//!
//! A shell stands between: it starts the program, waits for its own standard input to close, and then kills the
//! program and removes its directory. A static server is thereby cleaned up although statics are never dropped, and
//! so is one whose test process was killed. The invariant: no server outlives the tests.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// `$1`: the file for the program's output; `$2`: the directory to remove, or nothing; the rest: the program.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
log=$1 remove=$2; shift 2
"$@" </dev/null >>"$log" 2>&1 &
child=$!
echo "$child"
exec >/dev/null
read -r word
kill -9 "$child" 2>/dev/null
wait "$child"
if [ -n "$remove" ] && [ "$word" != keep ]; then rm -rf "$remove"; fi
"#;

/// A running program.
pub(crate) struct Leash {
    shell: Child,
    /// Open while the program shall live.
    hold: Option<ChildStdin>,
    pid: Pid,
}

impl Leash {
    /// Starts a program whose output goes to `log`; `remove` is deleted after its end.
    pub(crate) fn start(program: &[String], log: &Path, remove: Option<&Path>) -> Result<Self> {
        let name = program.first().map_or("", String::as_str);
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "leash"])
            .arg(log)
            .arg(remove.unwrap_or(Path::new("")))
            .args(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting sh for {name}"))?;
        let hold = shell.stdin.take();
        let mut line = String::new();
        let output = shell.stdout.take().context("the shell has no output")?;
        BufReader::new(output).read_line(&mut line).with_context(|| format!("starting {name}"))?;
        let pid = line.trim().parse().with_context(|| format!("{name} has no process id"))?;
        Ok(Self { shell, hold, pid: Pid::from_raw(pid) })
    }

    /// Sends a signal; a program that is gone does not mind.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid, signal).ok();
    }

    /// Kills the program without warning; its directory stays until the leash is dropped.
    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Leaves the directory behind, for the next program that is started in it. Ends this one.
    pub(crate) fn let_go(&mut self) {
        if let Some(mut hold) = self.hold.take() {
            writeln!(hold, "keep").ok();
        }
        self.shell.wait().ok();
    }

    /// The program's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw() as u32
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.hold.take());
        self.shell.wait().ok();
    }
}
