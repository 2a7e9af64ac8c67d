//! The contract's types and glue, generated from `wit/plugin.wit`.
//!
//! Not for logic. One set of types serves the component and its tests.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    reason = "generated: the component ABI passes raw pointers"
)]

wit_bindgen::generate!({
    path: "wit",
    world: "plugin",
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "aggregator_sdk::bindings",
    additional_derives: [PartialEq, Clone],
    additional_type_attributes: {
        "aggregator:plugin/types@0.1.0/batch": [#[derive(Default)]],
        "aggregator:plugin/types@0.1.0/text-column": [#[derive(Default)]],
        "aggregator:plugin/types@0.1.0/table": [#[derive(Default)]],
        "aggregator:plugin/types@0.1.0/entries": [#[derive(Default)]],
        "aggregator:plugin/types@0.1.0/removals": [#[derive(Default)]],
        "aggregator:plugin/types@0.1.0/page": [#[derive(Default)]],
    },
});
