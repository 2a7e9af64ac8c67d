//! `aggregator health`: what a probe in a container asks, answered by the exit code.
//!
//! The invariant: it ends by itself, whoever listens, or nobody.

use std::net::TcpListener;

use aggregator_tests::host::{Ended, Host};
use aggregator_tests::settings::Settings;
use aggregator_tests::{paths, ports};

use crate::rig::{LIMIT, Rig};

/// Asks as a probe does, with these arguments and variables.
fn ask(arguments: &[&str], settings: &Settings) -> Ended {
    let arguments = [&["health"], arguments].concat();
    let mut probe = Host::start_program(&paths::aggregator().unwrap(), &arguments, settings).unwrap();
    probe.wait_end(LIMIT).unwrap()
}

#[test]
fn a_ready_host_is_found_by_its_own_settings_or_by_its_address() {
    let rig = Rig::new("probe", 1);
    let host = Host::start_ready(&rig.wall()).unwrap();
    let port = host.port().to_string();
    let own = Settings::none().with("METRICS_PORT", &port).with("HTTP_BIND", "0.0.0.0");
    let url = format!("http://127.0.0.1:{port}");
    for (arguments, settings, word) in [
        (&[][..], &own, "ready"),
        (&["--live"], &own, "alive"),
        (&["--url", &url], &Settings::none(), "ready"),
    ] {
        let ended = ask(arguments, settings);
        assert_eq!((ended.status.code(), ended.output.trim()), (Some(0), word), "{arguments:?}");
    }
}

#[test]
fn a_host_that_waits_is_alive_and_not_ready_and_says_why() {
    let rig = Rig::new("unready", 1);
    let nobody = format!("127.0.0.1:{}", ports::free());
    let host = Host::start(&rig.wall().with("KAFKA_BROKERS", &nobody)).unwrap();
    host.wait_line("Service started", LIMIT).unwrap();
    let own = Settings::none().with("METRICS_PORT", &host.port().to_string());
    let ended = ask(&[], &own);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    assert!(ended.output.contains("not_ready") && ended.output.contains("kafka"), "{}", ended.output);
    assert_eq!(ask(&["--live"], &own).status.code(), Some(0));
}

#[test]
fn nobody_and_somebody_else_are_no_service() {
    let nobody = ports::free().to_string();
    let ended = ask(&[], &Settings::none().with("METRICS_PORT", &nobody));
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    assert!(ended.output.contains(&nobody), "{}", ended.output);
    // One that takes connections and says nothing.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    assert_eq!(ask(&["--url", &url], &Settings::none()).status.code(), Some(1));
    assert_eq!(ask(&["--url", "https://a"], &Settings::none()).status.code(), Some(64));
}
