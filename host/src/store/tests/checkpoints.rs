//! One suite for every store: checkpoints.

use super::{PLUGIN, checkpoint, commit, loaded, page, promises};
use crate::store::{Action, Head, Owner, Part, SavedMark, Store, StoreError};

promises!(
    a_committed_checkpoint_is_read_back_with_its_pages_in_order,
    staged_pages_do_not_count_before_the_commit,
    the_parts_that_a_commit_replaces_are_gone,
    a_change_keeps_the_parts_before_it,
    a_commit_without_a_new_page_moves_the_head,
    a_commit_of_another_owner_changes_nothing,
    a_page_of_another_owner_is_not_taken,
    a_commit_that_misses_a_page_changes_nothing,
    a_commit_may_be_made_twice,
    heads_of_two_plugins_and_shards_are_apart,
    five_mebibytes_are_carried_in_pages,
    a_cell_without_a_checkpoint_has_none,
    a_checkpoint_that_is_discarded_is_gone_with_its_pages,
);

async fn claimed(store: &Store) -> Owner {
    store.claim(3, 7).await.unwrap()
}

async fn a_committed_checkpoint_is_read_back_with_its_pages_in_order(store: &Store) {
    let owner = claimed(store).await;
    let mut end = commit(owner, &[(4, 3)]);
    end.head = Head {
        layout: "shuffle/16".to_owned(),
        configuration: r#"{"windows":["1m"]}"#.to_owned(),
        state_version: 2,
        horizon_ms: 3_600_000,
        clock_ms: Some(super::CLOCK_MS),
        marks: vec![SavedMark { partition: 1, next: 90, newest_ms: Some(-5), progress: 1 }],
        decoded: vec![(1, 95), (-1, i64::MAX)],
        bytes: 7,
        ..end.head
    };
    // Any bytes are a page, and their order is that of their numbers.
    store.stage(&page(owner, 4, 1, b"\xff\0\r\n")).await.unwrap();
    store.stage(&page(owner, 4, 0, b"a")).await.unwrap();
    end.last_page = Some(page(owner, 4, 2, b"cc"));
    store.commit(&end).await.unwrap();
    assert_eq!(store.head(3, PLUGIN).await.unwrap(), Some(end.head));
    assert_eq!(loaded(store).await.unwrap(), [&b"a"[..], b"\xff\0\r\n", b"cc"]);
    assert_eq!(store.page(3, PLUGIN, 4, 3).await.unwrap(), None);
}

async fn staged_pages_do_not_count_before_the_commit(store: &Store) {
    let owner = claimed(store).await;
    store.stage(&page(owner, 1, 0, b"a")).await.unwrap();
    assert_eq!(store.head(3, PLUGIN).await.unwrap(), None);
    checkpoint(store, owner, 2, &[b"b"]).await.unwrap();
    store.stage(&page(owner, 3, 0, b"c")).await.unwrap();
    assert_eq!(loaded(store).await.unwrap(), [b"b"]);
}

async fn the_parts_that_a_commit_replaces_are_gone(store: &Store) {
    let owner = claimed(store).await;
    checkpoint(store, owner, 1, &[b"a", b"b"]).await.unwrap();
    let mut end = commit(owner, &[(2, 1)]);
    end.last_page = Some(page(owner, 2, 0, b"c"));
    end.replaced = vec![Part { id: 1, pages: 2 }];
    store.commit(&end).await.unwrap();
    assert_eq!(loaded(store).await.unwrap(), [b"c"]);
    for index in 0..2 {
        assert_eq!(store.page(3, PLUGIN, 1, index).await.unwrap(), None);
    }
}

async fn a_change_keeps_the_parts_before_it(store: &Store) {
    let owner = claimed(store).await;
    checkpoint(store, owner, 1, &[b"a", b"b"]).await.unwrap();
    let mut end = commit(owner, &[(1, 2), (2, 1)]);
    end.last_page = Some(page(owner, 2, 0, b"c"));
    store.commit(&end).await.unwrap();
    assert_eq!(loaded(store).await.unwrap(), [b"a", b"b", b"c"]);
}

async fn a_commit_without_a_new_page_moves_the_head(store: &Store) {
    let owner = claimed(store).await;
    let empty = commit(owner, &[]);
    store.commit(&empty).await.unwrap();
    assert_eq!(loaded(store).await.unwrap(), Vec::<Vec<u8>>::new());
    checkpoint(store, owner, 1, &[b"a", b"b"]).await.unwrap();
    let mut end = commit(owner, &[(1, 2)]);
    end.head.clock_ms = Some(5);
    store.commit(&end).await.unwrap();
    assert_eq!(store.head(3, PLUGIN).await.unwrap().unwrap().clock_ms, Some(5));
    assert_eq!(loaded(store).await.unwrap(), [b"a", b"b"]);
}

async fn a_commit_of_another_owner_changes_nothing(store: &Store) {
    let owner = claimed(store).await;
    checkpoint(store, owner, 1, &[b"a"]).await.unwrap();
    for other in [Owner { id: 8, ..owner }, Owner { epoch: owner.epoch + 1, ..owner }] {
        let mut end = commit(other, &[(2, 1)]);
        end.last_page = Some(page(other, 2, 0, b"b"));
        end.replaced = vec![Part { id: 1, pages: 1 }];
        let error = store.commit(&end).await.unwrap_err();
        assert!(matches!(error, StoreError::Fenced { found, .. } if found == Some(owner)), "{error}");
        assert_eq!(loaded(store).await.unwrap(), [b"a"]);
        assert_eq!(store.page(3, PLUGIN, 2, 0).await.unwrap(), None);
    }
}

