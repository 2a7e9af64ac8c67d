//! The manifests for Kubernetes and the unit for systemd: what they name exists and fits together.
//!
//! No cluster and no systemd is needed, and none runs here: nothing is applied. The invariant: probes are compared with
//! the routes that a running service describes, variables with its settings.

use std::collections::{BTreeMap, BTreeSet};

use aggregator_tests::host::Host;
use aggregator_tests::settings::Settings;
use aggregator_tests::{paths, wait};
use serde_json::Value;

use crate::rig::LIMIT;
use crate::yaml::{self, assert_settings, list, word};

const FOLDER: &str = "host/deploy/kubernetes";
const UNIT: &str = "host/deploy/systemd/aggregator.service";

/// All objects that `kubectl apply -k` would make.
fn objects() -> Vec<Value> {
    let kustomization = yaml::document(&format!("{FOLDER}/kustomization.yaml"));
    let files = list(&kustomization["resources"]);
    let listed: BTreeSet<String> = files.iter().map(word).collect();
    let entries = std::fs::read_dir(paths::workspace().join(FOLDER)).unwrap();
    let present: BTreeSet<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name != "kustomization.yaml")
        .collect();
    assert_eq!(listed, present, "the kustomization names every manifest");
    files.iter().flat_map(|file| yaml::documents(&format!("{FOLDER}/{}", word(file)))).collect()
}

fn one(objects: &[Value], kind: &str, name: &str) -> Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}")).clone()
}

/// The paths that a running service answers to `GET`.
fn routes() -> BTreeSet<String> {
    let host = Host::start(&Settings::none()).unwrap();
    let described = wait::until("the description", LIMIT, || host.json("/openapi.json").ok()).unwrap();
    let paths = described["paths"].as_object().unwrap();
    paths.iter().filter(|(_, methods)| methods.get("get").is_some()).map(|(path, _)| path.clone()).collect()
}

#[test]
fn every_object_is_complete_and_selectors_find_the_pods() {
    let objects = objects();
    for object in &objects {
        for field in ["apiVersion", "kind"] {
            assert!(object[field].is_string(), "{field} of {object}");
        }
        assert!(object["metadata"]["name"].is_string(), "{object}");
    }
    let set = one(&objects, "StatefulSet", "aggregator");
    let labels = set["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
    let finds = |selector: &Value| {
        let selector = selector.as_object().unwrap();
        !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
    };
    assert!(finds(&set["spec"]["selector"]["matchLabels"]));
    let services: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "Service").collect();
    assert_eq!(services.len(), 2);
    for service in &services {
        assert!(finds(&service["spec"]["selector"]), "{service}");
    }
    assert!(services.iter().any(|service| service["metadata"]["name"] == set["spec"]["serviceName"]));
    assert!(finds(&one(&objects, "PodDisruptionBudget", "aggregator")["spec"]["selector"]["matchLabels"]));
    // A host that stands by would hold an ordered start up.
    assert_eq!(set["spec"]["podManagementPolicy"], "Parallel");
    assert!(set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64() > Some(5));
}

#[test]
fn the_pod_has_settings_that_exist_ports_that_are_named_and_places_that_can_be_written() {
    let objects = objects();
    let set = one(&objects, "StatefulSet", "aggregator");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let config = one(&objects, "ConfigMap", "aggregator");
    assert_eq!(container["envFrom"][0]["configMapRef"]["name"], config["metadata"]["name"]);
    let mut variables: BTreeMap<String, String> = config["data"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().expect("ConfigMaps hold texts").to_owned()))
        .collect();
    for variable in list(&container["env"]) {
        let value = match &variable["value"] {
            Value::Null => "aggregator-0".to_owned(),
            value => value.as_str().expect("variables are texts").to_owned(),
        };
        variables.insert(word(&variable["name"]), value);
    }
    let port = &container["ports"][0];
    assert_eq!(word(&port["containerPort"]), variables["METRICS_PORT"]);
    for service in objects.iter().filter(|object| object["kind"] == "Service") {
        assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"], "{service}");
    }
    let annotations = &set["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(word(&annotations["prometheus.io/port"]), variables["METRICS_PORT"]);
    let mounted: Vec<String> =
        list(&container["volumeMounts"]).iter().map(|mount| word(&mount["mountPath"])).collect();
    for directory in ["PLUGINS_DIR", "PLUGIN_CACHE_DIR"].map(|name| variables[name].clone()) {
        assert!(mounted.iter().any(|place| directory.starts_with(place)), "{directory} in {mounted:?}");
    }
    let claims = list(&set["spec"]["volumeClaimTemplates"]);
    let claims: BTreeSet<String> = claims.iter().map(|claim| word(&claim["metadata"]["name"])).collect();
    let names: BTreeSet<String> =
        list(&container["volumeMounts"]).iter().map(|mount| word(&mount["name"])).collect();
    assert_eq!(claims, names);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(set["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"], true);
    let variables: Vec<(String, String)> = variables.into_iter().collect();
    assert_settings("the manifests", &variables);
}

