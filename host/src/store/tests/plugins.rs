//! One suite for every store: records of plugins and their components.

use ::redis::Commands;

use super::promises;
use super::server::Server;
use crate::digest;
use crate::store::plugins::CHUNK_BYTES;
use crate::store::{Action, PluginRecord, PluginVersion, Store, Switched};

promises!(
    a_record_is_read_back_with_its_component,
    a_record_is_switched_only_as_it_was_seen,
    of_several_that_switch_one_wins,
    a_record_without_its_component_is_not_taken,
    the_last_two_components_are_kept,
    a_component_that_is_stored_may_be_stored_again,
    a_removed_plugin_leaves_nothing,
    plugins_are_apart,
);

const NAME: &str = "my-metric";

/// A component of three chunks, the last one short.
fn wasm(seed: u8) -> Vec<u8> {
    (0..2 * CHUNK_BYTES + 99).map(|n| seed.wrapping_add((n * 31) as u8)).collect()
}

fn version(wasm: &[u8], configuration: &str) -> PluginVersion {
    PluginVersion::new(&digest::of(wasm), wasm, configuration, "1.2.3", 1_772_366_400_000)
}

async fn staged(store: &Store, wasm: &[u8]) -> PluginVersion {
    store.stage_component(NAME, &digest::of(wasm), wasm).await.unwrap();
    version(wasm, "{}")
}

async fn switched(store: &Store, seen: Option<&PluginRecord>, new: &PluginRecord) -> Switched {
    store.switch_plugin(NAME, seen, Some(new)).await.unwrap()
}

async fn record(store: &Store) -> Option<PluginRecord> {
    store.plugins().await.unwrap().remove(NAME)
}

async fn component(store: &Store, version: &PluginVersion) -> Option<Vec<u8>> {
    store.component(NAME, version).await.unwrap()
}

async fn a_record_is_read_back_with_its_component(store: &Store) {
    assert!(store.plugins().await.unwrap().is_empty());
    let wasm = wasm(1);
    let mut first = PluginRecord::first(staged(store, &wasm).await).refusing("bad");
    first.current.configuration = r#"{"text":"ü\n\"quoted\""}"#.to_owned();
    assert_eq!(first.current.chunks, 3);
    assert_eq!(switched(store, None, &first).await, Switched::Done);
    assert_eq!(record(store).await.as_ref(), Some(&first));
    assert!(component(store, &first.current).await.unwrap() == wasm);
}

async fn a_record_is_switched_only_as_it_was_seen(store: &Store) {
    let first = PluginRecord::first(staged(store, b"one").await);
    let second = first.accepted(staged(store, b"two").await);
    // Seen, but not there.
    assert_eq!(switched(store, Some(&first), &second).await, Switched::Stale);
    assert_eq!(record(store).await, None);
    assert_eq!(switched(store, None, &first).await, Switched::Done);
    // Not seen, but there.
    assert_eq!(switched(store, None, &first).await, Switched::Stale);
    assert_eq!(switched(store, Some(&first), &second).await, Switched::Done);
    // An answer was lost, and it is tried again.
    assert_eq!(switched(store, Some(&first), &second).await, Switched::Stale);
    assert_eq!(store.switch_plugin(NAME, Some(&first), None).await.unwrap(), Switched::Stale);
    assert_eq!(record(store).await, Some(second));
}

async fn of_several_that_switch_one_wins(store: &Store) {
    let first = PluginRecord::first(staged(store, b"one").await);
    switched(store, None, &first).await;
    let (a, b, c) = (first.refusing("a"), first.refusing("b"), first.refusing("c"));
    let switch = async |new: &PluginRecord| switched(store, Some(&first), new).await;
    let all: [Switched; 3] = tokio::join!(switch(&a), switch(&b), switch(&c)).into();
    let winners: Vec<usize> = (0..3).filter(|&index| all[index] == Switched::Done).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(record(store).await.as_ref(), Some([&a, &b, &c][winners[0]]));
}

async fn a_record_without_its_component_is_not_taken(store: &Store) {
    let missing = PluginRecord::first(version(b"one", "{}"));
    assert_eq!(switched(store, None, &missing).await, Switched::Incomplete);
    assert_eq!(record(store).await, None);
    assert_eq!(component(store, &missing.current).await, None);
    // One chunk too few.
    let wasm = wasm(1);
    let mut short = PluginRecord::first(staged(store, &wasm).await);
    short.current.chunks += 1;
    assert_eq!(switched(store, None, &short).await, Switched::Incomplete);
    short.current.chunks -= 1;
    assert_eq!(switched(store, None, &short).await, Switched::Done);
}

