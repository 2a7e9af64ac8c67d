//! What guests do to the host's memory: nothing beyond their limit and what one answer may hold.
//!
//! A program of its own, since only the memory of a whole program can be measured. The invariant: nothing else runs
//! while something is measured.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "the other tests of guests need more of it")]
#[path = "../guests/stand.rs"]
mod stand;

use std::fs;
use std::sync::{Mutex, PoisonError};

use aggregator::config::Plugins;
use aggregator::plugin::catalog::Running;
use aggregator::plugin::{Candidate, Cause, FaultKind, ResultKeys};
use aggregator_tests::process;
use hostile::manifest::Manifest;

use stand::{CALLS, MEMORY_BYTES, call, config, instance_of, load, load_with, loader, slow_component};

/// What the host may need beside the guest's own memory.
const HOST_BYTES: u64 = (64 + 32) << 20;

/// Tests of one program run beside each other unless they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// The hostile plugin. Compiling and checking it is no part of a measurement.
fn plugin() -> Running {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    load(&Manifest::default(), "{}").unwrap()
}

/// By how much something raises the memory of this program at its most.
fn peak_growth(run: impl FnOnce()) -> u64 {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = std::process::id();
    // Lets the kernel begin to measure anew.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = process::resident_bytes(pid).unwrap();
    run();
    process::usage(pid).unwrap().peak_resident_bytes.saturating_sub(before)
}

#[test]
fn a_guest_that_grows_is_refused_memory_in_every_call() {
    let running = plugin();
    for name in CALLS {
        let grown = peak_growth(|| {
            let mut guest = instance_of(&running, &format!(r#"{{"at":"{name}","do":"grow"}}"#));
            let error = call(&mut *guest, name).unwrap_err();
            assert_eq!(error.kind, FaultKind::Memory, "{error}");
            assert!(error.reason.contains("PLUGIN_MEMORY_MB"), "{error}");
            assert!(guest.memory_bytes() <= MEMORY_BYTES);
        });
        assert!(grown <= MEMORY_BYTES as u64 + HOST_BYTES, "{name}: {grown}");
    }
}

#[test]
fn a_guest_that_leaks_with_each_call_reaches_its_limit_and_no_more() {
    let running = plugin();
    let grown = peak_growth(|| {
        let mut guest = instance_of(&running, r#"{"at":"trim","do":"leak"}"#);
        let mut calls = 0_u64;
        let error = loop {
            match guest.trim(1) {
                Ok(()) => calls += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind, FaultKind::Memory, "{error}");
        // 1 KiB a call, and the allocator's share.
        let limit = MEMORY_BYTES as u64 >> 10;
        assert!((limit / 2..=limit).contains(&calls), "{calls} calls");
        assert!(guest.memory_bytes() <= MEMORY_BYTES);
    });
    assert!(grown <= MEMORY_BYTES as u64 + HOST_BYTES, "{grown}");
}

#[test]
fn hostile_answers_cost_the_host_no_more_than_one_answer_may_hold() {
    let memory_bytes = 256 << 20;
    let config = Plugins { memory_bytes, ..config() };
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let running = load_with(&config, &Manifest::default(), "{}").unwrap();
    drop(turn);
    for (name, does) in [
        ("flush", "huge"),
        ("flush", "long"),
        ("flush", "outside"),
        ("export-state", "huge"),
        ("process", "log-long"),
        ("process", "log-flood"),
        ("process", "print-flood"),
    ] {
        let mut guest_bytes = 0;
        let grown = peak_growth(|| {
            let mut guest = instance_of(&running, &format!(r#"{{"at":"{name}","do":"{does}"}}"#));
            drop(call(&mut *guest, name));
            guest_bytes = guest.memory_bytes() as u64;
        });
        assert!(guest_bytes <= memory_bytes as u64, "{does} {guest_bytes}");
        assert!(grown <= guest_bytes + HOST_BYTES, "{does} in {name}: {grown}, the guest has {guest_bytes}");
    }
}

#[test]
fn a_compilation_costs_the_host_little_more_than_the_component() {
    let compile_timeout = std::time::Duration::from_secs(2);
    let loader = loader(&Plugins { compile_timeout, ..config() });
    let slow = Candidate::new("slow", slow_component(), "{}");
    let grown = peak_growth(|| {
        let refusal = loader.load(&slow, &ResultKeys::new()).err().unwrap();
        assert_eq!(refusal.cause, Cause::CompileTooLong, "{refusal}");
    });
    assert!(grown < 48 << 20, "{grown}");
}
