//! `aggregator plugin doctor`: what building a plugin needs, and how to get what is missing.
//!
//! Invariant: every problem comes with its remedy; nothing is changed without `--fix`.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;
use serde::Serialize;

use super::building::TARGET;
use super::failure::Failure;
use super::manifest::{self, Manifest};
use crate::config::Config;
use crate::plugin::catalog::{DEFAULT_COMPONENT, DEFAULT_NAME};
use crate::plugin::{CONTRACT_VERSION, Loader};

/// Looks at this machine.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Installs the target where rustup is here and the target is not.
    #[arg(long)]
    fix: bool,
}

/// What was found.
#[derive(Serialize)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    fine: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn of(what: &'static str, found: Result<String, String>, remedy: &str) -> Self {
        let fine = found.is_ok();
        let found = found.unwrap_or_else(|words| words);
        Self { what, fine, found, remedy: (!fine).then(|| remedy.to_owned()) }
    }
}

impl Report {
    /// Fails where something is missing.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        match self.findings.iter().filter(|finding| !finding.fine).count() {
            0 => Ok(()),
            missing => Err(Failure::Verdict(format!("{missing} of {} are not fine", self.findings.len()))),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let word = if finding.fine { "ok" } else { "MISSING" };
            writeln!(f, "{:<10} {word:<8} {}", finding.what, finding.found)?;
            if let Some(remedy) = &finding.remedy {
                writeln!(f, "{:19} remedy: {remedy}", "")?;
            }
        }
        Ok(())
    }
}

impl Doctor {
    pub(super) fn run(&self, config: &Config) -> Result<Report, Failure> {
        let manifest = Manifest::read(Path::new("."))?;
        if self.fix && manifest.is_none() && target().is_err() {
            // Where that fails, the target is among what is missing below.
            said(Command::new("rustup").args(["target", "add", TARGET])).ok();
        }
        let mut findings = match &manifest {
            Some(manifest) => needed_by(manifest),
            None => rust(),
        };
        findings.extend([
            Finding::of("engine", engine(config), "the words beside it say what; it is the service's own"),
            Finding::of("contract", Ok(format!("{CONTRACT_VERSION}, and everything since 0.1.0")), ""),
        ]);
        Ok(Report { findings })
    }
}

/// What a plugin in Rust needs.
fn rust() -> Vec<Finding> {
    vec![
        Finding::of("cargo", said(Command::new("cargo").arg("--version")), "install Rust: https://rustup.rs"),
        Finding::of("rustc", rustc(), &format!("rustup update; the SDK needs Rust {}", needed())),
        Finding::of("target", target(), &format!("rustup target add {TARGET}")),
    ]
}

/// What the manifest of this folder needs.
fn needed_by(manifest: &Manifest) -> Vec<Finding> {
    let mut findings: Vec<Finding> = manifest.programs().into_iter().map(program).collect();
    if manifest.build.iter().any(|step| step.run.iter().any(|word| word == "venv")) {
        // Some systems have it in a package of its own, without which the module is there and fails.
        let found = said(Command::new("python3").args(["-c", "import ensurepip; print('with pip')"]));
        findings.push(Finding::of("venv", found, "install Python's venv, as with: apt install python3-venv"));
    }
    findings
}

/// Whether a program of the manifest is there.
fn program(name: &str) -> Finding {
    // Not every program knows the question; it is there all the same.
    let found = match Command::new(name).arg("--version").stdin(Stdio::null()).output() {
        Err(error) => Err(format!("{name}: {error}")),
        Ok(said) if said.status.success() => Ok(format!(
            "{name}: {}",
            String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or_default()
        )),
        Ok(_) => Ok(name.to_owned()),
    };
    Finding::of("program", found, &format!("install {name}: {} runs it", manifest::FILE))
}

/// Runs a program; gives the first line that it says.
fn said(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let first = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned();
    if output.status.success() { Ok(first(&output.stdout)) } else { Err(first(&output.stderr)) }
}

fn needed() -> &'static str {
    env!("CARGO_PKG_RUST_VERSION")
}

fn rustc() -> Result<String, String> {
    let version = said(Command::new("rustc").arg("--version"))?;
    let numbers = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let own = version.split(' ').nth(1).and_then(numbers);
    if own >= numbers(needed()) { Ok(version) } else { Err(version) }
}

/// Whether the standard library of the target is here, for the toolchain of this directory.
fn target() -> Result<String, String> {
    let place = said(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))?;
    if Path::new(&place).is_dir() { Ok(TARGET.to_owned()) } else { Err(format!("no {TARGET} in {place}")) }
}

/// Whether this program can compile and run a component.
fn engine(config: &Config) -> Result<String, String> {
    let loader = Loader::new(&config.plugins, None).map_err(|error| error.to_string())?;
    let name = loader.name(DEFAULT_NAME, DEFAULT_COMPONENT).map_err(|error| error.to_string())?;
    Ok(format!("runs {name}"))
}
