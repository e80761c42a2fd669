//! After a batch that has cost much, the next is gathered for a while, and nothing is lost by it.

use std::thread;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use whippletree::discover::Change;
use whippletree::event::Event;
use whippletree::{Cluster, Endpoint};

use crate::support::soon;
use crate::{endpoint, fed};

/// As long as the first payload takes to be made; the rest is 20 times what that is above 5 ms.
const COST: Duration = Duration::from_millis(20);

/// A cluster whose endpoint `a` takes its time to connect.
fn costly() -> Cluster<()> {
    Cluster::builder().connect(|endpoint: &Endpoint| {
        if endpoint.id().as_str() == "a" {
            thread::sleep(COST);
        }
    })
}

fn insert(name: &str) -> Change {
    Change::Insert(endpoint(name))
}

#[tokio::test]
async fn what_comes_after_a_costly_batch_is_gathered() {
    let (cluster, (changes, stream)) = (costly(), fed());
    let mut events = cluster.subscribe();
    tokio::spawn(cluster.follow("changes", stream));
    changes.send(insert("a")).unwrap();
    assert!(matches!(soon(events.next()).await, Some(Event::Added(_))));
    for name in ["b", "c", "d"] {
        changes.send(insert(name)).unwrap();
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(cluster.len(), 1, "none of them before the rest is over");
    }
    soon(async {
        while cluster.len() == 1 {
            events.next().await;
        }
    })
    .await;
    assert_eq!(cluster.len(), 4, "all of them at once");
}

#[tokio::test]
async fn error_and_end_do_not_wait() {
    let (cluster, (changes, stream)) = (costly(), fed());
    let mut events = cluster.subscribe();
    let follower = tokio::spawn(cluster.follow("changes", stream));
    changes.send(Ok(insert("a"))).unwrap();
    assert!(matches!(soon(events.next()).await, Some(Event::Added(_))));
    let start = Instant::now();
    changes.send(Ok(insert("b"))).unwrap();
    changes.send(Err("no answer")).unwrap();
    assert!(matches!(soon(events.next()).await, Some(Event::DiscoveryFailed { .. })));
    assert!(matches!(soon(events.next()).await, Some(Event::Added(_))));
    changes.send(Ok(insert("c"))).unwrap();
    drop(changes);
    soon(follower).await.unwrap();
    assert_eq!(cluster.len(), 3);
    assert!(start.elapsed() < 10 * COST, "{:?}", start.elapsed());
}

/// A stream that waits for something of its own after it has spoken, as for the answer to its next
/// request, hears it at once.
#[tokio::test]
async fn stream_is_polled_while_its_changes_are_gathered() {
    let cluster = costly();
    let (asked, mut hears) = mpsc::unbounded_channel();
    let changes = stream::iter([insert("a")]).chain(stream::once(async move {
        asked.send(Instant::now()).unwrap();
        insert("b")
    }));
    let changes = changes.chain(stream::pending());
    let mut events = cluster.subscribe();
    let paced = changes.then(|change| async {
        yield_now().await;
        change
    });
    tokio::spawn(cluster.follow("changes", paced));
    let asked = soon(hears.recv()).await.unwrap();
    while cluster.len() < 2 {
        soon(events.next()).await;
    }
    assert!(asked.elapsed() > 10 * COST, "it was asked before its change was applied");
}

#[tokio::test]
async fn stream_whose_changes_are_gathered_can_be_overtaken() {
    let (cluster, (changes, stream)) = (costly(), fed());
    let mut events = cluster.subscribe();
    let first = tokio::spawn(cluster.follow("changes", stream));
    changes.send(insert("a")).unwrap();
    assert!(matches!(soon(events.next()).await, Some(Event::Added(_))));
    changes.send(insert("lost")).unwrap();
    soon(cluster.follow("changes", stream::iter([insert("b")]))).await;
    soon(first).await.unwrap();
    assert_eq!(cluster.len(), 2);
}

#[test]
fn without_timers_nobody_rests() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (cluster, (changes, stream)) = (costly(), fed());
    runtime.block_on(async {
        let follower = tokio::spawn(cluster.follow("changes", stream));
        for name in ["a", "b", "c"] {
            changes.send(insert(name)).unwrap();
            while !listed(&cluster, name) {
                yield_now().await;
            }
        }
        drop(changes);
        follower.await.unwrap();
    });
    assert_eq!(cluster.len(), 3);
}

fn listed(cluster: &Cluster<()>, name: &str) -> bool {
    cluster.status().endpoints.iter().any(|status| status.endpoint.id().as_str() == name)
}
