//! `aggregator plugin new`: a folder that builds, passes its tests, and waits for a metric.
//!
//! The templates are part of the binary. Invariant: nothing that exists is written over, and what is made stands on its
//! own (a crate is a workspace), so that it may lie anywhere, in this checkout too.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::failure::Failure;
use super::languages;
use crate::plugin::CONTRACT_VERSION;

/// Where this binary was built; the SDK lies beside it.
const BUILT_FROM: &str = env!("CARGO_MANIFEST_DIR");
/// The toolchain that this binary was built with, which plugins are built with, too.
const TOOLCHAIN: &str = include_str!("../../../rust-toolchain.toml");

/// A file of a template, with its place in the folder.
pub(super) type File = (&'static str, &'static str);

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

/// What it is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    /// The fastest, and the only one with the raw level.
    Rust,
    /// A trade costs some three times what it costs in Rust.
    Go,
    /// On QuickJS: a trade costs more than a hundred times what it costs in Rust.
    #[value(alias = "js")]
    Javascript,
    /// On CPython: large, slow to compile, and a trade costs some two hundred times what it costs in Rust.
    #[value(alias = "py")]
    Python,
}

/// What kind of plugin it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Template {
    /// A metric over sliding windows: the SDK does the windows.
    Pane,
    /// The contract itself, for what is no window.
    Raw,
}

/// Makes a folder for a new plugin.
#[derive(Debug, Args)]
pub(super) struct New {
    /// The plugin's name, which becomes its directory: a-z, 0-9, - and _, beginning with a letter.
    name: String,
    /// What it is written in.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    language: Language,
    /// What kind of plugin it becomes; for Rust.
    #[arg(long, value_enum, default_value_t = Template::Pane)]
    template: Template,
    /// Where the SDK lies; for Rust. Without it: the checkout that this binary was built from, where that is here, and else
    /// the published SDK of this version.
    #[arg(long)]
    sdk: Option<PathBuf>,
}

/// The folder that was made.
#[derive(Serialize)]
pub(super) struct Made {
    directory: String,
    files: Vec<&'static str>,
    /// What the crate depends on; other languages have their SDK in the folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    sdk: Option<String>,
    /// Where the metric is written.
    metric: &'static str,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.directory, self.files.join(", "))?;
        if let Some(sdk) = &self.sdk {
            writeln!(f, "SDK: {sdk}")?;
        }
        let Self { directory, metric, .. } = self;
        write!(f, "Next: cd {directory}, write the metric in {metric}, then: aggregator plugin test")
    }
}

impl New {
    pub(super) fn run(&self) -> Result<Made, Failure> {
        check_name(&self.name)?;
        let directory = PathBuf::from(&self.name);
        let (own, sdk) = self.files()?;
        fs::create_dir(&directory).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::Unusable(format!("{} exists; choose another name or remove it", self.name))
            }
            _ => unwritable(&directory, &error),
        })?;
        let mut files = Vec::new();
        for &(path, text) in own.iter().chain([&TRADES]) {
            self.write(&directory.join(path), text, sdk.as_deref().unwrap_or_default())?;
            files.push(path);
        }
        let metric = match self.language {
            Language::Rust => "src/lib.rs",
            _ => own.first().map_or("plugin.json", |(path, _)| path),
        };
        Ok(Made { directory: self.name.clone(), files, sdk, metric })
    }

    /// The files of the language, and for Rust the SDK as the value of a dependency.
    fn files(&self) -> Result<(Vec<File>, Option<String>), Failure> {
        let others: &[File] = match self.language {
            Language::Rust => {
                let own = match self.template {
                    Template::Pane => PANE,
                    Template::Raw => RAW,
                };
                let files = SHARED.into_iter().chain(own).collect();
                return Ok((files, Some(self.dependency()?)));
            }
            Language::Go => &languages::GO,
            Language::Javascript => &languages::JAVASCRIPT,
            Language::Python => &languages::PYTHON,
        };
        if self.template == Template::Raw || self.sdk.is_some() {
            return Err(Failure::Unusable("--template raw and --sdk are for Rust".to_owned()));
        }
        Ok((others.to_vec(), None))
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
            .replace("{{contract}}", CONTRACT_VERSION)
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

/// Names that no crate can have: those of crates that are there already, and words of the language.
#[rustfmt::skip]
const OTHERS: &[&str] = &[
    "aggregator-sdk", "aggregator_sdk", "alloc", "core", "proc-macro", "proc_macro", "std", "test",
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// A name that a plugin, a crate and a directory can have.
fn check_name(name: &str) -> Result<(), Failure> {
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if !begins || !crate::plugin::is_name(name) || name.len() > 32 {
        return Err(Failure::Unusable(format!(
            "{name:?} cannot be a plugin's name; use 1 to 32 of a-z, 0-9, - and _, beginning with a letter"
        )));
    }
    let taken = crate::plugin::same_name(name, crate::plugin::catalog::DEFAULT_NAME);
    if taken || OTHERS.contains(&name) {
        return Err(Failure::Unusable(format!("{name:?} is taken; choose another name")));
    }
    Ok(())
}

/// `my-metric` as a type: `MyMetric`; `trade` as `TradeMetric`, since other types have that name.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(usize::from(!word.is_empty()));
        first.to_ascii_uppercase() + rest
    };
    let name: String = name.split(['-', '_']).map(capital).collect();
    if name.ends_with("Metric") { name } else { name + "Metric" }
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
        assert_eq!(type_name("my-new_metric"), "MyNewMetric");
        assert_eq!(type_name("trade"), "TradeMetric");
        for name in
            ["", "9lives", "-a", "../a", "a/b", "A", "std", "match", "sliding_window", &"a".repeat(33)]
        {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name("my-metric").is_ok());
    }

    #[test]
    fn plugins_are_built_with_the_toolchain_of_this_checkout() {
        assert!(channel().starts_with("1."), "{}", channel());
    }
}
