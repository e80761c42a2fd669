//! The user's code panics where endpoints come from: the connect closure, a stream, a describe
//! closure, the drop of a service.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use futures_util::stream;
use tokio::time::{Duration, sleep};
use tower::discover::Change as TowerChange;
use whippletree::discover::Change;
use whippletree::event::{Event, Events};
use whippletree::{Cluster, Context, Endpoint};

use crate::strict::{endpoint, face, fleet, id, in_flight, index, pick};

fn told(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.try_next()).collect()
}

#[test]
fn panic_of_the_connect_closure_refuses_the_change_and_nothing_else() {
    let cluster = Cluster::builder().connect(|at| {
        assert!(index(at.id()) < 2, "cannot connect {}", at.id());
    });
    cluster.replace(fleet(&[1, 1])).unwrap();
    let before = face(&cluster);
    let mut events = cluster.subscribe();
    let error = cluster.insert(endpoint(2)).unwrap_err();
    assert!(error.is_panic());
    assert_eq!(error.to_string(), "connect panicked: cannot connect e0002");
    assert!(cluster.replace(fleet(&[1, 1, 1])).unwrap_err().is_panic());
    assert_eq!(face(&cluster), before);
    assert_eq!(told(&mut events), []);
    // And it goes on.
    cluster.replace(fleet(&[0, 5])).unwrap();
    assert_eq!(pick(&cluster), 1);
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn panic_of_a_stream_is_told_once_and_its_last_set_stays() {
    let cluster = Cluster::builder().connect(|_| ());
    let mut events = cluster.subscribe();
    let mut polls = 0;
    let buggy = stream::poll_fn(move |_| {
        polls += 1;
        assert!(polls < 2, "bug");
        Poll::Ready(Some(Change::Replace(fleet(&[1, 1]))))
    });
    cluster.follow("buggy", buggy).await;
    let failed =
        Event::DiscoveryFailed { source: "buggy".into(), reason: "source panicked: bug".into() };
    assert_eq!(told(&mut events), [Event::Added(id(0)), Event::Added(id(1)), failed]);
    assert!(pick(&cluster) < 2);
    cluster.follow("next", stream::iter([fleet(&[1, 1, 1])])).await;
    assert_eq!(cluster.len(), 3);
}

#[tokio::test]
async fn panic_of_a_describe_closure_is_told_once_and_what_came_before_stays() {
    let cluster = Cluster::builder().build();
    let mut events = cluster.subscribe();
    let changes = [0, 1, 7, 2].map(|key| Ok::<_, std::io::Error>(TowerChange::Insert(key, key)));
    let describe = |key: &usize| {
        assert!(*key != 7, "cannot describe {key}");
        Ok(endpoint(*key))
    };
    cluster.follow_discover("tower", stream::iter(changes), describe).await;
    let reason = "source panicked: cannot describe 7".into();
    let failed = Event::DiscoveryFailed { source: "tower".into(), reason };
    assert_eq!(told(&mut events), [Event::Added(id(0)), Event::Added(id(1)), failed]);
    assert_eq!(cluster.len(), 2);
}

/// A service that panics when it is dropped, and counts that.
struct Explosive {
    armed: bool,
    drops: Arc<AtomicUsize>,
}

impl Drop for Explosive {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
        assert!(!self.armed, "planted in a drop");
    }
}

/// A cluster whose endpoint 0 explodes when it is dropped.
fn explosive(forget_after: Duration) -> (Cluster<Explosive>, Arc<AtomicUsize>) {
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&drops);
    let builder = Cluster::builder().forget_after(forget_after);
    let cluster = builder.connect(move |at| Explosive {
        armed: at.address().host() == "e0000",
        drops: Arc::clone(&counted),
    });
    (cluster, drops)
}

/// Endpoint 0 at another address.
fn moved() -> Endpoint {
    Endpoint::new("elsewhere:80").and_then(|endpoint| endpoint.with_id(id(0))).unwrap()
}

fn picks_still_work(cluster: &Cluster<Explosive>) {
    let lease = cluster.pick(&Context::new()).unwrap();
    assert_eq!(in_flight(cluster), 1);
    drop(lease);
    assert_eq!(in_flight(cluster), 0);
}

