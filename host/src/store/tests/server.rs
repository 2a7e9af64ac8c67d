//! A Redis server of the test's own, as a child process.
//!
//! Invariant: it ends with the value that holds it, also when the test fails.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::config;
use crate::store::Store;

static STARTED: AtomicU32 = AtomicU32::new(0);

/// A running server without persistence.
pub(super) struct Server {
    process: Option<Child>,
    pub(super) port: u16,
    dir: PathBuf,
    options: Vec<String>,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with further options; `{dir}` in them is its directory.
    pub(super) fn with(options: &[&str]) -> Self {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("store-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let shown = dir.display().to_string();
        let options = options.iter().map(|option| option.replace("{dir}", &shown)).collect();
        let mut server = Self { process: None, port: free_port(number), dir, options };
        server.run();
        server
    }

    /// Starts the process, on the same port as before.
    pub(super) fn run(&mut self) {
        let port = self.port.to_string();
        let spawned = Command::new("redis-server")
            .args(["--port", &port, "--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--dir"])
            .arg(&self.dir)
            .args(&self.options)
            .stdout(Stdio::null())
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) => panic!("redis-server: {error}; install it: apt-get install redis-server"),
        };
        self.process = Some(child);
    }

    /// Kills the process with SIGKILL.
    pub(super) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Sends a signal: `STOP` or `CONT`.
    pub(super) fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success());
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn config(&self) -> config::Redis {
        let url = format!("redis://127.0.0.1:{}/0", self.port);
        config::Redis {
            display: url.clone(),
            url,
            tls_ca: None,
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            pool_size: 2,
        }
    }

    /// A store on this server, which may still be starting; the first call waits for it.
    pub(super) fn store(&self) -> Store {
        self.wait();
        Store::redis(&self.config()).unwrap()
    }

    /// Waits until the port is open.
    pub(super) fn wait(&self) {
        for _ in 0..1_000 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server did not open port {} within 10 s", self.port);
    }

    /// A connection that tests look at the server with.
    pub(super) fn raw(&self) -> redis::Connection {
        redis::Client::open(self.config().url).unwrap().get_connection().unwrap()
    }
}

/// A port that no other server of this process has, and no client: the system serves those from 32768 on.
fn free_port(number: u32) -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 10_000;
    let start = std::process::id().wrapping_mul(97).wrapping_add(number.wrapping_mul(7));
    let ports = (0..7).map(|step| (FIRST + start.wrapping_add(step) % COUNT) as u16);
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.into_iter().find(free).expect("one of seven ports to be free")
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
        drop(std::fs::remove_dir_all(&self.dir));
    }
}
