//! Attacks by way of uploads: names, lengths, slowness, what is sent, and who sends it.
//!
//! The invariant: each is refused in time and in words, nothing is written outside the directory or left in it, and
//! the stream goes on.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use aggregator_tests::host::Host;
use aggregator_tests::http::{self, Answer};
use aggregator_tests::paths;
use aggregator_tests::trade::Trade;

use crate::rig::{LIMIT, Rig, wait_drained};

/// What a host takes at most in these tests.
const UPLOAD_MAX: usize = 8 << 20;
/// How long a refusal may take that needs nothing from the client.
const AT_ONCE: Duration = Duration::from_secs(1);

fn host(rig: &Rig, directory: &Path) -> Host {
    let settings = rig
        .wall()
        .with("PLUGINS_DIR", &directory.join("plugins").display().to_string())
        .with("PLUGIN_UPLOAD_MAX", "8MiB");
    Host::start_ready(&settings).unwrap()
}

fn put(host: &Host, path: &str, headers: &str, body: &[u8]) -> (Answer, Duration) {
    let began = Instant::now();
    let answer = http::send("PUT", host.port(), path, headers, body).unwrap();
    (answer, began.elapsed())
}

/// Everything that lies under a folder.
fn everything(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.display().to_string()),
            }
        }
    }
    found
}

#[test]
fn attacks_are_refused_in_time_and_leave_nothing() {
    let rig = Rig::new("attacks", 1);
    let outer = tempfile::tempdir().unwrap();
    let host = host(&rig, outer.path());
    let wasm = fs::read(paths::component("vwap").unwrap()).unwrap();
    assert!(wasm.len() < UPLOAD_MAX);
    let refused = |path: &str, headers: &str, body: &[u8], status: u16| {
        let (answer, took) = put(&host, path, headers, body);
        assert_eq!(answer.status, status, "{path} {headers}: {}", answer.body);
        assert!(took < AT_ONCE, "{path} took {took:?}");
        answer.body
    };
    for name in ["..%2Fx", "%2Fetc%2Fx", "x%00", "..", "a.b", "%ff", "UPPER", &"a".repeat(65)] {
        refused(&format!("/plugins/{name}"), "", &wasm, 400);
        refused(&format!("/plugins/{name}/config"), "", b"{}", 400);
        refused(&format!("/plugins/{name}/shadow"), "", b"", 405);
    }
    refused("/plugins/../x", "", &wasm, 404);
    let wrong = format!("X-Content-SHA256: {}\r\n", "0".repeat(64));
    let words = refused("/plugins/vwap", &wrong, &wasm, 400);
    assert!(words.contains("digest_mismatch"), "{words}");
    refused("/plugins/vwap", "X-Content-SHA256: none\r\n", &wasm, 400);
    // What wasmtime makes of a component is an ELF file; running one would be running anybody's code.
    let compiled = [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 4_000]].concat();
    let words = refused("/plugins/vwap", "", &compiled, 422);
    assert!(words.contains("\"stage\":\"check\""), "{words}");
    refused("/plugins/vwap", "", &wasm[..wasm.len() / 2], 422);
    refused("/plugins/vwap", "", b"", 422);
    refused("/plugins/vwap", "", &vec![0; UPLOAD_MAX + 1], 413);
    refused("/plugins/other-name", "", &wasm, 422);
    assert_eq!(everything(outer.path()), Vec::<String>::new());
    rig.send(&[Trade::simple("MINT", aggregator_tests::time::now_ms()).message(0)]);
    wait_drained(&host, 1);
}

