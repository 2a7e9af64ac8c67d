//! `aggregator plugin new`: a crate that builds, passes its tests, and waits for a metric.
//!
//! The templates are part of the binary. Invariant: nothing that exists is written over, and what is made is a
//! workspace of its own, so that it may lie anywhere, in this checkout too.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::failure::Failure;

/// Where this binary was built; the SDK lies beside it.
const BUILT_FROM: &str = env!("CARGO_MANIFEST_DIR");
/// The toolchain that this binary was built with, which plugins are built with, too.
const TOOLCHAIN: &str = include_str!("../../../rust-toolchain.toml");

/// A file of a template, with its place in the crate.
type File = (&'static str, &'static str);

const SHARED: [File; 3] = [
    ("Cargo.toml", include_str!("templates/shared/Cargo.toml.txt")),
    ("rust-toolchain.toml", include_str!("templates/shared/rust-toolchain.toml.txt")),
    (".gitignore", include_str!("templates/shared/gitignore.txt")),
];
const TRADES: File = ("trades.jsonl", include_str!("templates/shared/trades.jsonl"));
const PANE: [File; 2] = [
    ("src/lib.rs", include_str!("templates/pane/src/lib.rs")),
    ("tests/laws.rs", include_str!("templates/pane/laws.rs")),
];
const RAW: [File; 2] = [
    ("src/lib.rs", include_str!("templates/raw/src/lib.rs")),
    ("tests/laws.rs", include_str!("templates/raw/laws.rs")),
];

/// What kind of plugin it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Template {
    /// A metric over sliding windows: the SDK does the windows.
    Pane,
    /// The contract itself, for what is no window.
    Raw,
}

/// Makes a crate for a new plugin.
#[derive(Debug, Args)]
pub(super) struct New {
    /// The plugin's name, which becomes its directory: a-z, 0-9, - and _, beginning with a letter.
    name: String,
    /// What kind of plugin it becomes.
    #[arg(long, value_enum, default_value_t = Template::Pane)]
    template: Template,
    /// Where the SDK lies. Without it: the checkout that this binary was built from, where that is here, and else
    /// the published SDK of this version.
    #[arg(long)]
    sdk: Option<PathBuf>,
}

/// The crate that was made.
#[derive(Serialize)]
pub(super) struct Made {
    directory: String,
    files: Vec<&'static str>,
    sdk: String,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.directory, self.files.join(", "))?;
        writeln!(f, "SDK: {}", self.sdk)?;
        write!(f, "Next: cd {}, write the metric in src/lib.rs, then: aggregator plugin test", self.directory)
    }
}

impl New {
    pub(super) fn run(&self) -> Result<Made, Failure> {
        check_name(&self.name)?;
        let directory = PathBuf::from(&self.name);
        let dependency = self.dependency()?;
        fs::create_dir(&directory).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::Unusable(format!("{} exists; choose another name or remove it", self.name))
            }
            _ => unwritable(&directory, &error),
        })?;
        let own = match self.template {
            Template::Pane => PANE,
            Template::Raw => RAW,
        };
        let mut files = Vec::new();
        for (path, text) in SHARED.into_iter().chain([TRADES]).chain(own) {
            self.write(&directory.join(path), text, &dependency)?;
            files.push(path);
        }
        Ok(Made { directory: self.name.clone(), files, sdk: dependency })
    }

    /// The SDK as the value of a dependency in Cargo.toml.
    fn dependency(&self) -> Result<String, Failure> {
        if let Some(path) = &self.sdk {
            let sdk = path.canonicalize().ok().filter(|path| is_sdk(path));
            let sdk = sdk.ok_or_else(|| {
                Failure::Unusable(format!(
                    "{} is not the SDK; it is the folder guest-sdk of a checkout",
                    path.display()
                ))
            })?;
            return Ok(by_path(&sdk));
        }
        let beside = Path::new(BUILT_FROM).join("../guest-sdk").canonicalize();
        Ok(match beside.ok().filter(|path| is_sdk(path)) {
            Some(path) => by_path(&path),
            None => format!("{:?}", env!("CARGO_PKG_VERSION")),
        })
    }

    fn write(&self, path: &Path, text: &str, dependency: &str) -> Result<(), Failure> {
        let text = text
            .replace("{{name}}", &self.name)
            .replace("{{crate}}", &self.name.replace('-', "_"))
            .replace("{{type}}", &type_name(&self.name))
            .replace("{{sdk}}", dependency)
            .replace("{{channel}}", channel());
        let folder = path.parent().unwrap_or(path);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(path, text))
            .map_err(|error| unwritable(path, &error))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Unavailable(format!("cannot write {}: {error}", path.display()))
}

fn is_sdk(path: &Path) -> bool {
    fs::read_to_string(path.join("Cargo.toml")).is_ok_and(|text| text.contains("name = \"aggregator-sdk\""))
}

fn by_path(path: &Path) -> String {
    format!("{{ path = {:?} }}", path.display().to_string())
}

/// A name that a plugin, a crate and a directory can have.
fn check_name(name: &str) -> Result<(), Failure> {
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if !begins || !crate::plugin::is_name(name) || name.len() > 32 {
        return Err(Failure::Unusable(format!(
            "{name:?} cannot be a plugin's name; use 1 to 32 of a-z, 0-9, - and _, beginning with a letter"
        )));
    }
    let taken = crate::plugin::same_name(name, crate::plugin::catalog::DEFAULT_NAME);
    if taken || matches!(name, "test" | "aggregator-sdk" | "aggregator_sdk" | "core" | "std" | "alloc") {
        return Err(Failure::Unusable(format!("{name:?} is taken; choose another name")));
    }
    Ok(())
}

/// `my-metric` as a type: `MyMetric`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(usize::from(!word.is_empty()));
        first.to_ascii_uppercase() + rest
    };
    name.split(['-', '_']).map(capital).collect()
}

/// The toolchain's channel.
fn channel() -> &'static str {
    let line = TOOLCHAIN.lines().find_map(|line| line.strip_prefix("channel = \""));
    line.and_then(|rest| rest.strip_suffix('"')).unwrap_or("stable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_types_and_paths_are_no_names() {
        assert_eq!(type_name("my-new_metric2"), "MyNewMetric2");
        for name in ["", "9lives", "-a", "../a", "a/b", "A", "std", "sliding_window", &"a".repeat(33)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name("my-metric").is_ok());
    }

    #[test]
    fn plugins_are_built_with_the_toolchain_of_this_checkout() {
        assert!(channel().starts_with("1."), "{}", channel());
    }
}
