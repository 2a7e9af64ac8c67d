//! Builds the default plugin as a component, so that one `cargo` command gives a complete binary.
//!
//! Invariant: the nested cargo has a target directory of its own, since the outer one holds the lock
//! of its own.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

fn main() {
    let workspace = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo")).join("..");
    for watched in [
        "wit",
        "guest-sdk/src",
        "guest-sdk/Cargo.toml",
        "plugins/sliding-window/src",
        "plugins/sliding-window/Cargo.toml",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(watched).display());
    }
    let target_dir = shared_target_dir();
    let status = Command::new(env::var_os("CARGO").expect("set by cargo"))
        .current_dir(&workspace)
        .args(["build", "--release", "--package", "sliding-window", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        // Its lines are for nobody: the binary would carry them, and every start and swap reads them.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        // What the outer cargo sets for the host's own target does not fit the plugin's.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the default plugin could not be built; if the target is missing: rustup target add {TARGET}"
    );
    let component = target_dir.join(TARGET).join("release/sliding_window.wasm");
    println!("cargo::rustc-env=DEFAULT_PLUGIN={}", component.display());
    println!("cargo::rerun-if-changed={}", component.display());
}

/// `target/plugins` beside the host's own artifacts, shared by every build of any profile: `OUT_DIR` is
/// `target/<profile>/build/<package>/out`.
fn shared_target_dir() -> PathBuf {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    out.ancestors().nth(4).unwrap_or(&out).join("plugins")
}
