//! What holds for the configuration as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// The file that operators copy.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.env.example");

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn config(pairs: &[(&str, &str)]) -> Config {
    match Config::from_map(&map(pairs)) {
        Ok((config, _)) => config,
        Err(errors) => panic!("{errors}"),
    }
}

fn refused(pairs: &[(&str, &str)]) -> Vec<String> {
    match Config::from_map(&map(pairs)) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems.into_iter().map(|problem| problem.variable).collect(),
    }
}

#[test]
fn the_defaults_are_those_that_the_page_promises() {
    let config = config(&[]);
    assert_eq!(config.kafka.topic, "trade-info");
    assert_eq!(config.kafka.group, "aggregator-service");
    assert_eq!(config.kafka.session_timeout, Duration::from_secs(10));
    assert_eq!(config.kafka.start_from, StartFrom::CheckpointOrHorizon);
    assert_eq!(config.redis.url, "redis://localhost:6379/0");
    assert_eq!(config.pipeline.shards, 16);
    assert_eq!(config.pipeline.flush_interval, Duration::from_millis(100));
    assert_eq!(config.pipeline.checkpoint_interval, Some(Duration::from_secs(5)));
    assert_eq!(config.pipeline.max_message_bytes, 8 << 20);
    assert_eq!(config.pipeline.max_workers, None);
    assert_eq!(config.pipeline.memory_limit, None);
    assert_eq!(config.plugins.memory_bytes, 256 << 20);
    assert_eq!(config.plugins.compile_timeout, Duration::from_secs(180));
    assert_eq!(config.plugins.cache_dir, None);
    assert_eq!(config.http.port, 8081);
    assert!(config.http.bind.is_loopback());
    assert_eq!(config.log, Log { level: Level::Info, format: Format::Json });
}

#[test]
fn the_example_names_every_setting_with_its_default() {
    let file = std::fs::read_to_string(FILE).unwrap();
    assert_eq!(file, example(), "write what config::example() gives to .env.example");
}

#[test]
fn the_example_without_comments_is_the_default_configuration() {
    let mut pairs = BTreeMap::new();
    for line in example().lines() {
        if let Some((name, value)) = line.strip_prefix('#').and_then(|line| line.split_once('='))
            && !name.starts_with(' ')
        {
            pairs.insert(name.to_owned(), value.to_owned());
        }
    }
    let names: BTreeSet<&str> = pairs.keys().map(String::as_str).collect();
    assert_eq!(names, setting::all().map(|setting| setting.name).collect());
    let (set, warnings) = Config::from_map(&pairs).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(set, config(&[]));
}

#[test]
fn no_setting_is_named_twice() {
    let mut names = BTreeSet::new();
    for setting in setting::all() {
        assert!(names.insert(setting.name), "{}", setting.name);
    }
}