async fn the_last_two_components_are_kept(store: &Store) {
    let components = [wasm(1), wasm(2), wasm(3)];
    let mut seen: Option<PluginRecord> = None;
    for wasm in &components {
        let version = staged(store, wasm).await;
        let next = match &seen {
            Some(seen) => seen.accepted(version),
            None => PluginRecord::first(version),
        };
        assert_eq!(switched(store, seen.as_ref(), &next).await, Switched::Done);
        seen = Some(next);
    }
    for (wasm, kept) in components.iter().zip([false, true, true]) {
        assert_eq!(component(store, &version(wasm, "{}")).await.is_some(), kept);
    }
    // A rollback needs nothing to be stored.
    let third = seen.unwrap();
    let back = third.accepted(third.previous.clone().unwrap());
    assert_eq!(switched(store, Some(&third), &back).await, Switched::Done);
    for wasm in &components[1..] {
        assert!(component(store, &version(wasm, "{}")).await.unwrap() == *wasm);
    }
}

async fn a_component_that_is_stored_may_be_stored_again(store: &Store) {
    let wasm = wasm(1);
    let first = PluginRecord::first(staged(store, &wasm).await);
    switched(store, None, &first).await;
    let again =
        first.accepted(PluginVersion { configuration: "{}".to_owned(), ..staged(store, &wasm).await });
    assert_eq!(switched(store, Some(&first), &again).await, Switched::Done);
    assert!(component(store, &again.current).await.unwrap() == wasm);
}

async fn a_removed_plugin_leaves_nothing(store: &Store) {
    let wasm = wasm(1);
    let first = PluginRecord::first(staged(store, &wasm).await);
    switched(store, None, &first).await;
    assert_eq!(store.switch_plugin(NAME, Some(&first), None).await.unwrap(), Switched::Done);
    assert_eq!(record(store).await, None);
    assert_eq!(component(store, &first.current).await, None);
    staged(store, &wasm).await;
    assert_eq!(switched(store, None, &first).await, Switched::Done);
}

async fn plugins_are_apart(store: &Store) {
    let first = PluginRecord::first(staged(store, b"one").await);
    switched(store, None, &first).await;
    // The same component of another plugin, which then goes.
    store.stage_component("other", &digest::of(b"one"), b"one").await.unwrap();
    assert_eq!(store.switch_plugin("other", None, Some(&first)).await.unwrap(), Switched::Done);
    assert_eq!(store.plugins().await.unwrap().len(), 2);
    assert_eq!(store.switch_plugin("other", Some(&first), None).await.unwrap(), Switched::Done);
    assert_eq!(record(store).await.as_ref(), Some(&first));
    assert_eq!(component(store, &first.current).await.unwrap(), b"one");
}

#[tokio::test]
async fn chunks_go_by_themselves_until_a_record_names_them() {
    let server = Server::start();
    let store = server.store();
    let first = PluginRecord::first(staged(&store, &wasm(1)).await);
    let mut raw = server.raw();
    let key = |index: u32| format!("aggregator:{{service}}:plugin:{NAME}:{}:{index}", first.current.digest);
    let mut left_ms = |index| -> i64 { raw.pttl(key(index)).unwrap() };
    for index in 0..3 {
        assert!((3_500_000..=3_600_000).contains(&left_ms(index)));
    }
    assert_eq!(switched(&store, None, &first).await, Switched::Done);
    staged(&store, &wasm(1)).await;
    for index in 0..3 {
        assert_eq!(left_ms(index), -1);
    }
}

#[tokio::test]
async fn what_is_damaged_or_of_another_version_is_reported_by_its_key() {
    let server = Server::start();
    let store = server.store();
    let first = PluginRecord::first(staged(&store, &wasm(1)).await);
    switched(&store, None, &first).await;
    let mut raw = server.raw();
    let chunk = format!("aggregator:{{service}}:plugin:{NAME}:{}:1", first.current.digest);
    let _: () = raw.set(&chunk, "damaged").unwrap();
    let error = store.component(NAME, &first.current).await.unwrap_err();
    assert_eq!(error.action(), Action::Skip);
    assert!(error.to_string().contains(NAME), "{error}");
    let _: () = raw.hset("aggregator:{service}:plugins", "later", r#"{"format":2}"#).unwrap();
    let error = store.plugins().await.unwrap_err();
    assert!(error.to_string().contains("later"), "{error}");
}
