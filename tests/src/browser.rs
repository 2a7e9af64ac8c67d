//! A real browser without a window: Chromium, told what to do over chromedriver's WebDriver protocol.
//!
//! Plain HTTP and JSON, no further crate. Chromium hangs on a pipe of the driver, so that it ends with it. The
//! invariant: no browser outlives its value.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::leash::Leash;
use crate::{http, ports, wait};

const START_LIMIT: Duration = Duration::from_secs(30);
/// What the protocol calls the key of an element's reference.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window.
pub struct Browser {
    port: u16,
    session: String,
    /// Dropped after the session has ended.
    _driver: Leash,
    _directory: TempDir,
}

impl Browser {
    /// Starts one.
    ///
    /// # Errors
    /// Fails where Chromium or its driver is missing, naming the command, or does not come up.
    pub fn start() -> Result<Self> {
        for program in ["chromium", "chromedriver"] {
            ensure!(
                Command::new(program).arg("--version").output().is_ok(),
                "{program} is missing; install it with: apt-get install chromium chromium-driver"
            );
        }
        let directory = tempfile::Builder::new().prefix("aggregator-browser-").tempdir()?;
        let port = ports::free();
        let program = ["chromedriver".to_owned(), format!("--port={port}")];
        let driver = Leash::start(&program, &directory.path().join("driver.log"), None)?;
        wait::until_true("chromedriver to answer", START_LIMIT, || {
            http::send_kept("GET", port, "/status", "").is_ok_and(|answer| answer.status == 200)
        })?;
        let profile = directory.path().join("profile");
        let arguments = json!([
            "--headless",
            "--no-sandbox",
            "--remote-debugging-pipe",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--disable-sync",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--window-size=1280,900",
            format!("--user-data-dir={}", profile.display()),
        ]);
        let options = json!({"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}});
        let mut browser = Self { port, session: String::new(), _driver: driver, _directory: directory };
        let session = browser.ask("POST", "/session", &json!({"capabilities": options}))?;
        let id = session["sessionId"].as_str().context("a session without an id")?;
        browser.session = format!("/session/{id}");
        Ok(browser)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let answer = http::send_kept(method, self.port, path, &body)?;
        let value = answer.json()?["value"].clone();
        if answer.status != 200 {
            bail!("{method} {path}: {}", value["message"].as_str().unwrap_or(&answer.body));
        }
        Ok(value)
    }

    fn tell(&self, command: &str, body: &Value) -> Result<Value> {
        self.ask("POST", &format!("{}/{command}", self.session), body)
    }

    /// Opens an address.
    ///
    /// # Errors
    /// Fails where it cannot be loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.tell("url", &json!({"url": url})).map(drop)
    }

    /// Makes the window so wide and so high.
    ///
    /// # Errors
    /// Fails where the browser does not answer.
    pub fn resize(&self, width: u32, height: u32) -> Result<()> {
        self.tell("window/rect", &json!({"width": width, "height": height})).map(drop)
    }

    /// Clicks the first element that a selector finds.
    ///
    /// # Errors
    /// Fails where there is none, or where it cannot be clicked by a person.
    pub fn click(&self, selector: &str) -> Result<()> {
        let found = self.tell("element", &json!({"using": "css selector", "value": selector}))?;
        let element = found[ELEMENT].as_str().with_context(|| format!("no {selector}"))?;
        self.tell(&format!("element/{element}/click"), &json!({})).map(drop)
    }

    /// Gives what an expression of the page's own script is.
    ///
    /// # Errors
    /// Fails where it throws.
    pub fn value(&self, expression: &str) -> Result<Value> {
        self.tell("execute/sync", &json!({"script": format!("return {expression}"), "args": []}))
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// Fails when the limit has passed, with the page's text.
    pub fn wait(&self, expression: &str, limit: Duration) -> Result<()> {
        let mut last = String::new();
        wait::until_true(expression, limit, || match self.value(expression) {
            Ok(value) => value == Value::Bool(true),
            Err(error) => {
                last = error.to_string();
                false
            }
        })
        .with_context(|| format!("{last}\n{}", self.value("document.body.innerText").unwrap_or_default()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            self.ask("DELETE", &self.session, &Value::Null).ok();
        }
    }
}
