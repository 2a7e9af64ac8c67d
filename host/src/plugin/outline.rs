//! What the bytes of a component tell without being compiled: its contract and what it imports.
//!
//! Not for judging imports, which the loader does with the compiled component. Invariant: only what the
//! component itself imports is listed, not what its modules get from one another.

use wasmparser::{Parser, Payload};

use super::component::{CONTRACT_SECTION, check_version, stamped_version, version_fault};
use super::error::Stage;
use super::refusal::{Cause, Refusal};

/// The outside of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The version of the contract that it was built for.
    pub contract: String,
    /// The interfaces that it imports, in its order.
    pub imports: Vec<String>,
}

/// Reads the outline of a component that this host could run.
///
/// # Errors
/// Says why it is none, under the name that it came by.
pub fn outline(name: &str, wasm: &[u8]) -> Result<Outline, Refusal> {
    let refuse = |(cause, reason): (Cause, String)| Refusal::new(name, Stage::Check, cause, reason);
    check_version(wasm).map_err(refuse)?;
    let contract = stamped_version(wasm).map_err(refuse)?.unwrap_or_default();
    let damaged = |error| refuse((Cause::NotAComponent, format!("damaged: {error}")));
    let mut imports = Vec::new();
    // How many modules and components lie around what is being read.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(damaged)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(damaged)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(Outline { contract, imports })
}

/// Gives a component the contract version that its glue speaks, where it carries none: toolchains of other languages
/// than Rust cannot write it.
///
/// # Errors
/// Says why it is no component, or that it is one for another version.
pub fn stamp(name: &str, mut wasm: Vec<u8>, version: &str) -> Result<Vec<u8>, Refusal> {
    let refuse = |(cause, reason): (Cause, String)| Refusal::new(name, Stage::Check, cause, reason);
    if !Parser::is_component(&wasm) {
        return Err(refuse((Cause::NotAComponent, "not a component".to_owned())));
    }
    match stamped_version(&wasm).map_err(refuse)? {
        Some(stamped) if stamped == version => return Ok(wasm),
        Some(stamped) => {
            let words = format!("it carries contract {stamped}, not {version}");
            return Err(refuse((Cause::OtherContract, words)));
        }
        None => {}
    }
    if let Some(fault) = version_fault(version) {
        return Err(refuse(fault));
    }
    // A custom section: its id, its length, and its name behind that one's length. All of them are below 128.
    let length = 1 + CONTRACT_SECTION.len() + version.len();
    wasm.extend_from_slice(&[0, length as u8, CONTRACT_SECTION.len() as u8]);
    wasm.extend_from_slice(CONTRACT_SECTION.as_bytes());
    wasm.extend_from_slice(version.as_bytes());
    Ok(wasm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::catalog::DEFAULT_COMPONENT;

    #[test]
    fn the_default_plugin_imports_the_host_and_what_the_standard_library_does_not_use() {
        let outline = outline("sliding-window", DEFAULT_COMPONENT).unwrap();
        assert_eq!(outline.contract, "0.1.0");
        assert!(outline.imports.contains(&"aggregator:plugin/host@0.1.0".to_owned()));
        assert!(outline.imports.iter().all(|name| name.starts_with("wasi:") || name.contains("plugin/")));
    }

    #[test]
    fn what_is_no_plugin_is_refused_under_its_name() {
        let refusal = outline("text", b"#!/bin/sh").unwrap_err();
        assert_eq!((&*refusal.plugin, refusal.cause), ("text", Cause::NotAComponent));
    }
}
