//! Files that become no plugin: each is refused at its stage, with its cause and a remedy.

use aggregator::plugin::catalog::DEFAULT_COMPONENT;
use aggregator::plugin::{Candidate, Cause, Refusal, ResultKeys, Stage};
use aggregator_tests::paths;
use hostile::manifest::Manifest;

use crate::stand::{component, config, deeds, load, loader};

fn refused(name: &str, wasm: Vec<u8>) -> Refusal {
    let candidate = Candidate::new(name, wasm, "{}");
    let refusal = loader(&config()).load(&candidate, &ResultKeys::new()).err().unwrap();
    assert_eq!(refusal.digest, *candidate.digest);
    assert!(!refusal.remedy().is_empty());
    refusal
}

/// The hostile component with each occurrence of a text replaced by one of the same length.
fn renamed(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = component(&Manifest::default());
    let found: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter_map(|(at, window)| (window == from.as_bytes()).then_some(at))
        .collect();
    assert!(!found.is_empty(), "no {from} in the component");
    for at in found {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

#[test]
fn what_is_no_plugin_is_refused_before_it_is_compiled() {
    let whole = component(&Manifest::default());
    let machine_code = std::fs::read(paths::aggregator().unwrap()).unwrap();
    for (wasm, cause) in [
        (b"#!/bin/sh\n".to_vec(), Cause::NotAComponent),
        (Vec::new(), Cause::Incomplete),
        (b"\0asm\x01\0\0\0".to_vec(), Cause::NotAComponent),
        (machine_code[..1 << 20].to_vec(), Cause::NotAComponent),
        (b"\0asm\x0d\0\x01\0".to_vec(), Cause::NoContract),
        (whole[..whole.len() / 3].to_vec(), Cause::Incomplete),
        (renamed("aggregator-contract", "aggregator-contrast"), Cause::NoContract),
        (renamed("aggregator-contract0.1.0", "aggregator-contract0.2.0"), Cause::OtherContract),
        (renamed("aggregator-contract0.1.0", "aggregator-contract0.1.9"), Cause::OtherContract),
    ] {
        let refusal = refused("hostile", wasm);
        assert_eq!((refusal.stage, refusal.cause), (Stage::Check, cause), "{refusal}");
    }
}

#[test]
fn what_has_other_imports_or_exports_is_refused_by_name() {
    let refusal = refused("hostile", renamed("aggregator:plugin/host@0.1.0", "elsewhere1:plugin/host@0.1.0"));
    assert_eq!((refusal.stage, refusal.cause), (Stage::Check, Cause::UnknownImport), "{refusal}");
    assert!(refusal.reason.contains("elsewhere1:plugin/host"), "{refusal}");
    let refusal = refused(
        "hostile",
        renamed("aggregator:plugin/aggregator@0.1.0", "aggregator:plugin/aggregates@0.1.0"),
    );
    assert_eq!((refusal.stage, refusal.cause), (Stage::Check, Cause::OtherWorld), "{refusal}");
}

#[test]
fn what_does_not_compile_is_refused_with_the_compilers_words() {
    // A whole component, but for one byte of its code.
    let mut wasm = component(&Manifest::default());
    let code = wasm.len() / 20;
    wasm[code..code + 64].fill(0xff);
    let refusal = refused("hostile", wasm);
    assert!(matches!(refusal.cause, Cause::DoesNotCompile | Cause::NotAComponent), "{refusal}");
}

#[test]
fn a_component_must_be_as_large_as_allowed_and_called_as_it_came() {
    let wasm = component(&Manifest::default());
    let small = aggregator::config::Plugins { upload_max: wasm.len() - 1, ..config() };
    let candidate = Candidate::new("hostile", wasm, "{}");
    let refusal = loader(&small).load(&candidate, &ResultKeys::new()).err().unwrap();
    assert_eq!((refusal.stage, refusal.cause), (Stage::Read, Cause::TooLarge));
    let refusal = refused("other", component(&Manifest::default()));
    assert_eq!((refusal.stage, refusal.cause), (Stage::Describe, Cause::FileName));
    let refusal = refused("sliding-windows", DEFAULT_COMPONENT.to_vec());
    assert!(refusal.reason.contains("calls itself sliding-window"), "{refusal}");
}

#[test]
fn a_result_key_belongs_to_one_plugin() {
    let wasm = component(&Manifest::default());
    let taken = |owner: &str| ResultKeys::from([("hostile".to_owned(), owner.to_owned())]);
    let candidate = Candidate::new("hostile", wasm, "{}");
    let refusal = loader(&config()).load(&candidate, &taken("vwap")).err().unwrap();
    assert_eq!((refusal.stage, refusal.cause), (Stage::Describe, Cause::ResultKeyTaken));
    assert!(refusal.reason.contains("vwap"), "{refusal}");
    // A new version of the plugin that has it.
    assert!(loader(&config()).load(&candidate, &taken("hostile")).is_ok());
}

#[test]
fn what_a_plugin_declares_must_be_writable() {
    let manifest = Manifest { result_key: "last_update".to_owned(), ..Manifest::default() };
    let refusal = load(&manifest, "{}").err().unwrap();
    assert_eq!((refusal.stage, refusal.cause), (Stage::Describe, Cause::Schema), "{refusal}");
    let manifest = Manifest { name: "no name".to_owned(), ..Manifest::default() };
    let refusal = load(&manifest, "{}").err().unwrap();
    assert_eq!((refusal.stage, refusal.cause), (Stage::Describe, Cause::Description), "{refusal}");
}

#[test]
fn a_configuration_is_judged_by_form_and_then_by_the_plugin() {
    for configuration in ["", "[]", "7", "{", r#"{"windows":["never"]}"#, r#"{"unheard":1}"#] {
        let refusal = load(&Manifest::default(), configuration).err().unwrap();
        assert_eq!((refusal.stage, refusal.cause), (Stage::Configure, Cause::Configuration), "{refusal}");
    }
    let refusal = load(&Manifest::default(), &deeds(r#"{"at":"configure","do":"refuse"}"#)).err().unwrap();
    assert_eq!((refusal.stage, refusal.cause), (Stage::Configure, Cause::Configuration));
    assert!(refusal.to_string().contains("refused, as it was told"), "{refusal}");
    for (does, cause) in [("panic", Cause::Trapped), ("loop", Cause::Deadline), ("grow", Cause::Memory)] {
        let deed = deeds(&format!(r#"{{"at":"configure","do":"{does}"}}"#));
        let refusal = load(&Manifest::default(), &deed).err().unwrap();
        assert_eq!((refusal.stage, refusal.cause), (Stage::Configure, cause), "{refusal}");
    }
}
