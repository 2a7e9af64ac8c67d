//! The four laws on the real engine: the default plugin, the example, and one that uses what it should not need.

use std::fs;

use aggregator::author::on_engine::{self, OnEngine};
use aggregator::plugin::catalog::DEFAULT_COMPONENT;
use aggregator::plugin::{Candidate, ResultKeys};
use aggregator_sdk::testing;
use aggregator_tests::paths;
use hostile::manifest::Manifest;

use crate::stand::{component, config, loader, plugin};

fn obeys_the_laws(name: &str, wasm: Vec<u8>, configuration: &str, seeds: std::ops::Range<u64>) {
    let candidate = Candidate::new(name, wasm, configuration);
    let loaded = loader(&config()).load(&candidate, &ResultKeys::new()).unwrap();
    on_engine::with(&plugin(&loaded.running), || {
        seeds.for_each(|seed| testing::laws::<OnEngine>(configuration, seed));
    });
}

#[test]
fn the_default_plugin_obeys_the_laws_as_a_component() {
    obeys_the_laws("sliding-window", DEFAULT_COMPONENT.to_vec(), r#"{"windows":["1min","5min"]}"#, 0..5);
}

#[test]
fn the_example_obeys_the_laws_as_a_component() {
    let wasm = fs::read(paths::component("vwap").unwrap()).unwrap();
    obeys_the_laws("vwap", wasm, "{}", 0..5);
}

#[test]
fn the_raw_plugin_of_traders_obeys_the_laws_as_a_component() {
    let wasm = fs::read(paths::component("traders").unwrap()).unwrap();
    obeys_the_laws("traders", wasm, r#"{"windows":["10s","5min"]}"#, 0..5);
}

#[test]
fn a_plugin_with_a_standard_hash_map_that_prints_obeys_the_laws() {
    obeys_the_laws("hostile", component(&Manifest::default()), r#"{"talks":true}"#, 0..5);
}

#[test]
fn the_hostile_plugin_obeys_the_laws_where_it_does_nothing() {
    let second = Manifest { state_version: 2, ..Manifest::default() };
    for manifest in [Manifest::default(), second] {
        obeys_the_laws("hostile", component(&manifest), "{}", 0..3);
    }
}
