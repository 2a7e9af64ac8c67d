//! Who may change something, on every route that changes something, as the service describes itself.

use super::*;
use crate::config::Secret;
use crate::http::routes;

const TOKEN: &str = "0123456789abcdef";

fn serve_with_token(token: Option<&str>) -> Running {
    serve_by(&config::Http { admin_token: token.map(Secret::new), ..http(0, true) }, state())
}

/// Every operation of the description: method, path with its parameters filled in, and whether it asks for
/// the admin token.
fn operations(running: &Running) -> Vec<(String, String, bool)> {
    let document = running.get("/openapi.json").json();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let path = path.replace("{name}", "vwap").replace("{address}", "a");
            operations.push((method.to_uppercase(), path, !operation["security"].is_null()));
        }
    }
    operations
}

#[test]
fn the_description_has_every_route_and_every_route_is_there() {
    let running = serve_with_token(None);
    let operations = operations(&running);
    assert_eq!(operations.len(), routes::table(true).len());
    for (method, path, changes) in &operations {
        assert_eq!(*changes, method != "GET", "{method} {path}");
        let answer = running.ask(method, path);
        assert_ne!(answer.status, 405, "{method} {path}");
        // A route that is none says so in other words than one that does not find something.
        assert!(!answer.body.contains("no such path"), "{method} {path}: {}", answer.body);
    }
}

#[test]
fn nothing_changes_without_the_token_or_for_a_page_of_another_origin() {
    let running = serve_with_token(Some(TOKEN));
    let metrics_before = running.get("/metrics");
    assert!(metrics_before.body.contains("aggregator_admin_refused_total 0\n"));
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    let foreign = format!("{right}Host: localhost\r\nOrigin: http://elsewhere.example\r\n");
    let mut refused = 0;
    for (method, path, changes) in operations(&running) {
        let ask = |head: &str| running.ask_with(&method, &path, head);
        if !changes {
            assert_ne!(ask("").status, 401, "{method} {path}");
            continue;
        }
        let without = ask("");
        without.refuses(401);
        assert!(without.head.contains("www-authenticate: bearer"), "{}", without.head);
        ask("Authorization: Bearer wrong\r\n").refuses(401);
        let page = ask(&foreign);
        page.refuses(403);
        assert!(!page.head.contains("access-control"), "{}", page.head);
        let allowed = ask(&right).status;
        assert!(![401, 403, 405].contains(&allowed), "{method} {path}: {allowed}");
        refused += 3;
    }
    assert!(refused >= 3 * 10, "{refused}");
    let counted = format!("aggregator_admin_refused_total {refused}\n");
    assert!(running.get("/metrics").body.contains(&counted));
}

#[test]
fn without_a_token_this_machine_may_and_its_name_must_be_its_own() {
    let running = serve_with_token(None);
    running.ask_with("POST", "/plugins/vwap/rollback", "Host: 127.0.0.1\r\n").refuses(409);
    running.ask_with("POST", "/plugins/vwap/rollback", "Host: rebound.example\r\n").refuses(403);
    running.ask_with("POST", "/plugins/vwap/rollback", "Forwarded: for=192.0.2.1\r\n").refuses(403);
}

#[test]
fn a_preflight_is_told_nothing() {
    let running = serve_with_token(None);
    let answer = running.ask_with(
        "OPTIONS",
        "/plugins/vwap",
        "Origin: http://elsewhere.example\r\nAccess-Control-Request-Method: PUT\r\n",
    );
    answer.refuses(405);
    assert!(!answer.head.contains("access-control"), "{}", answer.head);
}

#[test]
fn plugins_that_stay_as_they_are_say_so() {
    let running = serve_with_token(None);
    let list = running.get("/plugins").json();
    assert_eq!((&list["plugins"], &list["can_change"]), (&Value::Array(Vec::new()), &Value::from(false)));
    running.get("/plugins/vwap").refuses(404);
    running.get("/plugins/vwap/config").refuses(404);
    running.get("/plugins/..%2fvwap").refuses(400);
    running.ask("DELETE", "/plugins/vwap").refuses(409);
}
