//! One suite for every store: what maintenance needs.

use std::sync::Arc;

use super::{KEY, PLUGIN, checkpoint, chunk, loaded, promises, value};
use crate::store::{CheckpointPiece, Owner, Removal, Store, StoreError, Sweep};

promises!(
    a_walk_meets_every_token_result_and_piece,
    results_are_read_as_they_stand_in_the_order_of_the_rows,
    results_are_not_read_for_another_owner,
    a_removal_takes_results_and_the_place_on_the_list,
    a_removal_from_the_list_alone_leaves_tokens_with_results,
    a_removal_of_another_owner_removes_nothing,
    a_sweep_removes_the_pieces_that_it_names,
);

async fn claimed(store: &Store) -> Owner {
    store.claim(3, 7).await.unwrap()
}

fn removal(owner: Owner, tokens: &[&str], only_list: bool) -> Removal {
    let tokens = tokens.iter().map(|&token| token.into()).collect();
    Removal { shard: 3, owner, tokens, result_keys: vec![KEY.into()], only_list }
}

async fn write(store: &Store, owner: Owner, tokens: &[&str]) {
    let rows: Vec<(&str, i64, &str)> = tokens.iter().map(|&token| (token, 5, r#"{"w":1}"#)).collect();
    store.write(&chunk(owner, &rows)).await.unwrap();
}

async fn listed(store: &Store) -> Vec<String> {
    let mut tokens: Vec<String> =
        store.active(10).await.unwrap().into_iter().map(|(token, _)| token).collect();
    tokens.sort();
    tokens
}

async fn a_walk_meets_every_token_result_and_piece(store: &Store) {
    let owner = claimed(store).await;
    let names: Vec<String> = (0..900).map(|name| format!("t:{name}")).collect();
    for some in names.chunks(200) {
        write(store, owner, &some.iter().map(|name| &**name).collect::<Vec<_>>()).await;
    }
    checkpoint(store, owner, 4, &[b"a", b"b"]).await.unwrap();
    let (mut tokens, mut results, mut pieces, mut cursor) = (Vec::new(), Vec::new(), Vec::new(), 0);
    loop {
        let (found, next) = store.walk_active(cursor).await.unwrap();
        tokens.extend(found);
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    loop {
        let (found, next) = store.walk(cursor).await.unwrap();
        results.extend(found.results.into_iter().filter(|(_, key)| key == KEY).map(|(token, _)| token));
        pieces.extend(found.pieces);
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    for met in [&mut tokens, &mut results] {
        met.sort();
        met.dedup();
        assert_eq!(met.len(), names.len());
    }
    pieces.sort();
    pieces.dedup();
    let piece = |place| CheckpointPiece { shard: 3, plugin: PLUGIN.into(), place };
    assert_eq!(pieces, [piece(None), piece(Some((4, 0))), piece(Some((4, 1)))]);
}

async fn results_are_read_as_they_stand_in_the_order_of_the_rows(store: &Store) {
    let owner = claimed(store).await;
    store.write(&chunk(owner, &[("a", 5, r#"{"w":1}"#), ("b", 5, r#"{"w":2}"#)])).await.unwrap();
    let asked = chunk(owner, &[("b", 0, ""), ("nobody", 0, ""), ("a", 0, "")]);
    let found = store.results(&asked).await.unwrap();
    let texts: Vec<Option<&[u8]>> = found.iter().map(Option::as_deref).collect();
    assert_eq!(texts, [Some(&br#"{"w":2}"#[..]), None, Some(br#"{"w":1}"#)]);
}

async fn results_are_not_read_for_another_owner(store: &Store) {
    let owner = claimed(store).await;
    write(store, owner, &["a"]).await;
    let other = chunk(Owner { id: 8, ..owner }, &[("a", 0, "")]);
    assert!(matches!(store.results(&other).await, Err(StoreError::Fenced { .. })));
}

async fn a_removal_takes_results_and_the_place_on_the_list(store: &Store) {
    let owner = claimed(store).await;
    write(store, owner, &["a", "b"]).await;
    store.remove(&removal(owner, &["a", "nobody"], false)).await.unwrap();
    assert_eq!((value(store, "a").await, listed(store).await), (None, vec!["b".to_owned()]));
    let keys: [Arc<str>; 1] = [KEY.into()];
    assert_eq!(store.token("a", &keys).await.unwrap(), None);
}

async fn a_removal_from_the_list_alone_leaves_tokens_with_results(store: &Store) {
    let owner = claimed(store).await;
    write(store, owner, &["a", "b"]).await;
    store.remove(&removal(owner, &["a"], true)).await.unwrap();
    assert_eq!(listed(store).await, ["a", "b"]);
    assert!(value(store, "a").await.is_some());
}

async fn a_removal_of_another_owner_removes_nothing(store: &Store) {
    let owner = claimed(store).await;
    write(store, owner, &["a"]).await;
    let other = Owner { id: 8, ..owner };
    let refused = store.remove(&removal(other, &["a"], false)).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })));
    assert_eq!(listed(store).await, ["a"]);
    assert!(value(store, "a").await.is_some());
}

async fn a_sweep_removes_the_pieces_that_it_names(store: &Store) {
    let owner = claimed(store).await;
    checkpoint(store, owner, 4, &[b"a", b"b"]).await.unwrap();
    let piece = |place| CheckpointPiece { shard: 3, plugin: PLUGIN.into(), place };
    let sweep = |pieces| Sweep { shard: 3, owner, pieces };
    store.sweep(&sweep(vec![piece(Some((9, 9)))])).await.unwrap();
    assert_eq!(loaded(store).await.unwrap(), [b"a", b"b"]);
    let other = Sweep { owner: Owner { id: 8, ..owner }, ..sweep(vec![piece(None)]) };
    assert!(matches!(store.sweep(&other).await, Err(StoreError::Fenced { .. })));
    store.sweep(&sweep(vec![piece(Some((4, 0))), piece(Some((4, 1))), piece(None)])).await.unwrap();
    assert_eq!(loaded(store).await, None);
    assert_eq!(store.page(3, PLUGIN, 4, 0).await.unwrap(), None);
}
