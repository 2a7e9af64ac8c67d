//! What a consumer of Redis sees, and how the server's refusals are told.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Commands;

use super::server::Server;
use super::{checkpoint, chunk, commit, page, value};
use crate::store::members::Member;
use crate::store::{Action, LayoutRecord, Lease, Owner, Part, Store, StoreError};

#[tokio::test]
async fn keys_have_their_names_and_their_time_to_live() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 0xabc).await.unwrap();
    let mut rows = chunk(owner, &[("a", 5, r#"{"w":1}"#)]);
    store.write(&rows).await.unwrap();
    let mut raw = server.raw();
    let mut keys: Vec<String> = raw.keys("*").unwrap();
    keys.sort();
    assert_eq!(
        keys,
        [
            "aggregator:{shard-3}:owner",
            "aggregator:{shard-3}:written",
            "token:a:aggregates",
            "token:a:last_update",
            "tokens:active",
        ]
    );
    let record: String = raw.get("aggregator:{shard-3}:owner").unwrap();
    assert_eq!(record, "1:00000000000000000000000000000abc");
    for key in ["token:a:aggregates", "token:a:last_update"] {
        let left_ms: i64 = raw.pttl(key).unwrap();
        assert!((1..=60_000).contains(&left_ms), "{key} {left_ms}");
    }
    rows.ttl_ms = None;
    store.write(&rows).await.unwrap();
    let left_ms: i64 = raw.pttl("token:a:aggregates").unwrap();
    assert_eq!(left_ms, -1);
    drop(raw);
}

#[tokio::test]
async fn staged_pages_go_by_themselves_and_committed_ones_stay() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    let mut raw = server.raw();
    let mut left_ms = |key: &str| -> i64 { raw.pttl(format!("aggregator:{{shard-3}}:{key}")).unwrap() };
    for index in 0..2 {
        store.stage(&page(owner, 1, index, b"a")).await.unwrap();
        let left_ms = left_ms(&format!("page:sliding-window:1:{index}"));
        assert!((3_500_000..=3_600_000).contains(&left_ms), "{left_ms}");
    }
    let mut end = commit(owner, &[(1, 3)]);
    end.last_page = Some(page(owner, 1, 2, b"c"));
    store.commit(&end).await.unwrap();
    for key in [
        "head:sliding-window",
        "page:sliding-window:1:0",
        "page:sliding-window:1:1",
        "page:sliding-window:1:2",
    ] {
        assert_eq!(left_ms(key), -1, "{key}");
    }
}

#[tokio::test]
async fn records_of_the_service_are_texts() {
    let server = Server::start();
    let store = server.store();
    let lease = Lease { id: 0xabc, epoch: 7, beat: 42, holder: "host-1".to_owned() };
    assert!(store.take_lease(None, &lease).await.unwrap());
    let layout = LayoutRecord::new("by-token", 3, "t");
    store.set_layout(&layout).await.unwrap();
    let mut raw = server.raw();
    let text: String = raw.get("aggregator:{service}:lease").unwrap();
    assert_eq!(text, "7:00000000000000000000000000000abc:42:host-1");
    let text: String = raw.get("aggregator:{service}:layout").unwrap();
    assert_eq!(
        text,
        r#"{"id":1,"mode":"by-token","shards":3,"hash":"xxh3-64","topic":"t","topic_id":null,"towards":null,"grown_ms":null}"#
    );
    let () = raw.set("aggregator:{service}:lease", "planted").unwrap();
    let () = raw.set("aggregator:{service}:layout", "planted").unwrap();
    let () = raw.set("aggregator:{shard-3}:head:sliding-window", "planted").unwrap();
    for error in [
        store.lease().await.unwrap_err(),
        store.layout().await.unwrap_err(),
        store.head(3, "sliding-window").await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Undecodable { .. }), "{error}");
        assert_eq!(error.action(), Action::Skip);
    }
}

#[tokio::test]
async fn a_host_that_speaks_otherwise_hides_no_other() {
    let server = Server::start();
    let store = server.store();
    let member = |id: &str| Member {
        id: id.to_owned(),
        host: id.to_owned(),
        plugins: BTreeMap::new(),
        partitions: Vec::new(),
    };
    store.introduce(&member("1")).await.unwrap();
    let _: () = server.raw().hset("aggregator:{service}:members", "2", "99999999999999:strange").unwrap();
    let heard = store.introduce(&member("3")).await.unwrap();
    let mut ids: Vec<String> = heard.into_iter().map(|member| member.id).collect();
    ids.sort();
    assert_eq!(ids, ["1", "3"]);
}

