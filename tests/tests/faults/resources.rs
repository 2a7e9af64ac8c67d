//! Row 29: a machine that has too little of something: no room for the log, few descriptors, clients that hold theirs,
//! no place for compiled plugins, no long files.
//!
//! A port that is taken is tested with the other starts. The invariant: trades are counted all the same, and what is
//! missing is said once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use aggregator_tests::host::Host;
use aggregator_tests::redis_server::Memory;
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::Shape;
use aggregator_tests::{http, paths, wait};

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Run, runs, scaled, seed, wait_serving};

/// Starts the service from a shell that does something first.
fn start_in_shell(script: &str, settings: &Settings) -> Host {
    let program = paths::aggregator().unwrap().display().to_string();
    Host::start_program(Path::new("/bin/sh"), &["-c", script, &program], settings).unwrap()
}

#[test]
fn a_log_that_cannot_be_written_is_said_once_and_counted_and_holds_up_nothing() {
    for number in 0..runs(1, 5) {
        let run = &Run::new("29 log to a full disk", seed(291, number), Shape::Arrays, Memory::Volatile);
        let pace = &Pace::default();
        let mut host = start_in_shell("exec \"$0\" >/dev/full", &run.settings());
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(3));
            wait_serving(&host);
            load.wait();
        });
        run.assert_exact(&[&host]);
        let lost = host.metric("aggregator_log_lines_lost_total").unwrap();
        assert!(lost > 3.0, "{lost} lines were lost");
        let ended = host.stop(LIMIT).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
        assert_eq!(ended.output.matches("log lines are lost").count(), 1, "{}", ended.output);
    }
}

/// Clients that send half a request and wait.
fn quiet_clients(port: u16, count: usize) -> Vec<TcpStream> {
    let client = |_| {
        let mut client = TcpStream::connect(("127.0.0.1", port)).ok()?;
        client.write_all(b"GET /health HTTP/1.1\r\nHost: ").ok()?;
        Some(client)
    };
    (0..count).filter_map(client).collect()
}

/// How long `/health` takes at most, of some tries.
fn slowest_health(port: u16) -> Duration {
    let ask = |_| {
        let began = Instant::now();
        let answer = http::get_within(port, "/health", LIMIT).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.body);
        began.elapsed()
    };
    (0..20).map(ask).max().unwrap_or_default()
}

fn clients_hold_connections(run: &Run<'_>, host: &Host, clients: usize) {
    let pace = &Pace::default();
    thread::scope(|scope| {
        let load = Load::start(scope, run, pace, Duration::from_secs(6));
        wait_serving(host);
        host.wait_ready(LIMIT).unwrap();
        let mut held = quiet_clients(host.port(), clients);
        let slowest = slowest_health(host.port());
        assert!(slowest < scaled(Duration::from_millis(200)), "health took {slowest:?}");
        // Those that gave way are told so.
        held[0].set_read_timeout(Some(LIMIT)).unwrap();
        assert!(matches!(held[0].read(&mut [0; 1]), Ok(0) | Err(_)));
        load.wait();
    });
    run.assert_exact(&[host]);
}

#[test]
fn a_thousand_clients_that_never_finish_their_request_hold_up_nobody() {
    for number in 0..runs(1, 5) {
        let run = Run::new("29 a thousand slow clients", seed(292, number), Shape::Arrays, Memory::Volatile);
        let host = Host::start(&run.settings()).unwrap();
        clients_hold_connections(&run, &host, 1_000);
    }
}

#[test]
fn sixty_four_descriptors_are_enough_also_with_clients_that_hold_connections() {
    for number in 0..runs(1, 5) {
        let mut run = Run::new("29 64 descriptors", seed(293, number), Shape::Arrays, Memory::Volatile);
        let host = start_in_shell("ulimit -n 64; exec \"$0\"", &run.settings());
        clients_hold_connections(&run, &host, 200);
        // There are enough left to connect again.
        run.redis.kill();
        run.redis.restart().unwrap();
        wait::until_true("the loss to be noticed", LIMIT, || {
            host.metric("aggregator_sink_regressions_total") == Some(1.0)
        })
        .unwrap();
        run.assert_exact(&[&host]);
    }
}

/// The lines of a host at this level that say something of compiled plugins.
fn lines_about_the_cache(host: &Host) -> usize {
    let about = |line: &&serde_json::Value| {
        let text = line.to_string();
        line["level"] == "WARN" && (text.contains("PLUGIN_CACHE_DIR") || text.contains("cannot be kept"))
    };
    host.log().iter().filter(about).count()
}

#[test]
fn a_cache_that_cannot_be_written_is_said_once_and_plugins_run_all_the_same() {
    for number in 0..runs(1, 5) {
        let run = Run::new("29 cache cannot be written", seed(294, number), Shape::Arrays, Memory::Volatile);
        // A folder in which even root can make nothing.
        let host = Host::start(&run.settings().with("PLUGIN_CACHE_DIR", "/proc/self/fdinfo")).unwrap();
        let pace = &Pace::default();
        thread::scope(|scope| {
            let load = Load::start(scope, &run, pace, Duration::from_secs(2));
            wait_serving(&host);
            load.wait();
        });
        run.assert_exact(&[&host]);
        assert_eq!(lines_about_the_cache(&host), 1, "{:?}", host.log());
    }
}

#[test]
fn a_limit_on_the_length_of_files_refuses_an_upload_and_ends_nothing() {
    for number in 0..runs(1, 5) {
        let run = Run::new("29 no long files", seed(295, number), Shape::Arrays, Memory::Volatile);
        let plugins = tempfile::tempdir().unwrap();
        let settings = run.settings().with("PLUGINS_DIR", &plugins.path().display().to_string());
        // The default plugin is compiled and kept by now: another host needs no file for it.
        Host::start_ready(&settings).unwrap();
        // Blocks of 512 bytes.
        let host = start_in_shell("ulimit -f 16; exec \"$0\"", &settings);
        let wasm = std::fs::read(paths::component("vwap").unwrap()).unwrap();
        assert!(wasm.len() > 16 * 512, "{} bytes", wasm.len());
        let pace = &Pace::default();
        thread::scope(|scope| {
            let load = Load::start(scope, &run, pace, Duration::from_secs(2));
            wait_serving(&host);
            let answer = http::send("PUT", host.port(), "/plugins/vwap", "", &wasm).unwrap();
            assert!((400..600).contains(&answer.status), "{}: {}", answer.status, answer.body);
            assert!(answer.body.contains("too large"), "{}", answer.body);
            load.wait();
        });
        run.assert_exact(&[&host]);
        assert_eq!(std::fs::read_dir(plugins.path()).unwrap().count(), 0, "nothing is left of it");
    }
}