#[test]
fn change_is_made_though_the_drop_of_a_replaced_service_panics() {
    let (cluster, drops) = explosive(Duration::from_secs(60));
    cluster.replace(fleet(&[1, 1])).unwrap();
    let mut events = cluster.subscribe();
    // Whether the panic is passed on to the caller is not said; the cluster must not care.
    let _ = catch_unwind(AssertUnwindSafe(|| cluster.insert(moved())));
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    assert_eq!(told(&mut events), [Event::Updated(id(0))]);
    assert_eq!(cluster.status().endpoints[0].endpoint.address().host(), "elsewhere");
    picks_still_work(&cluster);
    cluster.insert(endpoint(2)).unwrap();
    assert_eq!(cluster.len(), 3);
}

#[test]
fn request_ends_though_it_drops_the_last_of_a_service_that_panics() {
    let (cluster, drops) = explosive(Duration::from_secs(60));
    cluster.replace(fleet(&[1, 0])).unwrap();
    let lease = cluster.pick(&Context::new()).unwrap();
    cluster.insert(moved()).unwrap();
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    let _ = catch_unwind(AssertUnwindSafe(|| drop(lease)));
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    picks_still_work(&cluster);
}

#[tokio::test]
async fn source_is_followed_on_though_the_drop_of_a_service_panics() {
    let (cluster, drops) = explosive(Duration::from_secs(60));
    let (changes, stream) = tokio::sync::mpsc::unbounded_channel();
    let stream = tokio_stream::wrappers::UnboundedReceiverStream::new(stream);
    let follower = tokio::spawn(cluster.follow("source", stream));
    let mut events = cluster.subscribe();
    changes.send(Change::Insert(endpoint(0))).unwrap();
    assert_eq!(events.next().await, Some(Event::Added(id(0))));
    changes.send(Change::Insert(moved())).unwrap();
    assert_eq!(events.next().await, Some(Event::Updated(id(0))));
    tokio::task::yield_now().await;
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    // A follower that is gone takes nothing any more.
    let taken = changes.send(Change::Insert(endpoint(1)));
    assert!(taken.is_ok() && !follower.is_finished(), "the follower died of the drop");
    assert_eq!(events.next().await, Some(Event::Added(id(1))));
    picks_still_work(&cluster);
    drop(changes);
    follower.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn others_are_forgotten_in_time_though_the_drop_of_a_service_panics() {
    let (cluster, drops) = explosive(Duration::from_secs(60));
    cluster.replace(fleet(&[1, 1, 1])).unwrap();
    cluster.remove(&id(0));
    sleep(Duration::from_secs(30)).await;
    cluster.remove(&id(1));
    sleep(Duration::from_secs(40)).await;
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    sleep(Duration::from_secs(40)).await;
    assert_eq!(drops.load(Ordering::Relaxed), 2, "endpoint 1 is not forgotten");
    picks_still_work(&cluster);
}

/// Set in the process that [`both_drops_of_one_change_may_panic`] starts.
const CHILD: &str = "WHIPPLETREE_BOTH_DROPS_PANIC";

/// A second panic while the first one unwinds would abort the process: so in one of its own.
#[test]
fn both_drops_of_one_change_may_panic() {
    if std::env::var_os(CHILD).is_some() {
        return both_drops_panic();
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "panics::both_drops_of_one_change_may_panic"]).env(CHILD, "");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
}

fn both_drops_panic() {
    let cluster = Cluster::builder()
        .connect(|at| Explosive { armed: at.address().port() == 80, drops: Arc::default() });
    cluster.replace(fleet(&[1, 1])).unwrap();
    let moved = |at| Endpoint::new("elsewhere:81").and_then(|moved| moved.with_id(id(at))).unwrap();
    let _ = catch_unwind(AssertUnwindSafe(|| cluster.replace([moved(0), moved(1)])));
    assert_eq!(cluster.status().endpoints[1].endpoint.address().port(), 81);
    picks_still_work(&cluster);
}
