//! The service, or a program that stands in for it, as a child process.
//!
//! The invariant: a host does not outlive its value, and a test that panics shows the host's last lines.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::host_log::HostLog;
use crate::http::{self, Answer};
use crate::process::{self, Usage};
use crate::settings::Settings;
use crate::{metrics, paths, ports, wait};

/// How long a host may take to become ready on a machine that has other work.
pub const READY_LIMIT: Duration = Duration::from_secs(60);
/// How many of a host's lines a panicking test shows.
const SHOWN_LINES: usize = 60;

/// A running host.
pub struct Host {
    child: Child,
    port: u16,
    log: HostLog,
    started: Instant,
    /// Where it runs, so that no `.env` and no plugin of somebody else's is found.
    _directory: TempDir,
}

/// How a host ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit status.
    pub status: ExitStatus,
    /// Everything it wrote.
    pub output: String,
    /// From the moment of asking until its end.
    pub took: Duration,
}

impl Host {
    /// Starts the service.
    ///
    /// # Errors
    /// Fails where it has not been built, naming the command.
    pub fn start(settings: &Settings) -> Result<Self> {
        Self::start_program(&paths::aggregator()?, &[], settings)
    }

    /// Starts the service and waits until it is ready.
    ///
    /// # Errors
    /// Fails where it has not been built or does not become ready.
    pub fn start_ready(settings: &Settings) -> Result<Self> {
        let host = Self::start(settings)?;
        host.wait_ready(READY_LIMIT)?;
        Ok(host)
    }

    /// Starts a program that understands the service's variables. A free port is chosen where none is set.
    ///
    /// # Errors
    /// Fails where the program cannot be started.
    pub fn start_program(program: &Path, arguments: &[&str], settings: &Settings) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("aggregator-host-").tempdir()?;
        let port = match settings.get("METRICS_PORT") {
            Some(port) => port.parse().with_context(|| format!("METRICS_PORT is {port}"))?,
            None => ports::free(),
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(directory.path())
            .env_clear()
            .env("PATH", paths::variable("PATH").unwrap_or_default())
            .env("PLUGIN_CACHE_DIR", paths::kept("plugin-cache")?)
            .env("METRICS_PORT", port.to_string())
            .envs(settings.iter())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let mut log = HostLog::default();
        log.read(child.stdout.take().context("the host has no output")?);
        log.read(child.stderr.take().context("the host has no error output")?);
        Ok(Self { child, port, log, started: Instant::now(), _directory: directory })
    }

    /// The port on which it serves HTTP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Reads a path over HTTP.
    ///
    /// # Errors
    /// Fails where it does not answer.
    pub fn get(&self, path: &str) -> Result<Answer> {
        http::get(self.port, path)
    }

    /// Reads a path over HTTP as JSON, whatever the status.
    ///
    /// # Errors
    /// Fails where it does not answer or not with JSON.
    pub fn json(&self, path: &str) -> Result<Value> {
        self.get(path)?.json()
    }

    /// Reads one series of `/metrics`; none where the host does not answer or has none such.
    pub fn metric(&self, series: &str) -> Option<f64> {
        metrics::value(&self.get("/metrics").ok()?.body, series)
    }

    /// Waits until `/health/ready` answers 200.
    ///
    /// # Errors
    /// Fails when the limit has passed, with the last answer.
    pub fn wait_ready(&self, limit: Duration) -> Result<()> {
        let mut last = String::from("no answer");
        wait::until_true("the host to be ready", limit, || match self.get("/health/ready") {
            Ok(answer) => {
                last = answer.body;
                answer.status == 200
            }
            Err(_) => false,
        })
        .context(last)
    }

    /// Waits until a series of `/metrics` has a value that `accept` likes, and returns it.
    ///
    /// # Errors
    /// Fails when the limit has passed, with the last value.
    pub fn wait_metric(&self, series: &str, limit: Duration, accept: impl Fn(f64) -> bool) -> Result<f64> {
        let mut last = None;
        wait::until(series, limit, || {
            last = self.metric(series);
            last.filter(|&value| accept(value))
        })
        .with_context(|| format!("the last value was {last:?}"))
    }

    /// Waits for a line of its output that contains `text`.
    ///
    /// # Errors
    /// Fails when the limit has passed.
    pub fn wait_line(&self, text: &str, limit: Duration) -> Result<String> {
        self.log.wait_for(text, limit)
    }

    /// Its log lines so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.objects()
    }

    /// Sends a signal; a host that is gone does not mind.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).ok();
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// Fails where it is gone.
    pub fn usage(&self) -> Result<Usage> {
        process::usage(self.child.id())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Fails when the limit has passed.
    pub fn wait_end(&mut self, limit: Duration) -> Result<Ended> {
        let asked = Instant::now();
        let child = &mut self.child;
        let status = wait::until("the host to end", limit, || child.try_wait().ok().flatten())?;
        let took = asked.elapsed();
        self.log.join();
        Ok(Ended { status, output: self.log.lines().join("\n"), took })
    }

    /// Asks it to end in order and waits for that.
    ///
    /// # Errors
    /// Fails when the limit has passed.
    pub fn stop(&mut self, limit: Duration) -> Result<Ended> {
        self.signal(Signal::SIGTERM);
        self.wait_end(limit)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            self.log.join();
            let lines = self.log.lines();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            #[expect(clippy::print_stderr, reason = "a failing test shows what the host said")]
            {
                eprintln!("--- last lines of the host ---\n{}", shown.join("\n"));
            }
        }
    }
}
