//! One suite for every store: records of the whole service.

use std::collections::BTreeMap;

use super::promises;
use crate::store::members::{Member, Version};
use crate::store::{LayoutRecord, Lease, Store};

promises!(
    a_layout_is_read_back,
    a_lease_is_taken_only_as_it_was_seen,
    a_lease_is_renewed_by_its_beat,
    a_lease_is_released_only_by_its_holder,
    of_several_takers_one_wins,
    hosts_hear_of_each_other_and_of_what_they_run_last,
);

fn lease(id: u128, epoch: u64, beat: u64) -> Lease {
    Lease { id, epoch, beat, holder: format!("host-{id}:1") }
}

async fn a_layout_is_read_back(store: &Store) {
    assert_eq!(store.layout().await.unwrap(), None);
    let mut layout = LayoutRecord::new("shuffle", 32, "trades");
    store.set_layout(&layout).await.unwrap();
    assert_eq!(store.layout().await.unwrap().as_ref(), Some(&layout));
    layout.topic_id = Some("QmFzZTY0".to_owned());
    store.set_layout(&layout).await.unwrap();
    assert_eq!(store.layout().await.unwrap(), Some(layout));
}

async fn a_lease_is_taken_only_as_it_was_seen(store: &Store) {
    let (first, second) = (lease(7, 1, 0), lease(8, 2, 0));
    assert_eq!(store.lease().await.unwrap(), None);
    // Seen, but not there.
    assert!(!store.take_lease(Some(&first), &second).await.unwrap());
    assert_eq!(store.lease().await.unwrap(), None);
    assert!(store.take_lease(None, &first).await.unwrap());
    // Not seen, but there.
    assert!(!store.take_lease(None, &second).await.unwrap());
    for changed in [
        lease(8, 1, 0),
        lease(7, 2, 0),
        lease(7, 1, 1),
        Lease { holder: "host-7:2".to_owned(), ..first.clone() },
    ] {
        assert!(!store.take_lease(Some(&changed), &second).await.unwrap(), "{changed:?}");
        assert_eq!(store.lease().await.unwrap().as_ref(), Some(&first));
    }
    assert!(store.take_lease(Some(&first), &second).await.unwrap());
    assert_eq!(store.lease().await.unwrap(), Some(second));
}

async fn a_lease_is_renewed_by_its_beat(store: &Store) {
    let mut own = lease(7, 1, 0);
    assert!(store.take_lease(None, &own).await.unwrap());
    for beat in 1..4 {
        let next = Lease { beat, ..own.clone() };
        assert!(store.take_lease(Some(&own), &next).await.unwrap());
        own = next;
    }
    // A standby that saw an earlier beat comes too late.
    assert!(!store.take_lease(Some(&lease(7, 1, 2)), &lease(8, 2, 0)).await.unwrap());
    assert_eq!(store.lease().await.unwrap(), Some(own));
}

async fn a_lease_is_released_only_by_its_holder(store: &Store) {
    let own = lease(7, 11, 3);
    assert!(!store.release_lease(&own).await.unwrap());
    assert!(store.take_lease(None, &own).await.unwrap());
    for other in [lease(8, 11, 3), lease(7, 12, 3), lease(7, 1, 3)] {
        assert!(!store.release_lease(&other).await.unwrap(), "{other:?}");
        assert_eq!(store.lease().await.unwrap().as_ref(), Some(&own));
    }
    // Whatever the beat: the last renewal's answer may have been lost.
    assert!(store.release_lease(&lease(7, 11, 2)).await.unwrap());
    let free = store.lease().await.unwrap().unwrap();
    assert_eq!((free.id, free.epoch), (0, 11));
    assert!(!store.release_lease(&own).await.unwrap());
    // The next holder takes it as it sees it.
    assert!(store.take_lease(Some(&free), &lease(8, 12, 0)).await.unwrap());
}

async fn of_several_takers_one_wins(store: &Store) {
    let leases: Vec<Lease> = (1..9).map(|id| lease(id, 1, 0)).collect();
    let take = async |own: &Lease| store.take_lease(None, own).await.unwrap();
    let (a, b, c, d) = (&leases[0], &leases[1], &leases[2], &leases[3]);
    let taken: [bool; 4] = tokio::join!(take(a), take(b), take(c), take(d)).into();
    assert_eq!(taken.iter().filter(|&&taken| taken).count(), 1);
    let winner = taken.iter().position(|&taken| taken).unwrap();
    assert_eq!(store.lease().await.unwrap().as_ref(), Some(&leases[winner]));
}

async fn hosts_hear_of_each_other_and_of_what_they_run_last(store: &Store) {
    let member = |id: &str, digest: &str| Member {
        id: id.to_owned(),
        host: format!("host \u{fc}:{id}"),
        plugins: BTreeMap::from([(
            "vwap".to_owned(),
            Version { version: "1.0.0".to_owned(), digest: digest.to_owned() },
        )]),
        partitions: vec![3],
    };
    let heard = async |own: &Member| {
        let mut members = store.introduce(own).await.unwrap();
        members.sort_by(|a, b| a.id.cmp(&b.id));
        members
    };
    let (one, other) = (member("1", "aa"), member("2", "bb"));
    assert_eq!(heard(&one).await, vec![one.clone()]);
    assert_eq!(heard(&other).await, vec![one.clone(), other.clone()]);
    let swapped = member("1", "cc");
    assert_eq!(heard(&swapped).await, vec![swapped.clone(), other]);
}
