//! Where the build puts what the tests start.
//!
//! Everything is found from the running program's own place, so that another target directory needs no setting. The
//! only home of environment variables here. The invariant: what is missing is named with the command that makes it.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// The directory of this profile's programs, such as `target/release`.
///
/// # Errors
/// Fails where the system does not tell the program's path.
pub fn programs() -> Result<PathBuf> {
    let program = std::env::current_exe().context("asking for the path of this program")?;
    let mut directory = program.parent().context("this program lies in no directory")?;
    // Test binaries lie one level deeper than programs.
    if directory.ends_with("deps") {
        directory = directory.parent().context("deps lies in no directory")?;
    }
    Ok(directory.to_owned())
}

/// The build directory, such as `target`.
///
/// # Errors
/// Fails where the system does not tell the program's path.
pub fn target() -> Result<PathBuf> {
    let programs = programs()?;
    Ok(programs.parent().context("the profile's directory lies in no directory")?.to_owned())
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A program of this workspace.
///
/// # Errors
/// Fails where it has not been built, naming the command.
pub fn program(name: &str, build: &str) -> Result<PathBuf> {
    let path = programs()?.join(name);
    ensure!(path.exists(), "{} is missing; build it with: {build}", path.display());
    Ok(path)
}

/// The service.
///
/// # Errors
/// Fails where it has not been built, naming the command.
pub fn aggregator() -> Result<PathBuf> {
    program("aggregator", "cargo build --release -p aggregator")
}

/// A plugin's component.
///
/// # Errors
/// Fails where it has not been built, naming the command.
pub fn component(name: &str) -> Result<PathBuf> {
    let path = target()?.join("plugins/wasm32-wasip2/release").join(format!("{name}.wasm"));
    ensure!(path.exists(), "{} is missing; tests/run builds it", path.display());
    Ok(path)
}

/// The directory with the broker's jars; the variable `KAFKA_LIBS` names another.
///
/// # Errors
/// Fails where there are none, naming the command.
pub fn broker_jars() -> Result<PathBuf> {
    let path = match variable("KAFKA_LIBS") {
        Some(path) => PathBuf::from(path),
        None => target()?.join("broker/libs"),
    };
    let present = path.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    ensure!(present, "no broker jars in {}; tests/run fetches them", path.display());
    Ok(path)
}

/// The checker of alert rules; the variable `PROMTOOL` names another.
///
/// # Errors
/// Fails where there is none, naming the command.
pub fn promtool() -> Result<PathBuf> {
    let path = match variable("PROMTOOL") {
        Some(path) => PathBuf::from(path),
        None => target()?.join("promtool/promtool"),
    };
    ensure!(path.exists(), "{} is missing; tests/run fetches it", path.display());
    Ok(path)
}

/// A directory that is kept from run to run.
///
/// # Errors
/// Fails where it cannot be made.
pub fn kept(name: &str) -> Result<PathBuf> {
    let path = target()?.join("tests").join(name);
    std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    Ok(path)
}

/// An environment variable, where it is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the one home of environment variables in this crate")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
