//! A server that goes back to an older state is noticed, and nothing is written onto it.

use redis::Commands;

use super::server::Server;
use super::{checkpoint, chunk, commit, loaded, page, value};
use crate::store::{Action, Owner, Part, Store, StoreError};

const WRITTEN: &str = "aggregator:{shard-3}:written";
const OWNER: &str = "aggregator:{shard-3}:owner";

/// Every write that a shard knows.
async fn all_writes(store: &Store, owner: Owner) -> [Result<(), StoreError>; 3] {
    let mut end = commit(owner, &[(9, 1)]);
    end.last_page = Some(page(owner, 9, 0, b"late"));
    end.replaced = vec![Part { id: 1, pages: 1 }];
    [
        store.write(&chunk(owner, &[("a", 9, r#"{"w":"late"}"#)])).await,
        store.stage(&page(owner, 1, 0, b"late")).await,
        store.commit(&end).await,
    ]
}

/// All keys with their values, as the server serialises them.
fn contents(server: &Server) -> Vec<(String, Vec<u8>)> {
    let mut raw = server.raw();
    let mut keys: Vec<String> = raw.keys("*").unwrap();
    keys.sort();
    let dump = |key: String| {
        let value: Vec<u8> = redis::cmd("DUMP").arg(&key).query(&mut server.raw()).unwrap();
        (key, value)
    };
    keys.into_iter().map(dump).collect()
}

#[tokio::test]
async fn a_server_that_went_back_takes_nothing_until_the_next_claim() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    checkpoint(&store, owner, 1, &[b"a"]).await.unwrap();
    store.write(&chunk(owner, &[("a", 5, r#"{"w":1}"#)])).await.unwrap();
    let mut raw = server.raw();
    let number: u64 = raw.get(WRITTEN).unwrap();
    assert_eq!(store.forgotten(&[3]).await.unwrap(), [0_u32; 0]);
    for older in [Some(number - 1), Some(0), None] {
        let () = match older {
            Some(older) => raw.set(WRITTEN, older).unwrap(),
            None => raw.del(WRITTEN).unwrap(),
        };
        let before = contents(&server);
        for written in all_writes(&store, owner).await {
            let error = written.unwrap_err();
            assert!(matches!(error, StoreError::Regressed { shard: 3 }), "{older:?}: {error}");
            assert_eq!(error.action(), Action::Regressed);
        }
        assert_eq!(contents(&server), before);
        assert_eq!(store.forgotten(&[2, 3, 4]).await.unwrap(), [3]);
    }
    let again = store.claim(3, 7).await.unwrap();
    assert_eq!(store.forgotten(&[3]).await.unwrap(), [0_u32; 0]);
    store.write(&chunk(again, &[("a", 5, r#"{"w":2}"#)])).await.unwrap();
    checkpoint(&store, again, 1, &[b"b"]).await.unwrap();
    assert_eq!(loaded(&store).await.unwrap(), [b"b"]);
}

#[tokio::test]
async fn a_restored_dump_is_noticed() {
    let mut server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    checkpoint(&store, owner, 1, &[b"a"]).await.unwrap();
    let () = redis::cmd("SAVE").query(&mut server.raw()).unwrap();
    store.write(&chunk(owner, &[("a", 5, r#"{"w":1}"#)])).await.unwrap();
    server.kill();
    server.run();
    server.wait();
    let forgotten = super::faults::until_not_retry(|| store.forgotten(&[3])).await.unwrap();
    assert_eq!(forgotten, [3]);
    let error = store.write(&chunk(owner, &[("a", 5, r#"{"w":2}"#)])).await.unwrap_err();
    let error = match error.action() {
        Action::Retry => store.write(&chunk(owner, &[("a", 5, r#"{"w":2}"#)])).await.unwrap_err(),
        _ => error,
    };
    assert_eq!(error.action(), Action::Regressed, "{error}");
    assert_eq!(value(&store, "a").await, None);
}

#[tokio::test]
async fn a_wiped_server_is_noticed_without_a_write() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    store.claim(4, 7).await.unwrap();
    let () = redis::cmd("FLUSHALL").query(&mut server.raw()).unwrap();
    for written in all_writes(&store, owner).await {
        assert_eq!(written.unwrap_err().action(), Action::Fenced(None));
    }
    assert_eq!(contents(&server), []);
    // Shard 5 was never claimed here.
    assert_eq!(store.forgotten(&[3, 4, 5]).await.unwrap(), [3, 4]);
    store.claim(3, 7).await.unwrap();
    assert_eq!(store.forgotten(&[3, 4, 5]).await.unwrap(), [4]);
}

#[tokio::test]
async fn a_shard_that_another_process_took_over_is_not_forgotten() {
    let server = Server::start();
    let (store, other) = (server.store(), server.store());
    let owner = store.claim(3, 7).await.unwrap();
    for _ in 0..5 {
        store.write(&chunk(owner, &[("a", 5, "{}")])).await.unwrap();
    }
    // The other one's numbers begin again at 1.
    let latter = other.claim(3, 8).await.unwrap();
    assert_eq!(store.forgotten(&[3]).await.unwrap(), [0_u32; 0]);
    for written in all_writes(&store, owner).await {
        assert_eq!(written.unwrap_err().action(), Action::Fenced(Some(latter)));
    }
    other.write(&chunk(latter, &[("a", 5, "{}")])).await.unwrap();
    // A claim of an older state came back.
    let () = server.raw().set(OWNER, owner.to_string()).unwrap();
    assert_eq!(other.forgotten(&[3]).await.unwrap(), [3]);
}

#[tokio::test]
async fn a_write_that_was_taken_without_an_answer_is_no_regression() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    store.write(&chunk(owner, &[("a", 5, r#"{"w":1}"#)])).await.unwrap();
    let () = server.raw().incr(WRITTEN, 1).unwrap();
    assert_eq!(store.forgotten(&[3]).await.unwrap(), [0_u32; 0]);
    // The next number is the one that was taken.
    let error = store.write(&chunk(owner, &[("a", 5, r#"{"w":2}"#)])).await.unwrap_err();
    assert!(matches!(error, StoreError::Overtaken { shard: 3 }), "{error}");
    store.write(&chunk(owner, &[("a", 5, r#"{"w":2}"#)])).await.unwrap();
}

#[tokio::test]
async fn a_late_checkpoint_write_changes_nothing() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    checkpoint(&store, owner, 1, &[b"a"]).await.unwrap();
    // As if a later try had been taken.
    let () = server.raw().set(WRITTEN, 1_000).unwrap();
    let before = contents(&server);
    for written in all_writes(&store, owner).await {
        let error = written.unwrap_err();
        assert!(matches!(error, StoreError::Overtaken { shard: 3 }), "{error}");
        assert_eq!(error.action(), Action::Retry);
    }
    assert_eq!(contents(&server), before);
}

#[tokio::test]
async fn a_page_that_the_server_evicted_stops_the_commit() {
    let server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    checkpoint(&store, owner, 1, &[b"a", b"b"]).await.unwrap();
    let () = server.raw().del("aggregator:{shard-3}:page:sliding-window:1:0").unwrap();
    let before = contents(&server);
    // Also where the page belongs to an earlier part.
    let mut end = commit(owner, &[(1, 2), (2, 1)]);
    end.last_page = Some(page(owner, 2, 0, b"c"));
    assert_eq!(store.commit(&end).await.unwrap_err().action(), Action::Regressed);
    assert_eq!(contents(&server), before);
}
