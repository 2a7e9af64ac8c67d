//! From the bytes of a file to a plugin: version check, compilation, imports, description.
//!
//! Invariant: nothing is compiled before its contract version was read and accepted, and every
//! refusal says what the file is and what it should be.

use wasmparser::{Parser, Payload};
use wasmtime::component::{HasSelf, Linker};

use super::contract::{self, Description, PluginPre, Settings};
use super::engine::{Engine, Limits};
use super::error::{PluginError, Stage};
use super::guest::Guest;
use super::instance::ComponentInstance;
use super::{Instance, Plugin, wasi};

/// The version of the contract in `wit/`.
pub const CONTRACT_VERSION: &str = "0.1.0";
/// The custom section in which the SDK stamps the version that a plugin was built for.
const CONTRACT_SECTION: &str = "aggregator-contract";

/// A compiled component of the contract's world.
pub(super) struct Component {
    pre: PluginPre<Guest>,
    limits: Limits,
    description: Description,
}

impl Component {
    /// Compiles a component, checks its imports and asks it what it is.
    pub(super) fn load(engine: &Engine, file: &str, wasm: &[u8]) -> Result<Self, PluginError> {
        let failed = |stage, reason: String| PluginError::new(file, stage, reason);
        check_version(wasm).map_err(|reason| failed(Stage::Check, reason))?;
        let component = wasmtime::component::Component::new(engine.inner(), wasm)
            .map_err(|error| failed(Stage::Compile, format!("{error:#}")))?;
        check_imports(&component).map_err(|reason| failed(Stage::Check, reason))?;
        let wrong_world = |error: wasmtime::Error| {
            failed(
                Stage::Check,
                format!(
                    "not a component of the world aggregator:plugin/plugin@{CONTRACT_VERSION}: {error:#}"
                ),
            )
        };
        let mut linker = Linker::new(engine.inner());
        contract::Plugin::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)
            .map_err(wrong_world)?;
        wasi::link(&mut linker, &component).map_err(wrong_world)?;
        let pre = linker.instantiate_pre(&component).and_then(PluginPre::new).map_err(wrong_world)?;

        let mut probe = ComponentInstance::new(&pre, engine.limits(), file)?;
        let description = probe.describe()?;
        check_description(&description).map_err(|reason| failed(Stage::Describe, reason))?;
        Ok(Self { pre, limits: engine.limits(), description })
    }
}

impl Plugin for Component {
    fn description(&self) -> &Description {
        &self.description
    }

    fn instantiate(&self, configuration: &str) -> Result<(Box<dyn Instance>, Settings), PluginError> {
        let mut instance = ComponentInstance::new(&self.pre, self.limits, &self.description.name)?;
        let settings = instance.configure(configuration)?;
        Ok((Box::new(instance), settings))
    }
}

/// Reads the contract version from the bytes, without compiling them.
fn check_version(wasm: &[u8]) -> Result<(), String> {
    if !Parser::is_component(wasm) {
        return Err(if Parser::is_core_wasm(wasm) {
            "a core module, not a component; build it with `cargo build --release --target wasm32-wasip2`"
                .to_owned()
        } else {
            "not WebAssembly".to_owned()
        });
    }
    let mut stamped = None;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload {
            Ok(Payload::CustomSection(section)) if section.name() == CONTRACT_SECTION => {
                stamped = Some(String::from_utf8_lossy(section.data()).into_owned());
            }
            Ok(_) => {}
            Err(error) => return Err(format!("damaged: {error}")),
        }
    }
    match stamped {
        None => Err(format!(
            "no contract version in it (custom section {CONTRACT_SECTION}); this host accepts {CONTRACT_VERSION}: build it with the guest SDK"
        )),
        Some(version) if accepts(&version) => Ok(()),
        Some(version) => Err(format!(
            "built for contract {version}; this host accepts 0.1.0 to {CONTRACT_VERSION}: {}",
            "rebuild it with the matching guest SDK, or update the host"
        )),
    }
}

/// Within 0.1.x the contract only grows: any version up to ours will do.
fn accepts(version: &str) -> bool {
    fn parts(version: &str) -> Option<(u32, u32, u32)> {
        let mut numbers = version.trim().splitn(3, '.').map(|n| n.parse().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    }
    let Some((major, minor, patch)) = parts(CONTRACT_VERSION) else {
        return false;
    };
    parts(version).is_some_and(|(a, b, c)| (a, b) == (major, minor) && c <= patch)
}

fn check_imports(component: &wasmtime::component::Component) -> Result<(), String> {
    let engine = component.engine();
    for (name, _) in component.component_type().imports(engine) {
        if !name.starts_with("wasi:") && !name.starts_with("aggregator:plugin/") {
            return Err(format!(
                "imports {name}, which this host does not have; a plugin may import aggregator:plugin/host"
            ));
        }
    }
    Ok(())
}

/// Names that become keys, labels and metric names are held to their alphabets.
fn check_description(description: &Description) -> Result<(), String> {
    let word = |text: &str, max: usize, dash: bool| {
        (1..=max).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || (dash && b == b'-'))
    };
    if !word(&description.name, 64, true) {
        return Err(format!("name {:?} is not of the form [a-z0-9_-]{{1,64}}", description.name));
    }
    let gauges = description.gauges.iter().map(|gauge| &gauge.name);
    let counters = description.counters.iter().map(|counter| &counter.name);
    for name in gauges.chain(counters) {
        if !word(name, 64, false) {
            return Err(format!("metric {name:?} is not of the form [a-z0-9_]{{1,64}}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_up_to_ours_within_the_minor_are_accepted() {
        assert!(accepts("0.1.0"));
        assert!(!accepts("0.1.9"));
        assert!(!accepts("0.2.0"));
        assert!(!accepts("1.1.0"));
        assert!(!accepts("latest"));
    }

    #[test]
    fn what_is_no_component_is_refused_with_words() {
        assert!(check_version(b"text").is_err_and(|words| words.contains("not WebAssembly")));
        assert!(check_version(b"\0asm\x01\0\0\0").is_err_and(|words| words.contains("core module")));
        assert!(
            check_version(b"\0asm\x0d\0\x01\0").is_err_and(|words| words.contains("no contract version"))
        );
    }
}
