//! One suite for every store: results and owners.

use std::sync::Arc;

use super::{CLOCK_MS, KEY, chunk, promises, value};
use crate::store::{Action, Owner, Store, StoreError};

promises!(
    a_written_chunk_is_read_back,
    an_unknown_token_has_nothing,
    a_chunk_of_another_owner_changes_nothing,
    a_shard_without_an_owner_takes_nothing,
    a_claim_raises_the_epoch_and_fences_the_former_owner,
    a_scope_is_not_claimed_again_where_another_has_it_by_now,
    scopes_are_owned_apart,
    the_time_of_the_last_trade_only_rises,
    forgotten_tokens_leave_the_active_list,
    other_plugins_leave_the_clock_and_the_list_alone,
    either_encoding_is_read,
    a_value_of_something_else_is_reported_by_its_key,
    a_chunk_of_256_long_tokens_is_written_whole,
);

async fn claimed(store: &Store) -> Owner {
    store.claim(3, 7).await.unwrap()
}

async fn a_written_chunk_is_read_back(store: &Store) {
    store.ping().await.unwrap();
    let owner = claimed(store).await;
    let rows = [("a", 5, r#"{"w":1}"#), ("b", 9, r#"{"w":2}"#), ("c", 7, r#"{"w":3}"#)];
    store.write(&chunk(owner, &rows)).await.unwrap();
    let keys: [Arc<str>; 2] = [KEY.into(), "vwap".into()];
    let found = store.token("b", &keys).await.unwrap().unwrap();
    assert_eq!(found.last_update.as_deref(), Some("2026-03-01T12:00:10.123Z"));
    assert_eq!(found.results.len(), 1);
    assert_eq!(value(store, "b").await.as_deref(), Some(r#"{"w":2}"#));
    let latest = [("b".to_owned(), 9), ("c".to_owned(), 7)];
    assert_eq!(store.active(2).await.unwrap(), latest);
    assert_eq!(store.active(0).await.unwrap(), []);
}

async fn an_unknown_token_has_nothing(store: &Store) {
    assert_eq!(store.token("nobody", &[KEY.into()]).await.unwrap(), None);
    assert_eq!(store.active(10).await.unwrap(), []);
}

async fn a_chunk_of_another_owner_changes_nothing(store: &Store) {
    let owner = claimed(store).await;
    store.write(&chunk(owner, &[("a", 5, r#"{"w":1}"#)])).await.unwrap();
    for other in [Owner { id: 8, ..owner }, Owner { epoch: owner.epoch + 1, ..owner }] {
        let mut fenced = chunk(other, &[("a", 50, r#"{"w":2}"#), ("b", 50, r#"{"w":2}"#)]);
        fenced.forgotten = vec!["a".into()];
        let error = store.write(&fenced).await.unwrap_err();
        assert!(matches!(error, StoreError::Fenced { found, .. } if found == Some(owner)), "{error}");
    }
    assert_eq!(value(store, "a").await.as_deref(), Some(r#"{"w":1}"#));
    assert_eq!(value(store, "b").await, None);
    assert_eq!(store.active(10).await.unwrap(), [("a".to_owned(), 5)]);
}

async fn a_shard_without_an_owner_takes_nothing(store: &Store) {
    let error = store.write(&chunk(Owner { epoch: 1, id: 7 }, &[("a", 5, "{}")])).await.unwrap_err();
    assert_eq!(error.action(), Action::Fenced(None));
    assert_eq!(value(store, "a").await, None);
}

async fn a_claim_raises_the_epoch_and_fences_the_former_owner(store: &Store) {
    let former = claimed(store).await;
    let latter = store.claim(3, u128::MAX).await.unwrap();
    assert_eq!(latter, Owner { epoch: former.epoch + 1, id: u128::MAX });
    let error = store.write(&chunk(former, &[("a", 5, "{}")])).await.unwrap_err();
    assert_eq!(error.action(), Action::Fenced(Some(latter)));
    store.write(&chunk(latter, &[("a", 5, "{}")])).await.unwrap();
    let again = claimed(store).await;
    assert_eq!(again.epoch, latter.epoch + 1);
}

async fn a_scope_is_not_claimed_again_where_another_has_it_by_now(store: &Store) {
    let own = claimed(store).await;
    assert_eq!(store.reclaim(3, own).await.unwrap(), Owner { epoch: own.epoch + 1, ..own });
    let other = store.claim(3, 8).await.unwrap();
    let refused = store.reclaim(3, own).await.unwrap_err();
    assert_eq!(refused.action(), Action::Fenced(Some(other)));
    // One of an older epoch is what the store has gone back to.
    let ahead = Owner { epoch: other.epoch + 1, ..own };
    assert_eq!(store.reclaim(3, ahead).await.unwrap().id, own.id);
}

async fn scopes_are_owned_apart(store: &Store) {
    let owner = claimed(store).await;
    let other = store.claim(30, 8).await.unwrap();
    assert_eq!((owner.epoch, other.epoch), (1, 1));
    store.write(&chunk(owner, &[("a", 5, "{}")])).await.unwrap();
}

async fn the_time_of_the_last_trade_only_rises(store: &Store) {
    let owner = claimed(store).await;
    for (at, expected) in [(50, 50), (20, 50), (60, 60)] {
        store.write(&chunk(owner, &[("a", at, "{}")])).await.unwrap();
        assert_eq!(store.active(10).await.unwrap(), [("a".to_owned(), expected)]);
    }
}

async fn forgotten_tokens_leave_the_active_list(store: &Store) {
    let owner = claimed(store).await;
    let names: Vec<String> = (0..2_000).map(|n| format!("t{n}")).collect();
    for names in names.chunks(256) {
        let rows: Vec<_> = names.iter().map(|name| (name.as_str(), 5, "{}")).collect();
        store.write(&chunk(owner, &rows)).await.unwrap();
    }
    assert_eq!(store.active(9_000).await.unwrap().len(), 2_000);
    let mut removals = chunk(owner, &[]);
    removals.forgotten = names[1..].iter().map(|name| name.as_str().into()).collect();
    store.write(&removals).await.unwrap();
    assert_eq!(store.active(9_000).await.unwrap(), [("t0".to_owned(), 5)]);
}

async fn other_plugins_leave_the_clock_and_the_list_alone(store: &Store) {
    let owner = claimed(store).await;
    let mut other = chunk(owner, &[("a", 5, r#"{"v":1}"#)]);
    other.leading = false;
    other.result_key = "vwap".into();
    store.write(&other).await.unwrap();
    let found = store.token("a", &["vwap".into()]).await.unwrap().unwrap();
    assert_eq!((found.last_update, found.results.len()), (None, 1));
    assert_eq!(store.active(10).await.unwrap(), []);
}

async fn either_encoding_is_read(store: &Store) {
    let owner = claimed(store).await;
    let mut packed = chunk(owner, &[("a", 5, "")]);
    packed.values = rmp_serde::to_vec(&serde_json::json!({"w": 1.5})).unwrap();
    packed.rows[0].end = packed.values.len();
    store.write(&packed).await.unwrap();
    assert_eq!(value(store, "a").await.as_deref(), Some(r#"{"w":1.5}"#));
    assert_eq!(packed.clock_ms, CLOCK_MS);
}

async fn a_value_of_something_else_is_reported_by_its_key(store: &Store) {
    let owner = claimed(store).await;
    store.write(&chunk(owner, &[("a", 5, "{broken")])).await.unwrap();
    let error = store.token("a", &[KEY.into()]).await.unwrap_err();
    assert_eq!(error.action(), Action::Skip);
    assert!(error.to_string().contains("token:a:aggregates"), "{error}");
}

async fn a_chunk_of_256_long_tokens_is_written_whole(store: &Store) {
    let owner = claimed(store).await;
    let names: Vec<String> = (0..256).map(|n| format!("{n:0>128}")).collect();
    let text = format!(r#"{{"w":"{}"}}"#, "x".repeat(16_000));
    let rows: Vec<_> = names.iter().map(|name| (name.as_str(), 5, text.as_str())).collect();
    store.write(&chunk(owner, &rows)).await.unwrap();
    assert_eq!(store.active(1_000).await.unwrap().len(), 256);
    assert_eq!(value(store, &names[255]).await, Some(text));
}