#[test]
fn every_probe_asks_a_route_that_is_there_and_none_that_a_standby_fails() {
    let set = one(&objects(), "StatefulSet", "aggregator");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let routes = routes();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let asked = &container[probe]["httpGet"];
        assert!(routes.contains(&word(&asked["path"])), "{probe} asks {asked}");
        assert_eq!(asked["port"], container["ports"][0]["name"], "{probe}");
        assert_eq!(asked["path"], "/health/live", "{probe}");
    }
    let scraped = &set["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"];
    assert!(routes.contains(&word(scraped)), "{scraped}");
}

/// The unit's lines: section, name, value.
fn unit() -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in yaml::text(UNIT).lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => name.clone_into(&mut section),
            None => {
                let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line} is no setting"));
                lines.push((section.clone(), name.to_owned(), value.to_owned()));
            }
        }
    }
    lines
}

/// Seconds of a time span of one part.
fn seconds(value: &str) -> u32 {
    value.strip_suffix('s').and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn the_unit_runs_what_exists_as_nobody_in_particular_and_lets_plugins_be_compiled() {
    let unit = unit();
    let values = |name: &str| -> Vec<String> {
        unit.iter().filter(|(_, of, _)| of == name).map(|(_, _, value)| value.clone()).collect()
    };
    let sections: BTreeSet<&str> = unit.iter().map(|(section, ..)| section.as_str()).collect();
    assert_eq!(sections, BTreeSet::from(["Unit", "Service", "Install"]));
    assert_eq!(values("DynamicUser"), ["yes"]);
    // What the runtime of plugins cannot live with.
    for (forbidden, words) in [
        ("MemoryDenyWriteExecute", "plugins become machine code while the service runs"),
        ("LimitAS", "wasmtime reserves address space that it does not use"),
    ] {
        assert!(values(forbidden).is_empty(), "{forbidden}: {words}");
    }
    assert!(seconds(&values("TimeoutStopSec")[0]) > 5);
    assert_eq!(values("KillMode"), ["mixed"]);
    let variables: Vec<(String, String)> = values("Environment")
        .iter()
        .map(|pair| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap())
        .collect();
    assert_settings(UNIT, &variables);
    let states = values("StateDirectory").join(" ");
    let states: Vec<String> = states.split(' ').map(|name| format!("/var/lib/{name}")).collect();
    let caches: Vec<String> =
        values("CacheDirectory").iter().map(|name| format!("/var/cache/{name}")).collect();
    for (name, places) in [("PLUGINS_DIR", &states), ("PLUGIN_CACHE_DIR", &caches)] {
        let (_, place) = variables.iter().find(|(of, _)| of == name).unwrap();
        assert!(places.contains(place), "{name}={place} in {places:?}");
    }
    // Its exit codes are those that the service documents.
    for code in values("RestartPreventExitStatus").iter().chain(&values("SuccessExitStatus")) {
        assert!(yaml::text("README.md").contains(&format!("| {code} |")), "{code}");
    }
    assert_eq!(values("ExecStart"), ["/usr/local/bin/aggregator"]);
}
