//! A start that cannot be: what is wrong is said at once, completely, and with the exit code of its kind.
//!
//! The invariant: no broker and no Redis is needed to be told that a setting is wrong.

use std::net::TcpListener;

use aggregator_tests::host::Host;
use aggregator_tests::settings::Settings;
use aggregator_tests::{paths, ports, wait};

use crate::rig::{LIMIT, Rig};

#[test]
fn all_wrong_settings_stand_in_one_report_and_the_exit_code_is_64() {
    let wrong = [
        ("KAFKA_BROKERS", "no port"),
        ("TIME_WINDOWS", "1min,60s"),
        ("FLUSH_INTERVAL", "100"),
        ("CLOCK", "sundial"),
        ("SHARDS", "0"),
        ("OUTPUT_ENCODING", "xml"),
        ("REDIS_DB", "first"),
    ];
    let settings = wrong.iter().fold(Settings::none(), |settings, (name, value)| settings.with(name, value));
    let mut host = Host::start(&settings).unwrap();
    let ended = host.wait_end(LIMIT).unwrap();
    assert_eq!(ended.status.code(), Some(64), "{}", ended.output);
    for (name, value) in wrong {
        assert!(ended.output.contains(name), "{name} is not named in\n{}", ended.output);
        assert!(ended.output.contains(value), "{value} is not quoted in\n{}", ended.output);
    }
}

#[test]
fn every_setting_of_the_example_file_is_known_and_its_default_is_allowed() {
    let example = std::fs::read_to_string(paths::workspace().join(".env.example")).unwrap();
    let setting = |line: &str| {
        let (name, value) = line.strip_prefix('#')?.split_once('=')?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        is_name.then(|| (name.to_owned(), value.to_owned()))
    };
    let found: Vec<(String, String)> = example.lines().filter_map(setting).collect();
    assert!(found.len() > 40, "{} settings", found.len());
    let settings = found.iter().fold(Settings::none(), |settings, (name, value)| settings.with(name, value));
    let mut check = Host::start_program(&paths::aggregator().unwrap(), &["check"], &settings).unwrap();
    let ended = check.wait_end(LIMIT).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    assert!(!ended.output.contains("warning"), "{}", ended.output);
}

#[test]
fn a_secret_in_a_wrong_setting_is_not_repeated() {
    let settings =
        Settings::none().with("REDIS_URL", "redis://user:hunter2@").with("KAFKA_SECURITY_PROTOCOL", "tls");
    let mut host = Host::start(&settings.with("ADMIN_TOKEN", "hunter2")).unwrap();
    let ended = host.wait_end(LIMIT).unwrap();
    assert_eq!(ended.status.code(), Some(64), "{}", ended.output);
    assert!(!ended.output.contains("hunter2"), "{}", ended.output);
}

#[test]
fn a_taken_port_is_named_and_the_exit_code_is_69() {
    let port = ports::free();
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let rig = Rig::new("taken", 1);
    let mut host = Host::start(&rig.wall().with("METRICS_PORT", &port.to_string())).unwrap();
    let ended = host.wait_end(LIMIT).unwrap();
    assert_eq!(ended.status.code(), Some(69), "{}", ended.output);
    assert!(ended.output.contains(&port.to_string()), "{}", ended.output);
}

#[test]
fn a_start_that_fails_after_the_log_began_says_why_in_the_log() {
    let port = ports::free();
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let rig = Rig::new("fatal", 1);
    let mut host = Host::start(&rig.wall().with("METRICS_PORT", &port.to_string())).unwrap();
    let ended = host.wait_end(LIMIT).unwrap();
    let fatal: Vec<_> = host.log().into_iter().filter(|line| line["level"] == "FATAL").collect();
    assert_eq!(fatal.len(), 1, "{}", ended.output);
    assert_eq!(fatal[0]["code"], 69, "{}", fatal[0]);
    assert!(fatal[0]["message"].as_str().unwrap().contains(&port.to_string()), "{}", fatal[0]);
}

#[test]
fn certificates_that_cannot_be_read_are_named_by_check_and_start_alike() {
    let settings =
        Settings::none().with("REDIS_TLS", "true").with("REDIS_TLS_CA", "/nowhere/authorities.pem");
    let program = paths::aggregator().unwrap();
    for arguments in [&["check"][..], &[]] {
        let mut run = Host::start_program(&program, arguments, &settings).unwrap();
        let ended = run.wait_end(LIMIT).unwrap();
        assert_eq!(ended.status.code(), Some(64), "{arguments:?}: {}", ended.output);
        assert!(ended.output.contains("/nowhere/authorities.pem"), "{arguments:?}: {}", ended.output);
    }
}

#[test]
fn settings_of_the_ancestor_without_meaning_draw_one_warning_each_and_no_failure() {
    let rig = Rig::new("ancestor", 1);
    let settings = rig.wall().with("GC_TARGET_PERCENTAGE", "50").with("WORKER_QUEUE_SIZE", "1000");
    let host = Host::start_ready(&settings).unwrap();
    for name in ["GC_TARGET_PERCENTAGE", "WORKER_QUEUE_SIZE"] {
        let warnings = host
            .log()
            .iter()
            .filter(|line| line["level"] == "WARN" && line.to_string().contains(name))
            .count();
        assert_eq!(warnings, 1, "warnings about {name}");
    }
}

#[test]
fn a_host_without_kafka_keeps_trying_and_says_so() {
    let rig = Rig::new("nowhere", 1);
    let nobody = format!("127.0.0.1:{}", ports::free());
    let host = Host::start(&rig.wall().with("KAFKA_BROKERS", &nobody)).unwrap();
    wait::until_true("readiness to name kafka", LIMIT, || {
        host.get("/health/ready").is_ok_and(|answer| answer.status == 503 && answer.body.contains("kafka"))
    })
    .unwrap();
    assert_eq!(host.get("/health/live").unwrap().status, 200);
}
