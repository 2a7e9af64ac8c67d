//! The operator's page in a real browser, and the same numbers in a terminal.
//!
//! The invariant: what is read on the page is what the test itself did; nothing that a record holds runs.

use std::fs;
use std::process::Command;

use aggregator_tests::browser::Browser;
use aggregator_tests::host::Host;
use aggregator_tests::trade::Trade;
use aggregator_tests::{http, paths, time, wait};

use crate::rig::{LIMIT, Rig, wait_drained};

/// An address that would run a script where it is taken for markup.
const HOSTILE: &str = "<img src=x onerror=document.title=1>";

fn rig(name: &str) -> (Rig, Host) {
    let rig = Rig::new(name, 2);
    let host = Host::start_ready(&rig.wall().with("TIME_WINDOWS", "5min,1hour")).unwrap();
    (rig, host)
}

fn buy(rig: &Rig, token: &str, partition: i32) {
    rig.send(&[Trade::simple(token, time::now_ms()).message(partition)]);
}

#[test]
fn an_operator_clicks_through_the_page_while_trades_flow() {
    let (mut rig, mut host) = rig("page");
    for _ in 0..3 {
        buy(&rig, HOSTILE, 0);
    }
    buy(&rig, "CALM", 1);
    wait_drained(&host, 4);
    let browser = Browser::start().unwrap();
    let wait = |expression: &str| browser.wait(expression, LIMIT).unwrap();
    browser.open(&format!("http://127.0.0.1:{}/", host.port())).unwrap();
    wait("document.title === 'Healthy · aggregator' && document.querySelector('#live.on') !== null");
    wait("document.querySelectorAll('#tokens tbody tr').length === 2");
    wait("document.querySelector('#tokens tbody th').innerText.startsWith('<img ')");
    wait("document.querySelectorAll('#partitions tbody tr').length === 2 && document.images.length === 0");
    // Kept as long as the page is not loaded anew.
    browser.value("window.mark = 1").unwrap();

    // Windows are chosen, and what was folded out stays so, while the page changes.
    let shown = |window: &str| format!("document.querySelector('#tokens td.{window}').checkVisibility()");
    wait(&format!("{} && !{}", shown("w0"), shown("w1")));
    browser.click("label[for=w1]").unwrap();
    browser.click("#shards summary").unwrap();
    wait(&format!("!{} && {}", shown("w0"), shown("w1")));
    buy(&rig, "CALM", 1);
    wait("[...document.querySelectorAll('#tokens td.w1')].some((cell) => cell.innerText === '2')");
    wait(&format!("{} && document.querySelector('#shards details').open", shown("w1")));

    // A plugin that comes is listed and marked on the charts.
    let component = fs::read(paths::component("vwap").unwrap()).unwrap();
    let put = http::send("PUT", host.port(), "/plugins/vwap", "", &component).unwrap();
    assert_eq!(put.status, 200, "{}", put.body);
    wait("document.querySelector('#plugins').innerText.includes('vwap')");
    wait("document.querySelectorAll('#charts .mark').length >= 3");

    // A token has a page of its own, and the way back.
    browser.click("#tokens tbody a").unwrap();
    wait("document.querySelector('h1')?.innerText.startsWith('<img src=x')");
    wait("document.querySelector('#live.on') !== null && document.body.innerText.includes('buy count')");
    browser.click(".brand").unwrap();
    wait("document.querySelector('#live.on') !== null && window.mark === undefined");

    // Nothing is wider than a phone.
    browser.resize(500, 900).unwrap();
    wait("document.documentElement.scrollWidth <= innerWidth");

    // What fails is said without loading the page anew: first the store, then the service itself.
    browser.value("window.mark = 1").unwrap();
    rig.redis.kill();
    wait(
        "document.title === 'Unhealthy · aggregator' && document.querySelector('.reasons').innerText.includes('redis')",
    );
    wait("document.querySelectorAll('#tokens tbody tr').length === 2");
    assert_eq!(browser.value("window.mark").unwrap(), 1);
    rig.redis.restart().unwrap();
    wait("document.title === 'Healthy · aggregator'");
    host.stop(LIMIT).unwrap();
    wait("document.querySelector('#live.off') !== null");
}

#[test]
fn top_writes_one_frame_where_there_is_no_terminal() {
    let (rig, host) = rig("top");
    buy(&rig, "CALM", 1);
    wait_drained(&host, 1);
    let top = |url: &str| {
        let mut command = Command::new(paths::aggregator().unwrap());
        command.args(["top", "--url", url]).output().unwrap()
    };
    let mut frame = String::new();
    // Its numbers are those of the last second.
    let counted = wait::until_true("a frame with the trade", LIMIT, || {
        let output = top(&format!("http://127.0.0.1:{}", host.port()));
        frame = String::from_utf8(output.stdout).unwrap();
        output.status.success() && frame.contains("1 in all")
    });
    assert!(counted.is_ok(), "{frame}");
    for part in ["● healthy", "Trades/s", "1 in all", "sliding-window", "CALM"] {
        assert!(frame.contains(part), "{part} is missing in\n{frame}");
    }
    assert!(!frame.contains('\u{1b}'), "{frame}");
    let nobody = top("http://127.0.0.1:1");
    assert_eq!(nobody.status.code(), Some(69));
    let words = String::from_utf8(nobody.stderr).unwrap();
    assert!(words.contains("127.0.0.1:1 does not answer"), "{words}");
}
