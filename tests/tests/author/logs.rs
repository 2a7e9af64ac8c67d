//! What a running service's log says about a plugin, on its author's terminal.
//!
//! The invariant: what is asked for is what stands in the log, and lines to come are shown as they come.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use aggregator_tests::host::READY_LIMIT;
use aggregator_tests::plugins_dir::{PluginsDir, hostile};
use aggregator_tests::{http, paths, wait};
use serde_json::Value;

use crate::desk::Desk;
use crate::journey::demo;

#[test]
fn an_author_reads_what_the_log_says_about_a_plugin_and_follows_it() {
    let desk = Desk::new();
    let plugins = PluginsDir::new().unwrap();
    let (mut demo, port) = demo(plugins.path());
    demo.wait_line("Reading", READY_LIMIT).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let mut following = Command::new(paths::aggregator().unwrap())
        .args(["plugin", "logs", "hostile", "--follow", "--host", &url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (said, lines) = mpsc::sync_channel(1_000);
    let output = BufReader::new(following.stdout.take().unwrap());
    let reader =
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
    let wait_line = |words: &str| loop {
        let line = lines.recv_timeout(READY_LIMIT).unwrap_or_else(|_| panic!("{words:?} is not told"));
        if line.contains(words) {
            return line;
        }
    };

    plugins.put("hostile.wasm", &hostile(1).unwrap()).unwrap();
    let swapped = wait_line("Plugin swapped");
    assert!(swapped.contains(" INFO  hostile: "), "{swapped}");
    plugins.put("hostile.json", br#"{"does": [{"at": "process", "do": "panic", "after": 3}]}"#).unwrap();
    let panicked = wait_line(" ERROR hostile: ");
    assert!(panicked.contains("panicked at"), "{panicked}");
    wait_line("panics, as it was told");

    // Those of all plugins, and of another one.
    let all = desk.run("", &["logs", "--host", &url, "-o", "json"]).fine();
    let about = |line: &str| serde_json::from_str::<Value>(line).unwrap()["plugin"].clone();
    assert!(all.lines().any(|line| about(line) == "hostile"), "{all}");
    assert_eq!(desk.run("", &["logs", "nobody", "--host", &url]).fine(), "");
    let last = desk.run("", &["logs", "--lines", "1", "--host", &url, "-o", "json"]).fine();
    assert_eq!(last.lines().count(), 1, "{last}");
    for wrong in ["/logs?lines=many", "/logs?lines=-1", "/logs?follow=perhaps"] {
        let answer = http::get(port, wrong).unwrap();
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.body);
    }

    demo.stop(READY_LIMIT).unwrap();
    let ended =
        wait::until("the command to end with its host", READY_LIMIT, || following.try_wait().unwrap());
    assert!(ended.unwrap().success());
    drop(lines);
    // It may have found nobody to tell.
    drop(reader.join().unwrap());
}
