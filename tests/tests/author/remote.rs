//! What is said to a host: method, path, digest, token and bytes; and what is made of its answers.
//!
//! The other end is a listener of the test's own, and once the service itself. The invariant: a host hears nothing of a
//! component that no host could run.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use aggregator_tests::host::READY_LIMIT;
use aggregator_tests::plugins_dir::{PluginsDir, variant};
use aggregator_tests::{paths, wait};

use crate::desk::Desk;
use crate::journey::demo;

/// What was asked.
struct Asked {
    head: String,
    body: Vec<u8>,
}

/// Answers one request.
fn host(answer: &'static str) -> (String, JoinHandle<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        let mut piece = [0; 65_536];
        loop {
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "the request ends too early");
            bytes.extend_from_slice(&piece[..read]);
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.unwrap().parse().unwrap();
            if bytes.len() == end + 4 + length {
                stream.write_all(answer.as_bytes()).unwrap();
                return Asked { head, body: bytes[end + 4..].to_vec() };
            }
        }
    });
    (url, asked)
}

#[test]
fn deploying_sends_the_component_with_its_digest_and_the_token() {
    let desk = Desk::new();
    let vwap = paths::component("vwap").unwrap();
    let wasm = fs::read(&vwap).unwrap();
    fs::write(desk.path().join("token"), "secret-of-sixteen\n").unwrap();
    let file = vwap.display().to_string();
    for (shadow, line) in
        [(false, "PUT /plugins/vwap HTTP/1.0"), (true, "POST /plugins/vwap/shadow HTTP/1.0")]
    {
        let (url, asked) = host("HTTP/1.0 200 OK\r\n\r\n{\"plugin\":\"vwap\",\"result\":\"swapped\"}");
        let mut arguments = vec!["deploy", &file, "--host", &url, "--token-file", "token"];
        arguments.extend(shadow.then_some("--shadow"));
        let said = desk.run("", &arguments).fine();
        assert!(said.contains("result: swapped"), "{said}");
        let asked = asked.join().unwrap();
        assert!(asked.head.starts_with(line), "{}", asked.head);
        assert!(asked.head.contains("Authorization: Bearer secret-of-sixteen\r\n"), "{}", asked.head);
        let digest = format!("X-Content-SHA256: {}", aggregator::digest::of(&wasm));
        assert!(asked.head.contains(&digest), "{}", asked.head);
        assert!(asked.body == wasm, "other bytes were sent");
    }
}

#[test]
fn a_refusal_of_the_host_is_shown_with_its_hint() {
    let vwap = paths::component("vwap").unwrap().display().to_string();
    let (url, asked) =
        host("HTTP/1.0 409 Conflict\r\n\r\n{\"error\":\"the directory is read-only\",\"hint\":\"mount it\"}");
    let said = Desk::new().run("", &["deploy", &vwap, "--host", &url]);
    assert_eq!(said.code, 64, "{said:?}");
    assert!(said.err.contains("the directory is read-only; mount it"), "{}", said.err);
    asked.join().unwrap();
}

#[test]
fn listing_and_going_back_ask_the_paths_of_the_plugins() {
    let desk = Desk::new();
    let (url, asked) = host("HTTP/1.0 200 OK\r\n\r\n{\"plugins\":[{\"name\":\"vwap\",\"digest\":\"ab\"}]}");
    let said = desk.run("", &["list", "--host", &url, "-o", "json"]);
    assert_eq!(said.json()["plugins"][0]["name"], "vwap");
    assert!(asked.join().unwrap().head.starts_with("GET /plugins HTTP/1.0"));

    let (url, asked) =
        host("HTTP/1.0 404 Not Found\r\n\r\n{\"error\":\"nothing to go back to\",\"hint\":\"\"}");
    let said = desk.run("", &["rollback", "vwap", "--host", &url]);
    assert_eq!(said.code, 64, "{said:?}");
    assert!(said.err.contains("nothing to go back to"), "{}", said.err);
    assert!(asked.join().unwrap().head.starts_with("POST /plugins/vwap/rollback HTTP/1.0"));
}

#[test]
fn a_host_that_is_not_there_is_told_from_one_that_refuses() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = Desk::new().run("", &["list", "--host", &format!("http://{nobody}")]);
    assert_eq!(said.code, 69, "{said:?}");
    assert!(said.err.contains("is the service running"), "{}", said.err);
    let encrypted = Desk::new().run("", &["list", "--host", "https://localhost"]);
    assert_eq!(encrypted.code, 64, "{encrypted:?}");
}

#[test]
fn a_running_service_takes_a_component_names_it_and_goes_back_to_the_one_before() {
    let desk = Desk::new();
    let first = fs::read(paths::component("vwap").unwrap()).unwrap();
    let second = variant(&first, 2);
    fs::write(desk.path().join("vwap.wasm"), &first).unwrap();
    fs::write(desk.path().join("next.wasm"), &second).unwrap();
    let plugins = PluginsDir::new().unwrap();
    let (mut demo, port) = demo(plugins.path());
    demo.wait_line("Reading", READY_LIMIT).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let run = |arguments: &[&str]| desk.run("", &[arguments, &["--host", &url, "-o", "json"]].concat());
    let runs = |digest: &str| {
        let listed = run(&["list"]).json();
        let plugins = listed["plugins"].as_array().unwrap().clone();
        plugins.iter().any(|plugin| plugin["name"] == "vwap" && plugin["digest"] == digest)
    };
    let wait_runs = |wasm: &[u8]| {
        let digest = aggregator::digest::of(wasm);
        wait::until_true("the component to run", READY_LIMIT, || runs(&digest)).unwrap();
    };
    run(&["deploy", "vwap.wasm"]).fine();
    wait_runs(&first);
    run(&["deploy", "next.wasm"]).fine();
    wait_runs(&second);
    // A change that is being finished is not taken back: the host says to try again in a moment.
    wait::until_true("the host to go back", READY_LIMIT, || run(&["rollback", "vwap"]).code == 0).unwrap();
    wait_runs(&first);
    let table = desk.run("", &["list", "--host", &url]).fine();
    let line = table.lines().find(|line| line.starts_with("vwap")).unwrap();
    assert!(line.contains(&aggregator::digest::of(&first)[..12]), "{table}");
    assert_eq!(run(&["rollback", "nobody"]).code, 64);
    demo.stop(READY_LIMIT).unwrap();
}
