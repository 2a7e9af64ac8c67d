//! Row 11: a Redis that answers, and refuses: it is full, a replica, forbids keys, or has a key of another type.
//!
//! The invariant: readiness names the key and the command, and when the cause is gone everything is there.

use std::thread;
use std::time::Duration;

use aggregator_tests::host::Host;
use aggregator_tests::redis_server::Memory;
use aggregator_tests::stream::Shape;
use aggregator_tests::wait;
use redis::Commands as _;

use crate::load::{Load, Pace};
use crate::run::{LIMIT, Run, runs, scaled, seed, wait_serving, wait_unready};

type Act = fn(&mut redis::Connection);

/// A reason to refuse.
struct Refusal {
    name: &'static str,
    begin: Act,
    end: Act,
    /// What readiness and health must name: the command, the key, and the server's words.
    named: &'static [&'static str],
    /// Everything but one key is written meanwhile.
    goes_on: bool,
}

fn command(connection: &mut redis::Connection, words: &[&str]) {
    let (name, arguments) = words.split_first().expect("a command");
    redis::cmd(name).arg(arguments).exec(connection).expect("redis takes the command");
}

const REFUSALS: [Refusal; 4] = [
    Refusal {
        name: "11 redis is full",
        begin: |redis| {
            command(redis, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
            command(redis, &["CONFIG", "SET", "maxmemory", "1"]);
        },
        end: |redis| command(redis, &["CONFIG", "SET", "maxmemory", "0"]),
        named: &["EVALSHA", "aggregator:{shard-", "OOM"],
        goes_on: false,
    },
    Refusal {
        name: "11 redis is a replica",
        begin: |redis| command(redis, &["REPLICAOF", "127.0.0.1", "1"]),
        end: |redis| command(redis, &["REPLICAOF", "NO", "ONE"]),
        named: &["EVALSHA", "aggregator:{shard-", "READONLY"],
        goes_on: false,
    },
    Refusal {
        name: "11 redis forbids keys",
        begin: |redis| {
            command(redis, &["ACL", "SETUSER", "default", "resetkeys", "~aggregator:*", "~tokens:active"])
        },
        end: |redis| command(redis, &["ACL", "SETUSER", "default", "allkeys"]),
        named: &["SET", "token:", "NOPERM"],
        goes_on: false,
    },
    Refusal {
        name: "11 redis has keys of another type",
        begin: |redis| {
            let token: Vec<String> = redis.zrange("tokens:active", 0, 0).expect("active tokens");
            let key = format!("token:{}:aggregates", token[0]);
            command(redis, &["DEL", &key, "tokens:active"]);
            command(redis, &["RPUSH", &key, "planted"]);
            command(redis, &["SET", "tokens:active", "planted"]);
        },
        end: |redis| command(redis, &["DEL", "tokens:active"]),
        named: &["ZADD", "tokens:active", "string"],
        goes_on: true,
    },
];

fn redis_refuses(run: &Run<'_>, refusal: &Refusal) {
    let pace = &Pace::default();
    let host = Host::start(&run.settings()).unwrap();
    thread::scope(|scope| {
        let load = Load::start(scope, run, pace, Duration::from_secs(12));
        wait_serving(&host);
        load.wait_for(0.2);
        let mut redis = run.redis.connect().unwrap();
        (refusal.begin)(&mut redis);
        let unready = wait_unready(&host, "redis: ", LIMIT);
        assert!(unready < scaled(Duration::from_secs(5)), "{}: it was ready for {unready:?}", refusal.name);
        for path in ["/health/ready", "/health"] {
            let mut last = String::new();
            let named = wait::until_true("the culprit's name", LIMIT, || {
                let answer = host.get(path).unwrap();
                last = answer.body;
                answer.status == 503 && refusal.named.iter().all(|name| last.contains(name))
            });
            named.unwrap_or_else(|error| panic!("{}: {error} at {path}: {last}", refusal.name));
        }
        let rows = host.metric("aggregator_rows_written_total").unwrap();
        load.wait_for(0.7);
        assert_eq!(host.get("/health/live").unwrap().status, 200);
        assert_eq!(host.get("/health/ready").unwrap().status, 503, "{}", refusal.name);
        let goes_on = host.metric("aggregator_rows_written_total").unwrap() > rows;
        assert_eq!(goes_on, refusal.goes_on, "{}: whether rows are written", refusal.name);
        (refusal.end)(&mut redis);
        load.finish();
    });
    host.wait_ready(LIMIT).unwrap();
    run.assert_exact(&[&host]);
}

#[test]
fn a_redis_that_refuses_is_named_with_key_and_command_and_gets_everything_afterwards() {
    for number in 0..runs(1, 5) {
        for (index, refusal) in REFUSALS.iter().enumerate() {
            let shape =
                if (number + index as u64).is_multiple_of(2) { Shape::Arrays } else { Shape::Singles };
            let run = Run::new(refusal.name, seed(111, number), shape, Memory::Volatile);
            redis_refuses(&run, refusal);
        }
    }
}