async fn a_page_of_another_owner_is_not_taken(store: &Store) {
    let former = claimed(store).await;
    let owner = claimed(store).await;
    checkpoint(store, owner, 1, &[b"a"]).await.unwrap();
    let error = store.stage(&page(former, 1, 0, b"b")).await.unwrap_err();
    assert_eq!(error.action(), Action::Fenced(Some(owner)));
    assert_eq!(loaded(store).await.unwrap(), [b"a"]);
}

async fn a_commit_that_misses_a_page_changes_nothing(store: &Store) {
    let owner = claimed(store).await;
    checkpoint(store, owner, 1, &[b"a"]).await.unwrap();
    store.stage(&page(owner, 2, 0, b"b")).await.unwrap();
    let mut end = commit(owner, &[(2, 3)]);
    end.last_page = Some(page(owner, 2, 2, b"d"));
    end.replaced = vec![Part { id: 1, pages: 1 }];
    let error = store.commit(&end).await.unwrap_err();
    assert!(matches!(error, StoreError::Regressed { shard: 3 }), "{error}");
    assert_eq!(error.action(), Action::Regressed);
    assert_eq!(loaded(store).await.unwrap(), [b"a"]);
    assert_eq!(store.page(3, PLUGIN, 2, 2).await.unwrap(), None);
    // The same shard takes the whole checkpoint.
    store.stage(&page(owner, 2, 1, b"c")).await.unwrap();
    store.commit(&end).await.unwrap();
    assert_eq!(loaded(store).await.unwrap(), [b"b", b"c", b"d"]);
}

/// The answer to the first one may have been lost.
async fn a_commit_may_be_made_twice(store: &Store) {
    let owner = claimed(store).await;
    checkpoint(store, owner, 1, &[b"a"]).await.unwrap();
    store.stage(&page(owner, 2, 0, b"b")).await.unwrap();
    let mut end = commit(owner, &[(2, 2)]);
    end.last_page = Some(page(owner, 2, 1, b"c"));
    end.replaced = vec![Part { id: 1, pages: 1 }];
    for _ in 0..2 {
        store.commit(&end).await.unwrap();
        assert_eq!(loaded(store).await.unwrap(), [b"b", b"c"]);
    }
}

async fn heads_of_two_plugins_and_shards_are_apart(store: &Store) {
    let owner = claimed(store).await;
    let other = store.claim(30, 7).await.unwrap();
    checkpoint(store, owner, 1, &[b"a"]).await.unwrap();
    let mut vwap = commit(owner, &[(1, 1)]);
    vwap.plugin = "vwap".into();
    vwap.last_page = Some(page(owner, 1, 0, b"v"));
    store.commit(&vwap).await.unwrap();
    let mut far = commit(other, &[]);
    far.shard = 30;
    far.head.clock_ms = Some(30);
    store.commit(&far).await.unwrap();
    assert_eq!(loaded(store).await.unwrap(), [b"a"]);
    assert_eq!(store.page(3, "vwap", 1, 0).await.unwrap().as_deref(), Some(&b"v"[..]));
    assert_eq!(store.head(30, PLUGIN).await.unwrap(), Some(far.head));
    assert_eq!(store.head(30, "vwap").await.unwrap(), None);
}

async fn five_mebibytes_are_carried_in_pages(store: &Store) {
    const MEBIBYTE: usize = 1 << 20;
    let owner = claimed(store).await;
    let state: Vec<u8> = (0..5 * MEBIBYTE).map(|n| ((n * 2_654_435_761) >> 13) as u8).collect();
    let pages: Vec<&[u8]> = state.chunks(MEBIBYTE).collect();
    checkpoint(store, owner, 1, &pages).await.unwrap();
    let read = loaded(store).await.unwrap();
    assert_eq!(read.len(), 5);
    assert!(read.concat() == state);
}

async fn a_cell_without_a_checkpoint_has_none(store: &Store) {
    assert_eq!(store.head(3, PLUGIN).await.unwrap(), None);
    assert_eq!(store.page(3, PLUGIN, 0, 0).await.unwrap(), None);
    let error = store.commit(&commit(Owner { epoch: 1, id: 7 }, &[])).await.unwrap_err();
    assert_eq!(error.action(), Action::Fenced(None));
    assert_eq!(store.forgotten(&[]).await.unwrap(), [0_u32; 0]);
    assert_eq!(store.forgotten(&[3]).await.unwrap(), [0_u32; 0]);
}

async fn a_checkpoint_that_is_discarded_is_gone_with_its_pages(store: &Store) {
    let owner = claimed(store).await;
    store.discard(3, PLUGIN).await.unwrap();
    checkpoint(store, owner, 1, &[b"a", b"b"]).await.unwrap();
    store.discard(4, PLUGIN).await.unwrap();
    assert_eq!(loaded(store).await.unwrap(), [b"a", b"b"]);
    store.discard(3, PLUGIN).await.unwrap();
    assert_eq!(store.head(3, PLUGIN).await.unwrap(), None);
    for index in 0..2 {
        assert_eq!(store.page(3, PLUGIN, 1, index).await.unwrap(), None);
    }
    // What a process takes afterwards is a checkpoint like any other.
    checkpoint(store, owner, 2, &[b"c"]).await.unwrap();
    assert_eq!(loaded(store).await.unwrap(), [b"c"]);
}
