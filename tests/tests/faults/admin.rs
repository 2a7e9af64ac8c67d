//! Row 22: who may change something, asked from another address than this machine's own, and under many bad tries.
//!
//! The invariant: the routes are those that the service describes, so that none is forgotten.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use aggregator_tests::broker;
use aggregator_tests::host::Host;
use aggregator_tests::http::{self, Answer};
use aggregator_tests::redis_server::{Memory, RedisServer};
use aggregator_tests::settings::Settings;
use aggregator_tests::stream::Shape;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Run, runs, scaled, seed, wait_serving};

const TOKEN: &str = "0123456789abcdef0123";

/// An address of this machine that is not its loopback; asking with it is asking from elsewhere.
fn outer_address() -> IpAddr {
    let table = fs::read_to_string("/proc/net/fib_trie").unwrap();
    let lines: Vec<&str> = table.lines().map(str::trim).collect();
    let local = lines.windows(2).filter(|pair| pair[1].starts_with("/32 host LOCAL"));
    let mut addresses = local.filter_map(|pair| pair[0].strip_prefix("|-- ")?.parse::<IpAddr>().ok());
    addresses.find(|address| !address.is_loopback()).expect("a machine with a network address")
}

fn ask(address: IpAddr, port: u16, method: &str, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), LIMIT).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}:{port}\r\nContent-Length: 0\r\n{headers}\r\n"
    )
    .unwrap();
    http::read(stream).unwrap()
}

/// The operations that change something, as a host describes itself: method and path.
fn changes(host: &Host) -> Vec<(String, String)> {
    let described = host.json("/openapi.json").unwrap();
    let mut found = Vec::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if !operation["security"].is_null() {
                found.push((method.to_uppercase(), path.replace("{name}", "unknown-plugin")));
            }
        }
    }
    assert!(found.len() >= 10, "{found:?}");
    found
}

fn start(settings: &[(&str, &str)]) -> (Host, RedisServer) {
    let redis = RedisServer::start().unwrap();
    let topic = broker::shared().topic("admin", 1).unwrap();
    let own = Settings::of(broker::shared(), &topic, &redis).with("HTTP_BIND", "0.0.0.0");
    let own = settings.iter().fold(own, |own, (name, value)| own.with(name, value));
    (Host::start_ready(&own).unwrap(), redis)
}

#[test]
fn from_elsewhere_nothing_changes_without_a_token_and_everything_may_be_asked_with_the_right_one() {
    let outer = outer_address();
    let (open, _redis) = start(&[]);
    for (method, path) in changes(&open) {
        let from_elsewhere = ask(outer, open.port(), &method, &path, "");
        assert_eq!(from_elsewhere.status, 403, "{method} {path}: {}", from_elsewhere.body);
        assert!(from_elsewhere.body.contains(&outer.to_string()), "{}", from_elsewhere.body);
    }
    // Reading is open, and this machine may.
    assert_eq!(ask(outer, open.port(), "GET", "/plugins", "").status, 200);
    assert_eq!(http::request("POST", open.port(), "/performance/optimize/balanced", "").unwrap().status, 200);

    let (guarded, _redis) = start(&[("ADMIN_TOKEN", TOKEN)]);
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    let foreign = format!("{right}Origin: http://elsewhere.example\r\n");
    let (mut asked, mut refused) = (0, 0);
    for (method, path) in changes(&guarded) {
        let status = |headers: &str| ask(outer, guarded.port(), &method, &path, headers).status;
        assert_eq!(status(""), 401, "{method} {path} without a token");
        assert_eq!(status("Authorization: Bearer wrong\r\n"), 401, "{method} {path} with a wrong token");
        assert_eq!(status(&foreign), 403, "{method} {path} from another origin");
        let allowed = status(&right);
        assert!(![401, 403, 405].contains(&allowed), "{method} {path} with the right token: {allowed}");
        // What needs no body and no plugin is done.
        assert!(!path.starts_with("/performance/optimize") || allowed == 200, "{method} {path}: {allowed}");
        refused += 3;
        asked += 1;
    }
    assert!(asked >= 10, "{asked}");
    assert_eq!(guarded.metric("aggregator_admin_refused_total"), Some(f64::from(refused)));
}

#[test]
fn a_thousand_bad_tries_a_second_are_counted_and_hold_up_nobody() {
    /// How many clients try, how often each, and how long a try may take to keep up the rate.
    const CLIENTS: u32 = 10;
    const TRIES: u32 = 300;
    const PAUSE: Duration = Duration::from_millis(10);
    for number in 0..runs(1, 5) {
        let run =
            &Run::new("22 a thousand bad tries a second", seed(221, number), Shape::Arrays, Memory::Volatile);
        let pace = &Pace::default();
        let host = Host::start(&run.settings().with("ADMIN_TOKEN", TOKEN)).unwrap();
        host.wait_ready(LIMIT).unwrap();
        thread::scope(|scope| {
            let load = Load::start(scope, run, pace, Duration::from_secs(4));
            wait_serving(&host);
            let port = host.port();
            for _ in 0..CLIENTS {
                scope.spawn(move || {
                    for _ in 0..TRIES {
                        let began = Instant::now();
                        let answer =
                            http::request("DELETE", port, "/plugins/a", "Authorization: Bearer wrong\r\n");
                        assert_eq!(answer.unwrap().status, 401);
                        thread::sleep(PAUSE.saturating_sub(began.elapsed()));
                    }
                });
            }
            let began = Instant::now();
            assert_eq!(host.get("/health").unwrap().status, 200);
            let took = began.elapsed();
            assert!(took < scaled(Duration::from_millis(200)), "health took {took:?}");
            load.wait();
        });
        let tries = f64::from(CLIENTS * TRIES);
        host.wait_metric("aggregator_admin_refused_total", LIMIT, |refused| refused == tries).unwrap();
        let audit: Vec<_> = host.log().into_iter().filter(|line| line["component"] == "audit").collect();
        // One line a second says how many there were.
        assert!(audit.len() <= 60, "{} lines", audit.len());
        assert!(
            audit.iter().all(|line| line["outcome"] == "refused" && line["requests"].is_u64()),
            "{audit:?}"
        );
        run.assert_exact(&[&host]);
    }
}