#[test]
fn every_setting_reaches_the_configuration() {
    let sasl = [
        ("KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
        ("KAFKA_SASL_MECHANISM", "PLAIN"),
        ("KAFKA_SASL_USERNAME", "me"),
        ("KAFKA_SASL_PASSWORD", "word"),
        ("KAFKA_SSL_CERTIFICATE_LOCATION", "/cert"),
        ("KAFKA_SSL_KEY_LOCATION", "/key"),
        ("REDIS_TLS", "true"),
        ("REDIS_PASSWORD", "word"),
    ];
    let before = config(&sasl);
    for setting in setting::all() {
        let other = match setting.name {
            "KAFKA_SECURITY_PROTOCOL" => "sasl_plaintext",
            "KAFKA_SASL_MECHANISM" => "SCRAM-SHA-256",
            "START_FROM" => "latest",
            "REDIS_URL" => "rediss://other",
            "REDIS_TLS" | "METRICS_ENABLED" => "false",
            "CLOCK" => "event",
            "PARTITIONING" => "by-token",
            "MAX_MESSAGE_BYTES" | "PLUGIN_UPLOAD_MAX" => "1MiB",
            "TIME_WINDOWS" => "2h",
            "OUTPUT_ENCODING" => "msgpack",
            "HTTP_BIND" => "::1",
            "OTEL_EXPORTER_OTLP_ENDPOINT" => "http://collector:4318",
            "LOG_LEVEL" => "debug",
            "LOG_FORMAT" => "text",
            _ if ["0", "4", "16", "256", "8081"].contains(&setting.default) => "7",
            _ if setting.default.ends_with(['s', 'm']) && !setting.default.contains('.') => "1500ms",
            _ => "other",
        };
        let mut pairs = map(&sasl);
        if setting.name == "KAFKA_SECURITY_PROTOCOL" {
            pairs.retain(|name, _| !name.starts_with("KAFKA_SSL"));
        }
        if setting.name == "RESOLUTION" {
            pairs.insert("TIME_WINDOWS".to_owned(), "1min".to_owned());
        }
        let unset = Config::from_map(&pairs).ok();
        pairs.insert(setting.name.to_owned(), other.to_owned());
        match Config::from_map(&pairs) {
            Ok((after, _)) => {
                assert_ne!(after, before, "{}", setting.name);
                assert_ne!(Some(after), unset.map(|(config, _)| config), "{}", setting.name);
            }
            Err(errors) => panic!("{}: {errors}", setting.name),
        }
    }
}

#[test]
fn all_problems_are_in_one_report() {
    let pairs = [
        ("KAFKA_TOPIC", "two words"),
        ("FLUSH_INTERVAL", "100"),
        ("SHARDS", "0"),
        ("METRICS_PORT", "70000"),
        ("REDIS_URL", "redis://:hunter2/@x"),
        ("LOG_LEVEL", "loud"),
    ];
    let report = Config::from_map(&map(&pairs)).unwrap_err().to_string();
    assert_eq!(report.lines().count(), 1 + pairs.len(), "{report}");
    assert!(report.contains("SHARDS=\"0\": allowed is a whole number from 1 to 1024"), "{report}");
    assert!(report.contains("write 100ms or 100s"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn a_repartitioned_feed_names_a_topic_and_a_group_after_its_own_group() {
    let kafka = config(&[("PARTITIONING", "repartition"), ("KAFKA_CONSUMER_GROUP", "live")]).kafka;
    assert_eq!(kafka.hop_topic(), "live-trade-info-repartition");
    assert_eq!(kafka.hop_group(), "live-repartition");
    for group in ["a b", &"x".repeat(240)] {
        assert_eq!(
            refused(&[("PARTITIONING", "repartition"), ("KAFKA_CONSUMER_GROUP", group)]),
            ["KAFKA_CONSUMER_GROUP"]
        );
        assert_eq!(config(&[("KAFKA_CONSUMER_GROUP", group)]).kafka.group, group);
    }
    assert_eq!(refused(&[("PARTITIONING", "by-tokens")]), ["PARTITIONING"]);
}

#[test]
fn an_event_clock_starts_at_the_earliest_record() {
    let started = |pairs: &[(&str, &str)]| config(pairs).kafka.start_from;
    assert_eq!(started(&[("CLOCK", "event")]), StartFrom::Earliest);
    assert_eq!(started(&[("CLOCK", "event"), ("START_FROM", "latest")]), StartFrom::Latest);
}

#[test]
fn a_checkpoint_interval_of_zero_turns_checkpoints_off() {
    assert_eq!(config(&[("CHECKPOINT_INTERVAL", "0")]).pipeline.checkpoint_interval, None);
    assert_eq!(refused(&[("CHECKPOINT_INTERVAL", "5")]), ["CHECKPOINT_INTERVAL"]);
}

#[test]
fn settings_that_do_not_fit_together_are_refused() {
    for (pairs, variables) in [
        (&[("KAFKA_DEAD_LETTER_TOPIC", "trade-info")][..], &["KAFKA_DEAD_LETTER_TOPIC"][..]),
        (&[("KAFKA_OUTPUT_TOPIC", "trade-info")], &["KAFKA_OUTPUT_TOPIC"]),
        (&[("KAFKA_SASL_MECHANISM", "PLAIN")], &["KAFKA_SASL_MECHANISM"]),
        (
            &[("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"), ("KAFKA_SASL_MECHANISM", "plain")],
            &["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"],
        ),
        (&[("KAFKA_SSL_CA_LOCATION", "/ca")], &["KAFKA_SSL_CA_LOCATION"]),
        (
            &[("KAFKA_SECURITY_PROTOCOL", "ssl"), ("KAFKA_SSL_KEY_LOCATION", "/key")],
            &["KAFKA_SSL_CERTIFICATE_LOCATION"],
        ),
        (&[("REDIS_TLS_CA", "/ca")], &["REDIS_TLS_CA"]),
        (&[("REDIS_TLS_CA", "/ca"), ("REDIS_URL", "redis://x")], &["REDIS_TLS_CA"]),
        (&[("REDIS_USERNAME", "me")], &["REDIS_PASSWORD"]),
        (&[("TIME_WINDOWS", "1min,60s")], &["TIME_WINDOWS"]),
        (&[("TIME_WINDOWS", "25h")], &["TIME_WINDOWS"]),
        (&[("RESOLUTION", "7s")], &["TIME_WINDOWS"]),
        (&[("RESOLUTION", "1.5ms")], &["RESOLUTION"]),
    ] {
        assert_eq!(refused(pairs), variables, "{pairs:?}");
    }
}

#[test]
fn the_address_of_redis_wins_over_its_parts_with_a_warning() {
    let pairs = map(&[("REDIS_URL", "unix:///s"), ("REDIS_DB", "3"), ("REDIS_USERNAME", "me")]);
    let (config, warnings) = Config::from_map(&pairs).unwrap();
    assert_eq!(config.redis.url, "unix:///s");
    let names: Vec<&str> = warnings.iter().map(|warning| warning.variable.as_str()).collect();
    assert_eq!(names, ["REDIS_USERNAME", "REDIS_DB"]);
}

#[test]
fn the_cache_follows_the_home_directory() {
    let cache =
        |pairs: &[(&str, &str)]| config(pairs).plugins.cache_dir.map(|path| path.display().to_string());
    assert_eq!(cache(&[("HOME", "/h")]).as_deref(), Some("/h/.cache/aggregator"));
    assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]).as_deref(), Some("/x/aggregator"));
    assert_eq!(cache(&[("HOME", "h"), ("XDG_CACHE_HOME", "x")]), None);
}

/// Values that are right somewhere, so that arbitrary maps come past the first check.
fn any_value() -> impl Strategy<Value = String> {
    let known = ["0", "1", "7", "100", "1s", "1h", "8MiB", "true", "ssl", "sasl_ssl", "PLAIN", "event"];
    let urls = ["redis://:pw@host:1/0", "unix:///s?pass=pw", "by-token", "json", "::1", "1min,1h", "a:1"];
    prop_oneof![
        3 => prop::sample::select([&known[..], &urls[..]].concat()).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[ -~]{0,40}",
    ]
}

fn any_map() -> impl Strategy<Value = BTreeMap<String, String>> {
    let names: Vec<&str> = setting::all().map(|setting| setting.name).collect();
    let name = prop_oneof![
        8 => prop::sample::select(names).prop_map(str::to_owned),
        1 => "[A-Z_]{0,20}",
        1 => any::<String>(),
    ];
    prop::collection::btree_map(name, any_value(), 0..12)
}

proptest! {
    #[test]
    fn arbitrary_variables_never_panic_and_every_problem_names_its_variable(map in any_map()) {
        if let Err(errors) = Config::from_map(&map) {
            prop_assert!(!errors.problems.is_empty());
            let report = errors.to_string();
            prop_assert_eq!(report.lines().count(), 1 + errors.problems.len());
            for problem in &errors.problems {
                prop_assert!(setting::find(&problem.variable).is_some());
                prop_assert!(report.contains(&problem.variable));
            }
        }
    }

    #[test]
    fn secrets_are_never_shown(map in any_map(), secret in "[a-z/@:#?%\u{1} ]{0,6}hunter2[a-z/@:#?% ]{0,6}") {
        let mut pairs = map;
        // Only secrets hold the word that is looked for.
        for setting in setting::all().filter(|setting| setting.secret) {
            pairs.insert(setting.name.to_owned(), secret.clone());
        }
        for url in [format!("redis://:{secret}@host:1/0"), format!("unix:///s?pass={secret}")] {
            pairs.insert("REDIS_URL".to_owned(), url);
            let shown = match Config::from_map(&pairs) {
                Ok((config, warnings)) => format!("{config:?} {warnings:?}"),
                Err(errors) => format!("{errors} {errors:?}"),
            };
            prop_assert!(!shown.contains("hunter2"), "{}", shown);
        }
    }
}
