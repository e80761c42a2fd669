//! Payloads whose drop panics, or uses the cluster, wherever the cluster drops one.
#![allow(clippy::unwrap_used, reason = "tests")]

mod strict;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use futures_util::{FutureExt, stream};
use tower::discover::Change as TowerChange;
use whippletree::discover::Change;
use whippletree::{Cluster, Context, Endpoint};

use crate::strict::{endpoint, fleet, id, in_flight, index};

/// What happens in the drop of a payload.
struct OnDrop(Option<Box<dyn FnOnce() + Send + Sync>>);

impl OnDrop {
    fn nothing() -> Self {
        Self(None)
    }

    fn panic() -> Self {
        Self(Some(Box::new(|| panic!("planted in a drop"))))
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            work();
        }
    }
}

fn moved(index: usize) -> Endpoint {
    Endpoint::new("elsewhere:80").and_then(|endpoint| endpoint.with_id(id(index))).unwrap()
}

/// The payload of endpoint 0 panics when it is dropped; endpoint 9 cannot be connected.
fn connect(at: &Endpoint) -> OnDrop {
    assert!(index(at.id()) != 9, "cannot connect");
    if at.address().host() == "e0000" { OnDrop::panic() } else { OnDrop::nothing() }
}

fn serves(cluster: &Cluster<OnDrop>) {
    drop(cluster.pick(&Context::new()).unwrap());
    assert_eq!(in_flight(cluster), 0);
}

#[test]
fn change_is_made_though_the_drop_of_what_it_finds_expired_panics() {
    let cluster = Cluster::builder().forget_after(Duration::ZERO).connect(connect);
    cluster.replace(fleet(&[1, 1])).unwrap();
    cluster.remove(&id(0));
    // This one lacks a payload: what has expired goes while the lock is given back for connect.
    let inserted = catch_unwind(AssertUnwindSafe(|| cluster.insert(endpoint(2))));
    assert_eq!(cluster.len(), 2, "the change is lost");
    assert!(inserted.is_ok_and(|result| result.is_ok()));
    serves(&cluster);
}

#[test]
fn source_is_followed_on_though_the_drop_of_a_payload_it_took_back_panics() {
    let cluster = Cluster::builder().build();
    let insert = |key, payload| Ok::<_, std::io::Error>(TowerChange::Insert(key, payload));
    let changes =
        [insert(0, OnDrop::panic()), Ok(TowerChange::Remove(0)), insert(1, OnDrop::nothing())];
    let follower =
        cluster.follow_discover("tower", stream::iter(changes), |key| Ok(endpoint(*key)));
    let followed = catch_unwind(AssertUnwindSafe(|| follower.now_or_never()));
    assert!(followed.is_ok_and(|ended| ended.is_some()), "the follower died of the drop");
    assert_eq!(cluster.len(), 1);
    serves(&cluster);
}

#[test]
fn source_is_followed_on_though_the_drop_of_a_payload_brought_twice_panics() {
    let cluster = Cluster::builder().build();
    let changes = [OnDrop::panic(), OnDrop::nothing()]
        .map(|payload| Ok::<_, std::io::Error>(TowerChange::Insert(0, payload)));
    let follower =
        cluster.follow_discover("tower", stream::iter(changes), |key| Ok(endpoint(*key)));
    let followed = catch_unwind(AssertUnwindSafe(|| follower.now_or_never()));
    assert!(followed.is_ok_and(|ended| ended.is_some()), "the follower died of the drop");
    serves(&cluster);
}

#[test]
fn source_is_followed_on_though_the_drop_of_a_payload_of_a_refused_set_panics() {
    let cluster = Cluster::builder().connect(connect);
    let sets = [Change::Replace(vec![endpoint(0), endpoint(9)]), Change::Insert(endpoint(1))];
    let follower = cluster.follow("sets", stream::iter(sets));
    let followed = catch_unwind(AssertUnwindSafe(|| follower.now_or_never()));
    assert!(followed.is_ok_and(|ended| ended.is_some()), "the follower died of the drop");
    assert_eq!(cluster.len(), 1);
    serves(&cluster);
}

/// A cluster of whose two payloads for endpoint 0 one is superfluous: the connect closure runs
/// without the lock, and meanwhile another writer, here the closure itself, inserts the endpoint.
fn overtaken(
    payload: impl Fn(&Cluster<OnDrop>) -> OnDrop + Send + Sync + 'static,
) -> Cluster<OnDrop> {
    let handle = Arc::new(OnceLock::<Cluster<OnDrop>>::new());
    let overtaken = AtomicBool::new(false);
    let own = Arc::clone(&handle);
    let cluster = Cluster::builder().connect(move |at| {
        let cluster = own.get().unwrap();
        if index(at.id()) != 0 || overtaken.swap(true, Ordering::Relaxed) {
            return OnDrop::nothing();
        }
        cluster.insert(at.clone()).unwrap();
        payload(cluster)
    });
    assert!(handle.set(cluster.clone()).is_ok());
    cluster
}

#[test]
fn superfluous_payload_may_use_the_cluster_when_it_is_dropped() {
    let (free, is_free) = mpsc::channel();
    let cluster = overtaken(move |cluster| {
        let (cluster, free) = (cluster.clone(), free.clone());
        OnDrop(Some(Box::new(move || {
            // On another thread, so that a lock that is held fails this test and does not hang it.
            let (done, is_done) = mpsc::channel();
            std::thread::spawn(move || done.send(cluster.status().endpoints.len()));
            let _ = free.send(is_done.recv_timeout(Duration::from_secs(5)).is_ok());
        })))
    });
    cluster.insert(endpoint(0)).unwrap();
    assert!(is_free.recv().unwrap(), "dropped under the lock");
    serves(&cluster);
}

#[test]
fn source_is_followed_on_though_the_drop_of_a_superfluous_payload_panics() {
    let cluster = overtaken(|_| OnDrop::panic());
    let sets = [vec![endpoint(0)], vec![endpoint(0), endpoint(1)]];
    let follower = cluster.follow("sets", stream::iter(sets));
    let followed = catch_unwind(AssertUnwindSafe(|| follower.now_or_never()));
    assert!(followed.is_ok_and(|ended| ended.is_some()), "the follower died of the drop");
    assert_eq!(cluster.len(), 2);
    serves(&cluster);
}

/// Two drops that panic in one go end the process, so this runs in a process of its own.
#[test]
fn process_lives_though_the_drops_of_two_payloads_panic_at_once() {
    const CHILD: &str = "WHIPPLETREE_TWO_DROPS";
    if std::env::var_os(CHILD).is_none() {
        let name = "process_lives_though_the_drops_of_two_payloads_panic_at_once";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(CHILD, "")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", output.status);
        return;
    }
    let cluster = Cluster::builder().connect(|at| match at.address().host() {
        "elsewhere" => OnDrop::nothing(),
        _ => OnDrop::panic(),
    });
    cluster.replace(fleet(&[1, 1])).unwrap();
    cluster.replace([moved(0), moved(1)]).unwrap();
    serves(&cluster);
}
