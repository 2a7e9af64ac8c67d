//! Row 23: secrets stay where they were set. Every setting that holds one has a canary, and nothing that the service
//! writes, answers or starts shows it.
//!
//! The invariant: the list of secrets is the service's own, so that a new one is not forgotten.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use aggregator::config::SETTINGS;
use aggregator_tests::host::Host;
use aggregator_tests::redis_server::RedisServer;
use aggregator_tests::settings::Settings;
use aggregator_tests::{http, paths, wait};

use crate::certificates::Flaw;
use crate::run::LIMIT;
use crate::secured::{self, KAFKA_PASSWORD, REDIS_PASSWORD, USER, name, with_kafka, with_redis};

const ADMIN_TOKEN: &str = "canary-admin-90e2f7aa31";
const KEY_PASSWORD: &str = "canary-key-44d1c0b6";
/// A wrong one that somebody shows.
const TRIED: &str = "canary-tried-77aa11";

/// Answers of these types last as long as somebody listens.
const ENDLESS: [&str; 2] = ["text/event-stream", "application/x-ndjson"];

/// Every secret setting with its canary.
fn canaries(redis_url: &str) -> BTreeMap<&'static str, String> {
    let given = [
        ("KAFKA_SASL_PASSWORD", KAFKA_PASSWORD),
        ("KAFKA_SSL_KEY_PASSWORD", KEY_PASSWORD),
        ("REDIS_PASSWORD", REDIS_PASSWORD),
        ("REDIS_URL", redis_url),
        ("ADMIN_TOKEN", ADMIN_TOKEN),
    ];
    let given: BTreeMap<&str, String> = given.map(|(name, value)| (name, value.to_owned())).into();
    let settings = SETTINGS.iter().flat_map(|group| group.settings);
    let secret: Vec<&str> = settings.filter(|setting| setting.secret).map(|setting| setting.name).collect();
    assert_eq!(given.keys().copied().collect::<Vec<_>>(), sorted(secret), "secret settings");
    given
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}

/// Fails where a text holds any canary.
fn assert_clean(place: &str, text: &str) {
    for canary in [KAFKA_PASSWORD, REDIS_PASSWORD, ADMIN_TOKEN, KEY_PASSWORD, TRIED] {
        assert!(!text.contains(canary), "{canary} in {place}: {text}");
    }
}

/// Asks every path that the service describes, with and without a token that is wrong.
fn ask_everything(host: &Host) {
    let described = host.json("/openapi.json").unwrap();
    let mut asked = 0;
    for (path, methods) in described["paths"].as_object().unwrap() {
        let path = path.replace("{name}", "sliding-window").replace("{address}", "a");
        for (method, operation) in methods.as_object().unwrap() {
            let show = format!("Authorization: Bearer {TRIED}\r\nContent-Length: 0\r\n");
            let content = operation["responses"]["200"]["content"].as_object().unwrap();
            let answer = match content.keys().any(|kind| ENDLESS.contains(&kind.as_str())) {
                true => http::listen(host.port(), &path, &show, Duration::from_secs(2)).unwrap(),
                false => http::request(&method.to_uppercase(), host.port(), &path, &show).unwrap(),
            };
            assert_clean(&path, &format!("{}{}", answer.head, answer.body));
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked} routes");
}

/// A file of a process; empty where the process is gone.
fn of_process(pid: u32, file: &str) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()).into_owned()
}

/// What the system shows of a host to everybody, and all that it has given to processes of its own.
fn shown_of(host: &Host) -> String {
    let own = host.pid();
    let mut shown = of_process(own, "cmdline") + &of_process(own, "comm") + &of_process(own, "status");
    let entries = fs::read_dir("/proc").unwrap().map_while(Result::ok);
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let status = of_process(pid, "status");
        if status.lines().any(|line| line == format!("PPid:\t{own}")) {
            shown += &(of_process(pid, "cmdline") + &of_process(pid, "environ"));
        }
    }
    shown
}