#[test]
fn large_bodies_one_after_another_and_at_once_do_not_add_up_in_memory() {
    let rig = Rig::new("large", 1);
    let outer = tempfile::tempdir().unwrap();
    let settings = rig.wall().with("PLUGINS_DIR", &outer.path().display().to_string());
    let host = Host::start_ready(&settings).unwrap();
    let large = vec![0; 31 << 20];
    let before = host.usage().unwrap().peak_resident_bytes;
    for _ in 0..8 {
        assert_eq!(put(&host, "/plugins/large", "", &large).0.status, 422);
    }
    std::thread::scope(|scope| {
        for path in ["/plugins/one", "/plugins/other"] {
            let (host, large) = (&host, &large);
            scope.spawn(move || assert_eq!(put(host, path, "", large).0.status, 422));
        }
    });
    let grown = host.usage().unwrap().peak_resident_bytes - before;
    // One that is taken in, and one that the allocator may keep of another thread's; ten were sent.
    assert!(grown <= 80 << 20, "{} MiB", grown >> 20);
    assert_eq!(everything(outer.path()), Vec::<String>::new());
}

#[test]
fn endless_bodies_are_cut_off_by_length_and_by_time() {
    let rig = Rig::new("endless", 1);
    let outer = tempfile::tempdir().unwrap();
    let host = host(&rig, outer.path());
    let begin = |framing: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", host.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(
            stream,
            "PUT /plugins/vwap HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{framing}\r\n\r\n"
        )
        .unwrap();
        (stream, Instant::now())
    };
    let (announced, began) = begin("Content-Length: 1073741824");
    assert_eq!(http::read(announced).unwrap().status, 413);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());

    let (mut chunked, began) = begin("Transfer-Encoding: chunked");
    let chunk = [b"10000\r\n".as_slice(), &[0; 0x10000], b"\r\n"].concat();
    // It ends when the host has had enough and closes the connection.
    while chunked.write_all(&chunk).is_ok() && began.elapsed() < Duration::from_secs(10) {}
    assert_eq!(http::read(chunked).unwrap().status, 413);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    let (mut slow, began) = begin("Content-Length: 1000");
    let answering = slow.try_clone().unwrap();
    let dribbling = std::thread::spawn(move || {
        // The fault itself: a byte a second, for longer than the host waits.
        for _ in 0..12 {
            if slow.write_all(b"x").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    assert_eq!(http::read(answering).unwrap().status, 408);
    assert!(began.elapsed() <= Duration::from_secs(10), "{:?}", began.elapsed());
    dribbling.join().unwrap();
    assert_eq!(everything(outer.path()), Vec::<String>::new());
}

#[test]
fn only_the_admin_token_changes_something_and_the_log_says_who_tried() {
    let rig = Rig::new("admin", 1);
    let outer = tempfile::tempdir().unwrap();
    let token = "correct-horse-battery";
    let settings =
        rig.wall().with("PLUGINS_DIR", &outer.path().display().to_string()).with("ADMIN_TOKEN", token);
    let host = Host::start_ready(&settings).unwrap();
    let wasm = fs::read(paths::component("vwap").unwrap()).unwrap();
    let right = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(put(&host, "/plugins/vwap", "", &wasm).0.status, 401);
    assert_eq!(put(&host, "/plugins/vwap", "Authorization: Bearer wrong\r\n", &wasm).0.status, 401);
    let foreign = format!("{right}Origin: http://elsewhere.example\r\n");
    assert_eq!(put(&host, "/plugins/vwap", &foreign, &wasm).0.status, 403);
    assert_eq!(everything(outer.path()), Vec::<String>::new());
    assert_eq!(put(&host, "/plugins/vwap", &right, &wasm).0.status, 200);
    assert_eq!(host.metric("aggregator_admin_refused_total"), Some(3.0));
    host.wait_line("\"outcome\":\"done\"", LIMIT).unwrap();
    let lines = host.log();
    let audit: Vec<_> = lines.iter().filter(|line| line["component"] == "audit").collect();
    assert!(audit.iter().any(|line| line["level"] == "WARN" && line["status"] == 401), "{audit:?}");
    let done = audit.iter().find(|line| line["outcome"] == "done").expect("the change is in the log");
    assert_eq!((&done["method"], &done["path"]), (&"PUT".into(), &"/plugins/vwap".into()), "{done}");
    assert!(done["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{done}");
    assert!(!format!("{lines:?}").contains(token), "the token is in the log");
}
