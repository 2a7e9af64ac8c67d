//! Machine code: made once, kept privately, made in a process that can be ended.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aggregator::config;
use aggregator::digest;
use aggregator::plugin::catalog::DEFAULT_COMPONENT;
use aggregator::plugin::workshop::{Busy, Workshop};
use aggregator::plugin::{Candidate, Cause, Loader, Refusal, ResultKeys};
use aggregator_tests::{paths, process, wait};

use crate::stand::{config, loader, slow_component};

const LIMIT: Duration = Duration::from_secs(30);

fn cached_in(dir: &Path) -> config::Plugins {
    config::Plugins { cache_dir: Some(dir.to_owned()), ..config() }
}

fn default() -> Candidate {
    Candidate::new("sliding-window", DEFAULT_COMPONENT, "{}")
}

fn loads(loader: &Loader) -> Result<(), Refusal> {
    loader.load(&default(), &ResultKeys::new()).map(drop)
}

/// A loader that cannot compile.
fn without_compiler(config: &config::Plugins) -> Loader {
    Loader::new(config, Some(PathBuf::from("/nowhere/aggregator"))).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_second_start_compiles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = cached_in(&dir.path().join("cache"));
    let refusal = loads(&without_compiler(&config)).unwrap_err();
    assert_eq!(refusal.cause, Cause::CompilerFailed, "{refusal}");
    loads(&loader(&config)).unwrap();
    loads(&without_compiler(&config)).unwrap();
}

#[test]
fn a_damaged_or_foreign_file_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = cached_in(dir.path());
    loads(&loader(&config)).unwrap();
    let [file] = files(dir.path()).try_into().unwrap();
    let code = fs::read(&file).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let key = name.rsplit_once('-').unwrap().0;
    // Damaged; another's; and one that is what its name says, but nothing that this engine can load.
    let mut damaged = code.clone();
    damaged[code.len() / 2] ^= 1;
    let foreign = b"\x7fELF and nothing else".to_vec();
    for (path, bytes) in [
        (file.clone(), damaged),
        (file.clone(), code[..code.len() - 1].to_vec()),
        (dir.path().join(format!("{key}-{}.cwasm", digest::of(&foreign))), foreign),
    ] {
        files(dir.path()).iter().for_each(|path| fs::remove_file(path).unwrap());
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(loads(&without_compiler(&config)).unwrap_err().cause, Cause::CompilerFailed);
        loads(&loader(&config)).unwrap();
        assert_eq!(fs::read(&file).unwrap(), code, "compiling is the same every time");
    }
}

#[test]
fn without_a_cache_plugins_are_compiled_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    for cache_dir in [None, Some(shared.clone()), Some(PathBuf::from("/proc/self/fdinfo"))] {
        let asked_for = cache_dir.is_some();
        let config = config::Plugins { cache_dir, ..config() };
        let loader = loader(&config);
        assert_eq!(loader.cache_trouble().is_some(), asked_for);
        loads(&loader).unwrap();
        assert_eq!(loads(&without_compiler(&config)).unwrap_err().cause, Cause::CompilerFailed);
    }
    assert_eq!(files(&shared), Vec::<PathBuf>::new());
}

/// Workshops are told apart by the name of their threads only.
static ONE_WORKSHOP: Mutex<()> = Mutex::new(());

/// The process that the workshop has started and not yet buried.
fn child_of_the_workshop() -> Option<String> {
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        if read("comm").trim() == "plugin-workshop" {
            return read("children").split_whitespace().next().map(str::to_owned);
        }
    }
    None
}

#[test]
fn a_compilation_that_takes_too_long_is_ended_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let compile_timeout = Duration::from_secs(1);
    let config = config::Plugins { compile_timeout, ..cached_in(dir.path()) };
    let slow = Candidate::new("slow", slow_component(), "{}");
    let began = Instant::now();
    let refusal = loader(&config).load(&slow, &ResultKeys::new()).err().unwrap();
    assert_eq!(refusal.cause, Cause::CompileTooLong, "{refusal}");
    assert!(refusal.reason.contains("PLUGIN_COMPILE_TIMEOUT"));
    // A busy machine takes a while to begin and to end a process.
    assert!(began.elapsed() < compile_timeout + Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_workshop_takes_some_candidates_and_ends_at_once() {
    let _turn = ONE_WORKSHOP.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let loader = Arc::new(loader(&cached_in(dir.path())));
    let mut workshop = Workshop::start(loader).unwrap();
    let slow = Candidate::new("slow", slow_component(), "{}");
    let first = workshop.submit(slow.clone(), ResultKeys::new()).unwrap();
    let child = wait::until("a child that compiles", LIMIT, child_of_the_workshop).unwrap();
    let mut waiting = Vec::new();
    let busy = loop {
        match workshop.submit(slow.clone(), ResultKeys::new()) {
            Ok(outcome) => waiting.push(outcome),
            Err(busy) => break busy,
        }
    };
    assert_eq!((busy, waiting.len()), (Busy, 4));
    let began = Instant::now();
    workshop.stop();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(first.blocking_recv().unwrap().err().unwrap().cause, Cause::Ending);
    assert!(!Path::new("/proc").join(child).exists());
    assert_eq!(workshop.submit(slow, ResultKeys::new()).err(), Some(Busy));
}

#[test]
fn a_workshop_loads_and_refuses() {
    let _turn = ONE_WORKSHOP.lock().unwrap_or_else(PoisonError::into_inner);
    let workshop = Workshop::start(Arc::new(loader(&config()))).unwrap();
    let outcome = workshop.submit(default(), ResultKeys::new()).unwrap();
    let loaded = outcome.blocking_recv().unwrap().unwrap();
    assert_eq!((loaded.running.name(), loaded.running.result_key()), ("sliding-window", "aggregates"));
    assert_eq!(loaded.running.identity(), default().identity());
    let outcome = workshop.submit(Candidate::new("a", *b"text", "{}"), ResultKeys::new()).unwrap();
    assert_eq!(outcome.blocking_recv().unwrap().err().unwrap().cause, Cause::NotAComponent);
    // Several that ask at once get their turns.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let outcome = workshop.submit(default(), ResultKeys::new()).unwrap();
                assert!(outcome.blocking_recv().unwrap().is_ok());
            });
        }
    });
}

#[test]
fn a_compilation_ends_with_the_service_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("slow.wasm"), slow_component()).unwrap();
    let mut service = Command::new(paths::aggregator().unwrap())
        .arg("check")
        .current_dir(dir.path())
        .env_clear()
        .env("PLUGINS_DIR", dir.path())
        .env("SECRET", "a canary")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let children = format!("/proc/{0}/task/{0}/children", service.id());
    let compiling = |pid: &str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line == b"aggregator\0compile-component\0"
    };
    let child = wait::until("a child that compiles the slow component", LIMIT, || {
        let pid = fs::read_to_string(&children).ok()?.split_whitespace().next()?.to_owned();
        // The default plugin comes first.
        let cpu = process::usage(pid.parse().ok()?).ok()?.cpu;
        (compiling(&pid) && cpu > Duration::from_millis(500)).then_some(pid)
    })
    .unwrap();
    // Nothing of the service's surroundings is in it, and it stands behind everything else.
    assert_eq!(fs::read(format!("/proc/{child}/environ")).unwrap(), b"");
    let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
    let nice = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16);
    assert_eq!(nice, Some("19"));
    service.kill().unwrap();
    service.wait().unwrap();
    // An orphan may stay as a zombie where nobody buries it; a zombie has no command line.
    wait::until_true("the end of the child", LIMIT, || !compiling(&child)).unwrap();
}
