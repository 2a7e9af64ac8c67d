//! The image and compose.yaml: what they name exists, fits together, and is understood by the service.
//!
//! No container engine is needed, and none runs here: nothing is built or started. The invariant: every path, port and
//! variable in the files is looked up, not only those that a list names.

use std::collections::{BTreeMap, BTreeSet};

use aggregator_tests::host::Host;
use aggregator_tests::paths;
use aggregator_tests::settings::Settings;
use serde_json::Value;

use crate::rig::{LIMIT, Rig};
use crate::yaml::{self, assert_settings, list, word};

/// The service of compose.yaml that is ours.
const SERVICE: &str = "aggregator";

/// The image's instructions in order, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = yaml::text("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let instruction = |line: &str| {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        (name.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    lines.map(instruction).collect()
}

/// Those of the last stage.
fn image() -> Vec<(String, String)> {
    let all = instructions();
    let last = all.iter().rposition(|(name, _)| name == "FROM").unwrap();
    all[last..].to_vec()
}

fn of_image(name: &str) -> String {
    let found: Vec<String> = image().into_iter().filter(|(of, _)| of == name).map(|(_, rest)| rest).collect();
    assert_eq!(found.len(), 1, "{name} in the image");
    found[0].clone()
}

fn image_variables() -> BTreeMap<String, String> {
    let pairs = of_image("ENV");
    pairs.split(' ').filter_map(|pair| pair.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect()
}

#[test]
fn the_image_is_built_with_the_pinned_toolchain_and_is_not_run_by_root() {
    let toolchain = yaml::text("rust-toolchain.toml");
    let pinned =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    let arguments: Vec<(String, String)> = instructions();
    assert!(arguments.contains(&("ARG".to_owned(), format!("RUST_VERSION={pinned}"))), "{arguments:?}");
    let froms: Vec<&String> = arguments.iter().filter(|(name, _)| name == "FROM").map(|(_, of)| of).collect();
    // The binary uses the C library of the Debian that it was built on.
    assert_eq!(froms.len(), 2, "stages");
    assert!(froms[0].contains("bookworm") && froms[1].contains("distroless/cc-debian12"), "{froms:?}");
    let user = of_image("USER");
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    let variables: Vec<(String, String)> = image_variables().into_iter().collect();
    assert_settings("Dockerfile", &variables);
    // The directories are made for that user.
    let build: String =
        arguments.iter().filter(|(name, _)| name == "RUN").map(|(_, run)| run.as_str()).collect();
    let owner = user.split(':').next().unwrap();
    for directory in ["PLUGINS_DIR", "PLUGIN_CACHE_DIR"].map(|name| image_variables()[name].clone()) {
        assert!(build.contains(&format!("/image{directory}")), "{directory} in {build}");
        assert!(build.contains(&format!("-o {owner} -g {owner}")), "{build}");
    }
    assert_eq!(image_variables()["METRICS_PORT"], of_image("EXPOSE"));
}

#[test]
fn the_health_check_of_the_image_asks_a_running_service() {
    let check = of_image("HEALTHCHECK");
    let command: Vec<String> = serde_json::from_str(check.split_once("CMD ").unwrap().1).unwrap();
    let entry: Vec<String> = serde_json::from_str(&of_image("ENTRYPOINT")).unwrap();
    assert_eq!(command[0], entry[0]);
    let rig = Rig::new("image", 1);
    let host = Host::start_ready(&rig.wall()).unwrap();
    let arguments: Vec<&str> = command[1..].iter().map(String::as_str).collect();
    let settings = Settings::none()
        .with("HTTP_BIND", &image_variables()["HTTP_BIND"])
        .with("METRICS_PORT", &host.port().to_string());
    let mut probe = Host::start_program(&paths::aggregator().unwrap(), &arguments, &settings).unwrap();
    let ended = probe.wait_end(LIMIT).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
}

#[test]
fn what_the_build_needs_is_not_ignored() {
    let ignored = yaml::text(".dockerignore");
    let ignored: BTreeSet<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(ignored.contains("target") && ignored.contains(".git") && ignored.contains(".env"));
    let manifest = yaml::text("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members: Vec<String> = serde_json::from_str(members).unwrap();
    for needed in members.iter().map(String::as_str).chain(["wit", "Cargo.lock", "rust-toolchain.toml"]) {
        let top = needed.split('/').next().unwrap();
        assert!(!ignored.contains(needed) && !ignored.contains(top), "{needed} is needed and ignored");
        assert!(paths::workspace().join(needed).exists(), "{needed}");
    }
}

fn compose() -> Value {
    yaml::document("compose.yaml")
}

/// A service's variables, with what the shell would put in their place.
fn variables(service: &Value) -> Vec<(String, String)> {
    let filled = |value: &Value| {
        let text = word(value);
        match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            Some(inner) => inner.split_once(":-").map_or("", |(_, default)| default).to_owned(),
            None => text,
        }
    };
    let map = service["environment"].as_object().cloned().unwrap_or_default();
    map.iter().map(|(name, value)| (name.clone(), filled(value))).collect()
}

#[test]
fn compose_names_settings_that_exist_and_values_that_the_service_takes() {
    let compose = compose();
    let own = variables(&compose["services"][SERVICE]);
    assert_settings("compose.yaml", &own);
    let value = |name: &str| own.iter().find(|(of, _)| of == name).map(|(_, value)| value.clone()).unwrap();
    // Everything leads to a service of the same file, on a port that it listens on.
    let services = compose["services"].as_object().unwrap();
    let (kafka, port) =
        value("KAFKA_BROKERS").split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let listeners: String = variables(&services[&kafka])
        .into_iter()
        .filter(|(name, _)| name == "KAFKA_ADVERTISED_LISTENERS")
        .map(|(_, value)| value)
        .collect();
    assert!(listeners.contains(&format!("://{kafka}:{port}")), "{listeners}");
    let redis = value("REDIS_URL");
    let redis = redis.strip_prefix("redis://").and_then(|rest| rest.split(':').next()).unwrap();
    assert!(services.contains_key(redis), "{redis}");
    let makes_topic = word(&services["topic"]["command"]);
    assert!(makes_topic.contains(&format!("--topic {}", value("KAFKA_TOPIC"))), "{makes_topic}");
}

#[test]
fn compose_publishes_on_this_machine_only_and_each_port_is_one_that_is_listened_on() {
    let compose = compose();
    let mut published = BTreeSet::new();
    for (name, service) in compose["services"].as_object().unwrap() {
        for port in list(&service["ports"]).iter().map(word) {
            let parts: Vec<&str> = port.split(':').collect();
            assert_eq!((parts.len(), parts[0]), (3, "127.0.0.1"), "{name}: {port}");
            assert!(published.insert(parts[1].to_owned()), "{port} is published twice");
            if name == SERVICE {
                let own = variables(service);
                assert!(own.contains(&("METRICS_PORT".to_owned(), parts[2].to_owned())), "{port}");
            }
        }
    }
    let head = yaml::text("compose.yaml");
    let told = |line: &&str| line.starts_with('#');
    for port in head.lines().take_while(told).flat_map(|line| line.split("127.0.0.1:").skip(1)) {
        let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
        assert!(published.contains(&digits), "the head of compose.yaml names port {digits}");
    }
    let scraped = yaml::document("host/monitoring/prometheus.yml");
    let job = &scraped["scrape_configs"][0];
    let target = format!("{SERVICE}:{}", image_variables()["METRICS_PORT"]);
    assert_eq!(job["static_configs"][0]["targets"][0], Value::from(target));
    assert_eq!(
        (word(&job["job_name"]), word(&job["metrics_path"])),
        ("aggregator".into(), "/metrics".into())
    );
}

#[test]
fn compose_mounts_files_that_are_there_at_the_places_where_they_are_looked_for() {
    let compose = compose();
    let declared = compose["volumes"].as_object().unwrap();
    let mut places = BTreeMap::new();
    for (name, service) in compose["services"].as_object().unwrap() {
        for needed in service["depends_on"]
            .as_object()
            .map(|map| map.keys().cloned().collect::<Vec<_>>())
            .unwrap_or_default()
        {
            assert!(compose["services"].get(&needed).is_some(), "{name} depends on {needed}");
        }
        for volume in list(&service["volumes"]).iter().map(word) {
            let parts: Vec<&str> = volume.split(':').collect();
            match parts[0].strip_prefix("./") {
                Some(path) => {
                    assert!(paths::workspace().join(path).exists(), "{name} mounts {path}");
                    assert_eq!(parts.get(2), Some(&"ro"), "{volume}");
                }
                None => assert!(declared.contains_key(parts[0]), "{name} mounts {volume}"),
            }
            places.insert((name.clone(), parts[1].to_owned()), parts[0].to_owned());
        }
    }
    let mounted = |service: &str, place: &str| places.get(&(service.to_owned(), place.to_owned())).cloned();
    for directory in ["PLUGINS_DIR", "PLUGIN_CACHE_DIR"].map(|name| image_variables()[name].clone()) {
        assert!(mounted(SERVICE, &directory).is_some(), "{directory} is not kept");
    }
    let rules = yaml::document("host/monitoring/prometheus.yml")["rule_files"][0].clone();
    assert!(mounted("prometheus", &word(&rules)).is_some(), "{rules}");
    let provider = yaml::document("host/monitoring/grafana/provisioning/dashboards/aggregator.yml");
    let boards = word(&provider["providers"][0]["options"]["path"]);
    assert!(mounted("grafana", &format!("{boards}/aggregator.json")).is_some(), "{boards}");
    let source = yaml::document("host/monitoring/grafana/provisioning/datasources/prometheus.yml");
    assert_eq!(word(&source["datasources"][0]["url"]), "http://prometheus:9090");
}

#[test]
fn compose_gives_a_drain_its_time_and_the_service_no_rights() {
    let service = compose()["services"][SERVICE].clone();
    let grace = word(&service["stop_grace_period"]);
    let grace: u32 = grace.strip_suffix('s').and_then(|seconds| seconds.parse().ok()).unwrap();
    assert!(grace > 5, "{grace} s");
    assert_eq!(service["read_only"], true);
    assert_eq!(list(&service["cap_drop"]), [Value::from("ALL")]);
    assert!(service["healthcheck"].is_null(), "the image has one");
    // A limit of address space would be one that wasmtime cannot live with.
    assert!(service["ulimits"].is_null(), "{service}");
}