/// A host that logs in everywhere, with the canaries of all parts or with the whole address of Redis.
fn host_with_canaries(redis: &RedisServer, by_url: bool) -> Host {
    let secured = secured::shared();
    let topic = secured.broker.topic("canaries", 1).unwrap();
    let key = secured.certificates.key(Flaw::None).display().to_string();
    let url = format!("rediss://{USER}:{REDIS_PASSWORD}@{}/0", redis.address());
    let settings = Settings::of(&secured.broker, &topic, redis).with("LOG_LEVEL", "debug");
    let settings = with_kafka(settings, secured, &name(Flaw::None), "PLAIN");
    let settings = with_redis(settings, &secured.certificates)
        .with(
            "KAFKA_SSL_CERTIFICATE_LOCATION",
            &secured.certificates.certificate(Flaw::None).display().to_string(),
        )
        .with("KAFKA_SSL_KEY_LOCATION", &key);
    let left_out = if by_url { "REDIS_PASSWORD" } else { "REDIS_URL" };
    let canaries = canaries(&url).into_iter().filter(|(name, _)| *name != left_out);
    let settings = canaries.fold(settings, |settings, (name, value)| settings.with(name, &value));
    // Compiled anew, so that the child process is among those looked at.
    let settings = settings.with("PLUGIN_CACHE_DIR", "cache");
    Host::start(&settings).unwrap()
}

#[test]
fn no_secret_is_written_answered_or_shown_by_a_host_that_works_and_by_one_whose_redis_is_away() {
    let secured = secured::shared();
    for by_url in [false, true] {
        let mut redis = secured::redis(&secured.certificates, Flaw::None);
        let mut host = host_with_canaries(&redis, by_url);
        // The child that compiles the default plugin is seen, too.
        wait::until_true("the host to be ready", LIMIT, || {
            assert_clean("the process list", &shown_of(&host));
            host.get("/health/ready").is_ok_and(|answer| answer.status == 200)
        })
        .unwrap();
        ask_everything(&host);
        redis.kill();
        host.wait_metric("aggregator_part_ok{part=\"redis\"}", LIMIT, |ok| ok == 0.0).unwrap();
        ask_everything(&host);
        assert_clean("the process list", &shown_of(&host));
        redis.restart().unwrap();
        host.wait_ready(LIMIT).unwrap();
        let ended = host.stop(LIMIT).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
        assert_clean("the output", &ended.output);
    }
}

#[test]
fn no_secret_is_repeated_where_the_login_is_refused_or_a_setting_is_wrong() {
    let secured = secured::shared();
    let redis = secured::redis(&secured.certificates, Flaw::None);
    let topic = secured.broker.topic("refused", 1).unwrap();
    let settings = Settings::of(&secured.broker, &topic, &redis).with("LOG_LEVEL", "debug");
    let settings = with_kafka(settings, secured, &name(Flaw::None), "PLAIN")
        .with("KAFKA_SASL_PASSWORD", TRIED)
        .with("ADMIN_TOKEN", ADMIN_TOKEN);
    let settings = with_redis(settings, &secured.certificates).with("REDIS_PASSWORD", TRIED);
    let mut host = Host::start(&settings).unwrap();
    let refused = wait::until_true("both logins to be refused", LIMIT, || {
        let Ok(health) = host.json("/health") else { return false };
        health["checks"]["redis"]["reason"].to_string().contains("authentication failed")
    });
    refused.unwrap();
    ask_everything(&host);
    host.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = host.wait_end(LIMIT).unwrap();
    assert_clean("the output", &ended.output);

    // Values that are refused as such.
    let broken = settings
        .with("KAFKA_SECURITY_PROTOCOL", "plaintext")
        .with("KAFKA_SSL_KEY_PASSWORD", KEY_PASSWORD)
        .with("REDIS_URL", &format!("redis://{USER}:{REDIS_PASSWORD}@"))
        .with("ADMIN_TOKEN", &format!("{ADMIN_TOKEN} with a blank"));
    let mut run = Host::start_program(&paths::aggregator().unwrap(), &["check"], &broken).unwrap();
    let ended = run.wait_end(LIMIT).unwrap();
    assert_eq!(ended.status.code(), Some(64), "{}", ended.output);
    assert_clean("the report", &ended.output);
}
