//! From the bytes of a component to a plugin: version check, imports, description.
//!
//! Invariant: nothing is compiled before its contract version was read and accepted, and every
//! refusal says what the file is and what it should be.

use wasmparser::{Chunk, Parser, Payload};
use wasmtime::component::{HasSelf, Linker};

use super::contract::{self, Description, PluginPre, Settings};
use super::engine::{Engine, Limits};
use super::error::{PluginError, Stage};
use super::guest::Guest;
use super::instance::ComponentInstance;
use super::refusal::{Cause, Refusal};
use super::{Instance, Plugin, wasi};

/// The version of the contract in `wit/`.
pub const CONTRACT_VERSION: &str = "0.1.0";
/// The custom section in which the SDK stamps the version that a plugin was built for.
pub(super) const CONTRACT_SECTION: &str = "aggregator-contract";

/// What is wrong, before it is said of which plugin.
pub(super) type Fault = (Cause, String);

/// A compiled component of the contract's world.
pub(super) struct Component {
    pre: PluginPre<Guest>,
    limits: Limits,
    description: Description,
}

impl Component {
    /// Checks what a compiled component imports and exports, and asks it what it is.
    pub(super) fn link(
        engine: &Engine,
        file: &str,
        component: &wasmtime::component::Component,
    ) -> Result<Self, Refusal> {
        let refuse = |stage, (cause, reason): Fault| Refusal::new(file, stage, cause, reason);
        check_imports(component).map_err(|fault| refuse(Stage::Check, fault))?;
        let other_world = |error: wasmtime::Error| {
            let words = format!(
                "not a component of the world aggregator:plugin/plugin@{CONTRACT_VERSION}: {error:#}"
            );
            refuse(Stage::Check, (Cause::OtherWorld, words))
        };
        let mut linker = Linker::new(engine.inner());
        contract::Plugin::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)
            .map_err(other_world)?;
        wasi::link(&mut linker, component).map_err(other_world)?;
        let pre = linker.instantiate_pre(component).and_then(PluginPre::new).map_err(other_world)?;

        let mut probe =
            ComponentInstance::new(&pre, engine.limits(), file).map_err(|error| Refusal::of_fault(&error))?;
        let description = probe.describe().map_err(|error| Refusal::of_fault(&error))?;
        check_description(&description)
            .map_err(|words| refuse(Stage::Describe, (Cause::Description, words)))?;
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
pub(super) fn check_version(wasm: &[u8]) -> Result<(), Fault> {
    if !Parser::is_component(wasm) {
        let words = match (Parser::is_core_wasm(wasm), b"\0asm".starts_with(wasm.get(..4).unwrap_or(wasm))) {
            (true, _) => "a core module, not a component",
            (false, true) if wasm.len() < 8 => {
                return Err((Cause::Incomplete, "the file ends too early".to_owned()));
            }
            (false, _) => "not WebAssembly",
        };
        return Err((Cause::NotAComponent, words.to_owned()));
    }
    match stamped_version(wasm)? {
        None => Err((
            Cause::NoContract,
            format!(
                "no contract version in it (custom section {CONTRACT_SECTION}); this host accepts {CONTRACT_VERSION}"
            ),
        )),
        Some(version) => version_fault(&version).map_or(Ok(()), Err),
    }
}

/// What is wrong with the version that a component was built for.
pub(super) fn version_fault(version: &str) -> Option<Fault> {
    let words = format!("built for contract {version}; this host accepts 0.1.0 to {CONTRACT_VERSION}");
    (!accepts(version)).then_some((Cause::OtherContract, words))
}

/// The contract version that the SDK stamped; none in a component that it did not make.
pub(super) fn stamped_version(wasm: &[u8]) -> Result<Option<String>, Fault> {
    let incomplete = || (Cause::Incomplete, "the component ends too early".to_owned());
    let mut stamped = None;
    let (mut parser, mut rest) = (Parser::new(0), wasm);
    // What lies around the module that is being read.
    let mut around: Vec<(Parser, &[u8])> = Vec::new();
    loop {
        // Only of a module inside it is known where it ends; a component ends where there is no more of it.
        let payload = match parser.parse(rest, !around.is_empty()) {
            Ok(Chunk::NeedMoreData(_)) if rest.is_empty() => return Ok(stamped),
            Ok(Chunk::NeedMoreData(_)) => return Err(incomplete()),
            Ok(Chunk::Parsed { consumed, payload }) => {
                rest = &rest[consumed..];
                payload
            }
            Err(error) => return Err((Cause::NotAComponent, format!("damaged: {error}"))),
        };
        match payload {
            Payload::CustomSection(section) if section.name() == CONTRACT_SECTION => {
                stamped = Some(String::from_utf8_lossy(section.data()).into_owned());
            }
            Payload::ModuleSection { parser: inner, unchecked_range: range }
            | Payload::ComponentSection { parser: inner, unchecked_range: range } => {
                let (inside, behind) = rest.split_at_checked(range.len()).ok_or_else(incomplete)?;
                around.push((std::mem::replace(&mut parser, inner), behind));
                rest = inside;
            }
            Payload::End(_) => match around.pop() {
                Some(outer) => (parser, rest) = outer,
                None => return Ok(stamped),
            },
            _ => {}
        }
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

fn check_imports(component: &wasmtime::component::Component) -> Result<(), Fault> {
    let engine = component.engine();
    for (name, _) in component.component_type().imports(engine) {
        if !name.starts_with("wasi:") && !name.starts_with("aggregator:plugin/") {
            return Err((Cause::UnknownImport, format!("imports {name}, which this host does not have")));
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
        let refused = |bytes: &[u8]| check_version(bytes).unwrap_err();
        assert_eq!(refused(b"text").0, Cause::NotAComponent);
        assert!(refused(b"#!/bin/sh").1.contains("not WebAssembly"));
        assert!(refused(b"\0asm\x01\0\0\0").1.contains("core module"));
        assert_eq!(refused(b"\0asm\x0d\0\x01\0").0, Cause::NoContract);
        assert_eq!(refused(b"\0asm\x0d\0\x01\0\xff\x01").0, Cause::NotAComponent);
    }

    #[test]
    fn a_component_that_was_cut_is_told_from_a_whole_one() {
        let whole = super::super::catalog::DEFAULT_COMPONENT;
        assert!(check_version(whole).is_ok());
        let cuts: Vec<usize> = (0..whole.len()).step_by(97).collect();
        let taken = cuts.iter().filter(|&&cut| match check_version(&whole[..cut]) {
            // Exactly between two sections behind the last module: it then fails to compile.
            Ok(()) => true,
            Err((cause, words)) => {
                assert!(matches!(cause, Cause::Incomplete | Cause::NoContract), "{cut}: {words}");
                false
            }
        });
        assert!(taken.count() * 1_000 < cuts.len());
    }
}
