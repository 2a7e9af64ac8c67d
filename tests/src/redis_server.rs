//! A real Redis as a child process; each test has its own, since key names are fixed.
//!
//! The invariant: nothing is written outside the server's own directory, and without persistence a restart is empty.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::leash::Leash;
use crate::proxy::Proxy;
use crate::{ports, wait};

const START_LIMIT: Duration = Duration::from_secs(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Whether a server remembers what was written when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Nothing.
    Volatile,
    /// All but about the last second (append-only file, synced every second).
    EverySecond,
}

/// A server, running or killed.
pub struct RedisServer {
    port: u16,
    memory: Memory,
    leash: Option<Leash>,
    directory: TempDir,
    /// What hosts connect to, where it is not the server itself.
    proxy: Option<Proxy>,
    /// What the server is told besides.
    further: Vec<String>,
}

impl RedisServer {
    /// Starts a server that forgets everything at its end.
    ///
    /// # Errors
    /// Fails where redis-server is missing, naming the command, or does not come up.
    pub fn start() -> Result<Self> {
        Self::start_with(Memory::Volatile)
    }

    /// Starts a server.
    ///
    /// # Errors
    /// Fails where redis-server is missing, naming the command, or does not come up.
    pub fn start_with(memory: Memory) -> Result<Self> {
        ensure!(
            Command::new("redis-server").arg("--version").output().is_ok(),
            "redis-server is missing; install it with: apt-get install redis-server"
        );
        let directory = tempfile::Builder::new().prefix("aggregator-redis-").tempdir()?;
        let (port, further) = (ports::free(), Vec::new());
        let mut server = Self { port, memory, leash: None, directory, proxy: None, further };
        server.restart()?;
        Ok(server)
    }

    /// Starts a server behind a proxy, which hosts are led to.
    ///
    /// # Errors
    /// Fails where redis-server is missing, naming the command, or does not come up.
    pub fn start_proxied(memory: Memory) -> Result<Self> {
        let mut server = Self::start_with(memory)?;
        server.proxy = Some(Proxy::start(server.port)?);
        Ok(server)
    }

    /// Starts a server that also speaks TLS, behind a proxy, which hosts are led to. `user` is a user with
    /// password and rights, as `ACL SETUSER` takes it.
    ///
    /// # Errors
    /// Fails where redis-server is missing, naming the command, or does not come up.
    pub fn start_encrypted(certificate: &Path, key: &Path, user: &str) -> Result<Self> {
        let mut server = Self::start()?;
        let port = ports::free();
        let option = |name: &str, value: &str| [format!("--{name}"), value.to_owned()];
        server.further = [
            option("tls-port", &port.to_string()),
            option("tls-cert-file", &certificate.display().to_string()),
            option("tls-key-file", &key.display().to_string()),
            option("tls-ca-cert-file", &certificate.display().to_string()),
            option("tls-auth-clients", "no"),
        ]
        .concat();
        server.further.push("--user".to_owned());
        server.further.extend(user.split_whitespace().map(str::to_owned));
        server.restart()?;
        server.proxy = Some(Proxy::start(port)?);
        Ok(server)
    }

    /// The link that hosts come over.
    ///
    /// # Panics
    /// Panics where the server was started without a proxy.
    pub fn link(&self) -> &Proxy {
        self.proxy.as_ref().expect("a redis that was started behind a proxy")
    }

    /// Starts the server again, on its old port and directory, and waits until it answers.
    ///
    /// # Errors
    /// Fails where it does not come up.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let append = if self.memory == Memory::EverySecond { "yes" } else { "no" };
        let directory = self.directory.path();
        let port = self.port.to_string();
        let path = directory.display().to_string();
        let command = ["redis-server", "--port", &port, "--bind", "127.0.0.1", "--dir", &path, "--save", ""];
        let persistence = ["--appendonly", append, "--appendfsync", "everysec"];
        let words = command.iter().chain(&persistence).map(|&word| word.to_owned());
        let command: Vec<String> = words.chain(self.further.iter().cloned()).collect();
        self.leash = Some(Leash::start(&command, &directory.join("redis.log"), None)?);
        wait::until("redis to answer", START_LIMIT, || {
            let mut connection = self.connect().ok()?;
            redis::cmd("PING").exec(&mut connection).ok()
        })
    }

    /// Kills the server without warning.
    pub fn kill(&mut self) {
        self.leash = None;
    }

    /// Sends the server's process a signal, such as a stop and a continue.
    pub fn signal(&self, signal: Signal) {
        if let Some(leash) = &self.leash {
            leash.signal(signal);
        }
    }

    /// The server's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.leash.as_ref().map(Leash::pid)
    }

    /// The address for a host, `host:port`: the proxy's where there is one.
    pub fn address(&self) -> String {
        self.proxy.as_ref().map_or_else(|| format!("127.0.0.1:{}", self.port), Proxy::address)
    }

    /// Writes everything to the disk, so that the next start begins with this state.
    ///
    /// # Errors
    /// Fails where the server does not answer.
    pub fn save(&self) -> Result<()> {
        redis::cmd("SAVE").exec(&mut self.connect()?).context("asking redis to save")
    }

    /// Connects to the server, without a proxy.
    ///
    /// # Errors
    /// Fails where it does not answer.
    pub fn connect(&self) -> Result<redis::Connection> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port))?;
        let connection = client.get_connection_with_timeout(ANSWER_LIMIT).context("connecting to redis")?;
        connection.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(connection)
    }
}
