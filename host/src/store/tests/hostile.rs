//! Whatever stands in the keys of the service is a value or an error, and never more than that.
//!
//! Not for the meaning of records. Invariant: everything that is read back from a store is read here.

use ::redis::Commands;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::server::Server;
use super::{KEY, PLUGIN, chunk, commit, page};
use crate::store::plugins::PluginRecord;
use crate::store::{Head, LayoutRecord, Lease, Owner, PluginVersion, Store, decode, keys};

/// Bytes of any kind, and texts that look like records.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let text = |pattern: &'static str| pattern.prop_map(|text: String| text.into_bytes());
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        text("[0-9a-f]{0,22}:[0-9a-fx]{0,40}(:[0-9-]{0,22}(:.{0,20})?)?"),
        text(r#"\{"(mode|format|shards|topic|revision|current)":("[a-z]{0,9}"|[0-9]{0,25}|null)[,}].{0,40}"#),
        any_head(),
        any_record(),
    ]
}

/// A head with any numbers in it, some of it damaged.
fn any_head() -> impl Strategy<Value = Vec<u8>> {
    let parts = proptest::collection::vec((any::<u64>(), any::<u32>()), 0..4);
    let marks =
        proptest::collection::vec((any::<i32>(), any::<i64>(), any::<Option<i64>>(), any::<u8>()), 0..4);
    let damage = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3);
    (parts, marks, any::<(u32, u64, u64, Option<i64>, u64)>(), damage).prop_map(
        |(parts, marks, numbers, damage)| {
            let mut head = commit(Owner::NOBODY, &parts).head;
            (head.state_version, head.horizon_ms, head.step_ms, head.clock_ms, head.bytes) = numbers;
            let mark = |(partition, next, newest_ms, progress)| crate::store::SavedMark {
                partition,
                next,
                newest_ms,
                progress,
            };
            head.marks = marks.into_iter().map(mark).collect();
            let mut bytes = head.encode("k").unwrap();
            for (place, byte) in damage {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes
        },
    )
}

fn any_record() -> impl Strategy<Value = Vec<u8>> {
    any::<(u64, u32, i64)>().prop_map(|(revision, chunks, since_ms)| {
        let current = PluginVersion { chunks, since_ms, ..PluginVersion::new("00", b"", "{}", "1", 0) };
        PluginRecord { revision, ..PluginRecord::first(current) }.encode("k").unwrap()
    })
}

/// Reads everything, and tries every write; what comes of it does not matter, only that something does.
async fn use_all(store: &Store, owner: Owner) {
    drop(store.token("a", &[KEY.into()]).await);
    drop(store.active(10).await);
    drop(store.forgotten(&[3]).await);
    if let Ok(Some(head)) = store.head(3, PLUGIN).await {
        assert!(head.parts.iter().map(|part| u64::from(part.pages)).sum::<u64>() < 1 << 20);
    }
    drop(store.page(3, PLUGIN, 1, 0).await);
    drop(store.layout().await);
    let lease = store.lease().await;
    drop(
        store
            .take_lease(
                lease.ok().flatten().as_ref(),
                &Lease { id: 7, epoch: 1, beat: 0, holder: String::new() },
            )
            .await,
    );
    for record in store.plugins().await.unwrap_or_default().into_values() {
        drop(store.component("any", &record.current).await);
    }
    let claimed = store.claim(3, 7).await.unwrap_or(owner);
    drop(store.write(&chunk(claimed, &[("a", 5, "{}")])).await);
    drop(store.stage(&page(claimed, 1, 0, b"a")).await);
    drop(store.commit(&commit(claimed, &[(1, 1)])).await);
}

#[test]
fn whatever_redis_holds_is_a_value_or_an_error() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(async { server.store() });
    let scope = keys::shard(3);
    let names = [
        keys::owner(&scope),
        keys::written(&scope),
        keys::head(3, PLUGIN),
        keys::page(3, PLUGIN, (1, 0)),
        keys::of_token("a", KEY),
        keys::of_token("a", keys::LAST_UPDATE),
        keys::LAYOUT.to_owned(),
        keys::LEASE.to_owned(),
        keys::ACTIVE.to_owned(),
        keys::PLUGINS.to_owned(),
    ];
    let owner = Owner { epoch: 1, id: 7 };
    let mut runner = TestRunner::new(ProptestConfig::with_cases(64));
    let tried = runner.run(&(content(), any::<bool>()), |(bytes, list)| {
        let mut raw = server.raw();
        let () = raw.flushall().unwrap();
        for name in &names {
            let () = match (list, *name == keys::PLUGINS) {
                (true, _) => raw.rpush(name, &bytes).unwrap(),
                (false, true) => raw.hset(name, "any", &bytes).unwrap(),
                (false, false) => raw.set(name, &bytes).unwrap(),
            };
        }
        runtime.block_on(use_all(&store, owner));
        Ok(())
    });
    tried.unwrap();
    let () = server.raw().flushall().unwrap();
    runtime.block_on(async {
        let owner = store.claim(3, 7).await.unwrap();
        store.write(&chunk(owner, &[("a", 5, "{}")])).await.unwrap();
    });
}

proptest! {
    #[test]
    fn every_record_is_read_or_refused(bytes in content()) {
        let text = String::from_utf8_lossy(&bytes);
        if let Some(owner) = Owner::parse(&text) {
            prop_assert_eq!(Owner::parse(&owner.to_string()), Some(owner));
        }
        if let Ok(lease) = Lease::decode("k", &text) {
            prop_assert_eq!(Lease::decode("k", &lease.to_string()).unwrap(), lease);
        }
        if let Ok(layout) = LayoutRecord::decode("k", &bytes) {
            prop_assert_eq!(LayoutRecord::decode("k", &layout.encode("k").unwrap()).unwrap(), layout);
        }
        if let Ok(record) = PluginRecord::decode("k", &bytes) {
            prop_assert!(record.chunks().count() <= 2 * 4096);
        }
        if let Ok(head) = Head::decode("k", &bytes) {
            prop_assert_eq!(head.format, Head::FORMAT);
        }
        drop(decode::value("k", &bytes));
    }
}
