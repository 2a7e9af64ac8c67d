//! What guests do in calls: endless ones end at the deadline, traps say why, answers are checked before use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aggregator::config::{Encoding, Plugins};
use aggregator::plugin::contract::{EntriesParam, NewToken, RemovalsParam};
use aggregator::plugin::{Cause, FaultKind, Stage};
use hostile::Does;
use hostile::manifest::Manifest;

use crate::stand::{
    CALLS, CLOCK_MS, DEADLINE, call, config, deeds, instance, instance_of, load, load_with, process,
};

/// By how much an endless call may pass its deadline: two ticks of the engine's clock.
const LATE: Duration = Duration::from_millis(20);
/// By how much it may on a machine that has other work at that moment.
const LATE_WHEN_BUSY: Duration = Duration::from_millis(1_000);

/// Runs something that takes as long as the deadline, and holds it to that. A machine with other work can only make
/// it longer: a native loop beside it tells by how much, and of some runs the best one is the guest's own.
fn ends_at_the_deadline(what: &str, mut run: impl FnMut()) {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let (took, waited) = beside_a_loop(&mut run);
        assert!(took >= DEADLINE && took <= DEADLINE + LATE_WHEN_BUSY, "{what}: {took:?}");
        best = best.min(took.saturating_sub(2 * waited));
        if best <= DEADLINE + LATE {
            return;
        }
    }
    panic!("{what}: {best:?} at best");
}

/// How long something took, and the longest that a native loop had to wait for the processor meanwhile.
fn beside_a_loop(run: &mut impl FnMut()) -> (Duration, Duration) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let control = scope.spawn(|| {
            let (mut longest, mut last) = (Duration::ZERO, Instant::now());
            while !done.load(Ordering::Relaxed) {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            longest
        });
        let began = Instant::now();
        run();
        let took = began.elapsed();
        done.store(true, Ordering::Relaxed);
        (took, control.join().unwrap())
    })
}