#[tokio::test]
async fn a_list_of_another_type_is_left_out_and_named() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    let mut raw = server.raw();
    let () = raw.set("tokens:active", "planted").unwrap();
    let () = raw.rpush("token:a:aggregates", "planted").unwrap();
    let error = store.write(&chunk(owner, &[("a", 5, r#"{"w":1}"#)])).await.unwrap_err();
    assert_eq!(error.action(), Action::Skip);
    let words = error.to_string();
    assert!(words.contains("tokens:active") && words.contains("ZADD"), "{words}");
    assert_eq!(value(&store, "a").await.as_deref(), Some(r#"{"w":1}"#));
    let () = raw.del("tokens:active").unwrap();
    store.write(&chunk(owner, &[("a", 5, r#"{"w":2}"#)])).await.unwrap();
    assert_eq!(store.active(10).await.unwrap(), [("a".to_owned(), 5)]);
}

#[tokio::test]
async fn a_checkpoint_key_of_another_type_is_no_checkpoint_and_the_next_one_takes_its_place() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    checkpoint(&store, owner, 1, &[b"a"]).await.unwrap();
    let mut raw = server.raw();
    let heads: Vec<String> = redis::cmd("KEYS").arg("aggregator:*head*").query(&mut raw).unwrap();
    let [head] = heads.as_slice() else { panic!("{heads:?}") };
    let () = redis::cmd("DEL").arg(head).query(&mut raw).unwrap();
    let () = redis::cmd("RPUSH").arg(head).arg("x").query(&mut raw).unwrap();
    let error = store.head(3, super::PLUGIN).await.unwrap_err();
    assert_eq!(error.action(), Action::Skip, "{error}");
    checkpoint(&store, owner, 2, &[b"b"]).await.unwrap();
    assert_eq!(super::loaded(&store).await.unwrap(), [b"b"]);
}

#[tokio::test]
async fn a_full_server_takes_nothing_and_says_so() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    let set = |bytes: &str| {
        let mut raw = server.raw();
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).query::<()>(&mut raw).unwrap();
    };
    set("1");
    let rows = chunk(owner, &[("a", 5, r#"{"w":1}"#), ("b", 5, r#"{"w":1}"#)]);
    let error = store.write(&rows).await.unwrap_err();
    assert_eq!(error.action(), Action::Retry);
    assert!(error.to_string().contains("OOM"), "{error}");
    assert_eq!(value(&store, "a").await, None);
    set("0");
    store.write(&rows).await.unwrap();
}

#[tokio::test]
async fn a_replica_takes_nothing_and_says_so() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    let mut raw = server.raw();
    let () = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).query(&mut raw).unwrap();
    let rows = chunk(owner, &[("a", 5, "{}")]);
    let error = store.write(&rows).await.unwrap_err();
    assert_eq!(error.action(), Action::Retry);
    assert!(error.to_string().contains("READONLY"), "{error}");
    let () = redis::cmd("REPLICAOF").arg("NO").arg("ONE").query(&mut raw).unwrap();
    store.write(&rows).await.unwrap();
}

#[tokio::test]
async fn a_forbidden_command_is_named_before_anything_is_written() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    let rules = |rule: &str| {
        let mut raw = server.raw();
        redis::cmd("ACL").arg("SETUSER").arg("default").arg(rule).query::<()>(&mut raw).unwrap();
    };
    let rows = chunk(owner, &[("a", 5, "{}")]);
    for (forbidden, allowed, named) in [
        ("-zadd", "+zadd", "ZADD for tokens:active"),
        ("-set", "+set", "SET for token:a:aggregates"),
        ("-evalsha", "+evalsha", "EVALSHA for aggregator:{shard-3}:owner"),
    ] {
        rules(forbidden);
        let error = store.write(&rows).await.unwrap_err();
        assert_eq!(error.action(), Action::Retry);
        let words = error.to_string();
        assert!(words.contains(named) && words.contains("NOPERM"), "{words}");
        assert_eq!(value(&store, "a").await, None);
        rules(allowed);
    }
    store.write(&rows).await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_without_permission_is_refused_before_anything_is_written() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    checkpoint(&store, owner, 1, &[b"a"]).await.unwrap();
    store.stage(&page(owner, 2, 0, b"b")).await.unwrap();
    let rules = |rule: &str| {
        let mut raw = server.raw();
        redis::cmd("ACL").arg("SETUSER").arg("default").arg(rule).query::<()>(&mut raw).unwrap();
    };
    let mut end = commit(owner, &[(2, 2)]);
    end.last_page = Some(page(owner, 2, 1, b"c"));
    end.replaced = vec![Part { id: 1, pages: 1 }];
    for command in ["SET", "PERSIST", "UNLINK", "EXISTS"] {
        rules(&format!("-{}", command.to_lowercase()));
        let error = store.commit(&end).await.unwrap_err();
        assert_eq!(error.action(), Action::Retry);
        assert!(error.to_string().contains("permission"), "{command}: {error}");
        assert_eq!(super::loaded(&store).await.unwrap(), [b"a"], "{command}");
        assert_eq!(store.page(3, "sliding-window", 2, 1).await.unwrap(), None, "{command}");
        rules(&format!("+{}", command.to_lowercase()));
    }
    store.commit(&end).await.unwrap();
    assert_eq!(super::loaded(&store).await.unwrap(), [b"b", b"c"]);
}

#[tokio::test]
async fn a_full_server_takes_no_part_of_a_commit() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    checkpoint(&store, owner, 1, &[b"a"]).await.unwrap();
    let set = |bytes: &str| {
        let mut raw = server.raw();
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).query::<()>(&mut raw).unwrap();
    };
    set("1");
    let error = checkpoint(&store, owner, 2, &[b"b"]).await.unwrap_err();
    assert_eq!(error.action(), Action::Retry);
    assert!(error.to_string().contains("OOM"), "{error}");
    assert_eq!(super::loaded(&store).await.unwrap(), [b"a"]);
    set("0");
    checkpoint(&store, owner, 2, &[b"b"]).await.unwrap();
    assert_eq!(super::loaded(&store).await.unwrap(), [b"b"]);
}

#[tokio::test]
async fn scripts_that_the_server_lost_are_sent_again() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    for _ in 0..2 {
        store.write(&chunk(owner, &[("a", 5, "{}")])).await.unwrap();
        let () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut server.raw()).unwrap();
    }
}

#[tokio::test]
async fn a_try_that_arrives_after_a_later_one_changes_nothing() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    store.write(&chunk(owner, &[("a", 5, r#"{"w":1}"#)])).await.unwrap();
    // As if a later try had been taken.
    let () = server.raw().set("aggregator:{shard-3}:written", 1_000).unwrap();
    let error = store.write(&chunk(owner, &[("a", 5, r#"{"w":0}"#)])).await.unwrap_err();
    assert!(matches!(error, StoreError::Overtaken { shard: 3 }), "{error}");
    assert_eq!(value(&store, "a").await.as_deref(), Some(r#"{"w":1}"#));
}

#[tokio::test]
async fn a_forgetful_server_is_told_from_another_owner() {
    let server = Server::start();
    let store = server.store();
    let former = store.claim(3, 7).await.unwrap();
    let owner = store.claim(3, 7).await.unwrap();
    let rows = chunk(owner, &[("a", 5, "{}")]);
    let mut raw = server.raw();
    // An older state came back, then none at all.
    let () = raw.set("aggregator:{shard-3}:owner", former.to_string()).unwrap();
    assert_eq!(store.write(&rows).await.unwrap_err().action(), Action::Fenced(None));
    let () = redis::cmd("FLUSHALL").query(&mut raw).unwrap();
    assert_eq!(store.write(&rows).await.unwrap_err().action(), Action::Fenced(None));
    let again = store.claim(3, 7).await.unwrap();
    assert_eq!(again, Owner { epoch: 3, id: 7 });
    store.write(&chunk(again, &[("a", 5, "{}")])).await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_works_by_its_address() {
    let server = Server::with(&["--unixsocket", "{dir}/socket"]);
    server.wait();
    // It listens there a moment after it answers at its port.
    for _ in 0..500 {
        if server.path("socket").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut config = server.config();
    config.url = format!("unix://{}", server.path("socket").display());
    let store = Store::redis(&config).unwrap();
    store.claim(3, 7).await.unwrap();
}
