//! The demo: one command, no server, and windows that move.
//!
//! The invariant: the demo is the service itself, so its pages are the service's pages.

use std::time::Duration;

use aggregator_tests::host::Host;
use aggregator_tests::settings::Settings;
use aggregator_tests::{http, paths, wait};
use serde_json::Value;

use crate::rig::LIMIT;

/// The address of the busiest token.
fn busiest(answer: &Value) -> Option<String> {
    Some(answer["tokens"].as_array()?.first()?["token"].as_str()?.to_owned())
}

#[test]
fn the_demo_prints_its_address_and_its_values_change_within_ten_seconds() {
    let mut demo = Host::start_program(&paths::aggregator().unwrap(), &["demo"], &Settings::none()).unwrap();
    let line = demo.wait_line("http://127.0.0.1:", LIMIT).unwrap();
    let after = line.split_once("http://127.0.0.1:").map(|(_, after)| after).unwrap();
    let port: u16 = after.split_once('/').and_then(|(port, _)| port.parse().ok()).unwrap();
    let limit = Duration::from_secs(10).saturating_sub(demo.started().elapsed());
    let mut first: Option<(String, String)> = None;
    wait::until_true("a token's values to change", limit, || {
        let Some((token, before)) = &first else {
            let token = http::get(port, "/tokens").ok().and_then(|answer| busiest(&answer.json().ok()?));
            let body = token.as_ref().and_then(|token| http::get(port, &format!("/tokens/{token}")).ok());
            first = token.zip(body.filter(|answer| answer.status == 200).map(|answer| answer.body));
            return false;
        };
        http::get(port, &format!("/tokens/{token}"))
            .is_ok_and(|answer| answer.status == 200 && answer.body != *before)
    })
    .unwrap();
    let page = http::get(port, "/").unwrap();
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/html"), "{}", page.head);
    assert!(!page.body.contains("https://"), "the page needs something from outside");
    let ended = demo.stop(LIMIT).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
}