#[test]
fn an_endless_call_is_ended_at_its_deadline() {
    let running = load(&Manifest::default(), "{}").unwrap();
    for name in CALLS {
        for deed in ["loop", "print-flood", "log-flood"] {
            let mut instances: Vec<_> = (0..5)
                .map(|_| instance_of(&running, &format!(r#"{{"at":"{name}","do":"{deed}"}}"#)))
                .collect();
            ends_at_the_deadline(&format!("{deed} in {name}"), || {
                let error = call(&mut *instances.pop().unwrap(), name).unwrap_err();
                assert_eq!(error.kind, FaultKind::Deadline, "{error}");
                assert!(error.reason.contains("PLUGIN_DEADLINE"), "{error}");
            });
        }
    }
    ends_at_the_deadline("loop in configure", || {
        let error = running.plugin.instantiate(&deeds(r#"{"at":"configure","do":"loop"}"#)).err().unwrap();
        assert_eq!((error.kind, error.stage), (FaultKind::Deadline, Stage::Configure));
    });
}

#[test]
fn two_dozen_endless_calls_at_once_all_end() {
    let running = load(&Manifest::default(), "{}").unwrap();
    let began = Instant::now();
    thread::scope(|scope| {
        for number in 0..24 {
            let name = CALLS[number % CALLS.len()];
            let running = &running;
            scope.spawn(move || {
                let mut instance = instance_of(running, &format!(r#"{{"at":"{name}","do":"loop"}}"#));
                assert_eq!(call(&mut *instance, name).unwrap_err().kind, FaultKind::Deadline);
            });
        }
    });
    assert!(began.elapsed() < DEADLINE + LATE_WHEN_BUSY, "{:?}", began.elapsed());
}

#[test]
fn what_loops_or_traps_before_it_is_configured_is_refused_in_time() {
    for (does, cause) in [
        (Does::Loop, Cause::Deadline),
        (Does::LogFlood, Cause::Deadline),
        (Does::Trap, Cause::Trapped),
        (Does::Panic, Cause::Trapped),
        (Does::Grow, Cause::Memory),
    ] {
        let manifest = Manifest { describe: Some(does), ..Manifest::default() };
        // The first time it is compiled, too.
        drop(load(&manifest, "{}"));
        let began = Instant::now();
        let refusal = load(&manifest, "{}").err().unwrap();
        assert_eq!((refusal.stage, refusal.cause), (Stage::Describe, cause), "{does:?}: {refusal}");
        assert!(began.elapsed() < DEADLINE + LATE_WHEN_BUSY, "{does:?} {:?}", began.elapsed());
    }
}

#[test]
fn a_trap_says_where_and_a_panic_says_why() {
    for name in CALLS {
        let error = call(&mut *instance(&format!(r#"{{"at":"{name}","do":"trap"}}"#)), name).unwrap_err();
        assert_eq!((error.kind, error.stage.as_str()), (FaultKind::Trap, stage(name)), "{error}");
        let error = call(&mut *instance(&format!(r#"{{"at":"{name}","do":"panic"}}"#)), name).unwrap_err();
        assert!(error.reason.contains("panics, as it was told"), "{error}");
        assert_eq!(error.kind, FaultKind::Trap);
    }
    let error = call(&mut *instance(r#"{"at":"process","do":"clock"}"#), "process").unwrap_err();
    assert!(error.reason.contains("a plugin is told the time"), "{error}");
}

fn stage(call: &str) -> &str {
    // Both concern what an export finds.
    if call == "trim" { "export-state" } else { call }
}

#[test]
fn the_row_that_kills_is_named_unless_the_guest_keeps_it_to_itself() {
    for (report, row) in [("true", Some(1)), ("false", None)] {
        for does in ["panic", "trap"] {
            let deed = format!(r#"{{"at":"process","do":"{does}","token":"kills","report":{report}}}"#);
            let mut guest = instance(&deed);
            process(&mut *guest, &["a", "b"]).unwrap();
            let error = process(&mut *guest, &["a", "kills", "b"]).unwrap_err();
            // A trap without a panic leaves no time for words.
            assert_eq!(error.row, row.filter(|_| does == "panic"), "{deed}: {error}");
            // What trapped is never called again.
            assert!(process(&mut *guest, &["a"]).is_err());
        }
    }
}

#[test]
fn a_fault_may_come_late() {
    let mut guest = instance(r#"{"at":"process","do":"panic","after":2}"#);
    process(&mut *guest, &["a"]).unwrap();
    process(&mut *guest, &["a"]).unwrap();
    assert!(process(&mut *guest, &["a"]).is_err());
}

#[test]
fn answers_that_break_the_schema_are_found_before_they_are_used() {
    let running = load(&Manifest::default(), &deeds("")).unwrap();
    for (does, words) in [
        ("not-utf8", "not valid UTF-8"),
        ("lengths", "values of usd"),
        ("kinds", "is declared as"),
        ("more", "more"),
    ] {
        let mut guest = instance_of(&running, &format!(r#"{{"at":"flush","do":"{does}"}}"#));
        process(&mut *guest, &["a", "b"]).unwrap();
        let table = guest.flush(CLOCK_MS, 256).unwrap();
        let error = running.schema.check(&table).unwrap_err().to_string();
        assert!(error.contains(words), "{does}: {error}");
    }
}

#[test]
fn what_is_no_number_is_written_as_zero() {
    let running = load(&Manifest::default(), &deeds("")).unwrap();
    let mut guest = instance_of(&running, r#"{"at":"flush","do":"not-finite"}"#);
    process(&mut *guest, &["a"]).unwrap();
    let table = guest.flush(CLOCK_MS, 256).unwrap();
    running.schema.check(&table).unwrap();
    let mut row = Vec::new();
    running.schema.encode_row(Encoding::Json, &table, 0, CLOCK_MS, &mut row);
    assert_eq!(String::from_utf8(row).unwrap(), r#"{"1min":{"trades":1,"usd":0,"note":"1 trades"}}"#);
}

#[test]
fn lists_that_are_too_long_or_not_there_are_traps() {
    // So that they are too much for the host, and not for the guest; filling so much memory takes a while.
    let config = Plugins { memory_bytes: 512 << 20, deadline: Duration::from_secs(30), ..config() };
    let running = load_with(&config, &Manifest::default(), "{}").unwrap();
    for (name, does) in
        [("flush", "huge"), ("flush", "outside"), ("export-state", "huge"), ("export-state", "outside")]
    {
        let mut guest = instance_of(&running, &format!(r#"{{"at":"{name}","do":"{does}"}}"#));
        let error = call(&mut *guest, name).unwrap_err();
        assert_eq!(error.kind, FaultKind::Trap, "{does}: {error}");
    }
    // Long lines are cut one by one; nothing adds up.
    let mut guest = instance_of(&running, r#"{"at":"process","do":"log-long"}"#);
    call(&mut *guest, "process").unwrap();

    let huge = Manifest { describe: Some(Does::Huge), ..Manifest::default() };
    let refusal = load_with(&config, &huge, "{}").err().unwrap();
    assert_eq!((refusal.stage, refusal.cause), (Stage::Describe, Cause::Trapped), "{refusal}");
    let deed = deeds(r#"{"at":"configure","do":"huge"}"#);
    let refusal = load_with(&config, &Manifest::default(), &deed).err().unwrap();
    assert_eq!((refusal.stage, refusal.cause), (Stage::Configure, Cause::Trapped), "{refusal}");
}

#[test]
fn state_of_an_earlier_version_is_migrated_and_of_a_later_one_refused() {
    let first = load(&Manifest::default(), "{}").unwrap();
    let second = load(&Manifest { state_version: 2, ..Manifest::default() }, "{}").unwrap();
    let tokens = [NewToken { id: 0, text: "a" }, NewToken { id: 1, text: "b" }];
    let carry = |from: &aggregator::plugin::catalog::Running, to: &mut dyn aggregator::plugin::Instance| {
        let mut guest = instance_of(from, "");
        process(&mut *guest, &["a", "b"]).unwrap();
        let page = guest.export_state(0, 0, 1 << 20).unwrap();
        let version = from.plugin.description().state_version;
        let entries = &page.entries;
        let entries = EntriesParam {
            tokens: &entries.tokens,
            slots: &entries.slots,
            ends: &entries.ends,
            bytes: &entries.bytes,
        };
        to.import_state(version, &tokens, entries, RemovalsParam { tokens: &[], slots: &[] })
    };
    let mut migrated = instance_of(&second, "");
    carry(&first, &mut *migrated).unwrap();
    let table = migrated.flush(CLOCK_MS, 256).unwrap();
    assert_eq!(table.tokens.len(), 2);

    let error = carry(&second, &mut *instance_of(&first, "")).unwrap_err();
    assert_eq!((error.kind, error.stage), (FaultKind::Answer, Stage::Import));
    assert!(error.reason.contains("not version 2"), "{error}");
    for (does, kind) in
        [("refuse", FaultKind::Answer), ("trap", FaultKind::Trap), ("loop", FaultKind::Deadline)]
    {
        let mut guest = instance_of(&second, &format!(r#"{{"at":"import-state","do":"{does}"}}"#));
        assert_eq!(carry(&first, &mut *guest).unwrap_err().kind, kind, "{does}");
    }
}
